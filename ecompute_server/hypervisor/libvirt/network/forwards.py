"""Ports of the guest that QEMU answers for on a loopback address: in the private namespace each on the same
number, in the host's network each on a free one.

A forward is asked of the running QEMU the first time somebody connects to that port, and lives as long as
that QEMU.
"""

from __future__ import annotations

import asyncio
import re
from typing import Literal

from ecompute_server.hypervisor.interface import HypervisorError
from ecompute_server.hypervisor.libvirt.domain import NETDEV
from ecompute_server.hypervisor.libvirt.network.interface import Ask

HOST = "127.0.0.1"

_LISTED = re.compile(r"^\s*TCP\[HOST_FORWARD\]\s+\S+\s+127\.0\.0\.1\s+(\d+)\s+\S+\s+(\d+)\s", re.MULTILINE)


def listed(usernet: str) -> dict[int, int]:
    """The guest's forwarded ports and the ports that lead there, from the answer to `info usernet`."""
    return {int(port): int(way) for way, port in _LISTED.findall(usernet)}


class Forwards:
    """The forwards of one QEMU process."""

    def __init__(self, ask: Ask, ports: Literal["same", "free"]) -> None:
        self._ask = ask
        self._ports = ports
        self._there: dict[int, int] = {}
        self._turn = asyncio.Lock()

    async def ensure(self, port: int) -> int:
        """The port of `HOST` that leads to that port of the guest.

        Raises:
            HypervisorError: QEMU refuses the forward.
        """
        if port not in self._there:
            async with self._turn:
                if port not in self._there:
                    add = self._add_same if self._ports == "same" else self._add_free
                    self._there[port] = await add(port)
        return self._there[port]

    async def _add_same(self, port: int) -> int:
        # QEMU answers with nothing, or with what is wrong. A forward that an earlier server process made is
        # one of the things that are wrong.
        answer = (await self._ask(f"hostfwd_add {NETDEV} tcp:{HOST}:{port}-:{port}")).strip()
        if answer and port not in listed(await self._ask("info usernet")):
            raise _refused(port, answer)
        return port

    async def _add_free(self, port: int) -> int:
        there = listed(await self._ask("info usernet"))
        if port not in there:
            # QEMU binds port 0, for which the kernel takes a free one
            answer = (await self._ask(f"hostfwd_add {NETDEV} tcp:{HOST}:0-:{port}")).strip()
            there = listed(await self._ask("info usernet"))
            if port not in there:
                raise _refused(port, answer or "it is not there")
        return there[port]


def _refused(port: int, answer: str) -> HypervisorError:
    return HypervisorError(f"QEMU did not forward port {port}: {answer.splitlines()[0]}")
