"""Ports of the guest that QEMU answers for inside the private namespace: each on the same number there.

A forward is asked of the running QEMU the first time somebody connects to that port, and lives as long as
that QEMU. Nothing of it can be seen from outside the namespace.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable

from ecompute_server.hypervisor.interface import HypervisorError
from ecompute_server.hypervisor.libvirt.domain import NETDEV

HOST = "127.0.0.1"

Ask = Callable[[str], Awaitable[str]]
"""A command of QEMU's human monitor to its answer."""

_LISTED = re.compile(r"^\s*TCP\[HOST_FORWARD\]\s+\S+\s+127\.0\.0\.1\s+(\d+)\s", re.MULTILINE)


def listed(usernet: str) -> frozenset[int]:
    """The forwarded ports in the answer to `info usernet`."""
    return frozenset(int(port) for port in _LISTED.findall(usernet))


class Forwards:
    """The forwards of one QEMU process."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._there: set[int] = set()
        self._turn = asyncio.Lock()

    async def ensure(self, port: int) -> None:
        """Raises:
        HypervisorError: QEMU refuses the forward.
        """
        if port in self._there:
            return
        async with self._turn:
            if port in self._there:
                return
            # QEMU answers with nothing, or with what is wrong. A forward that an earlier server process
            # made is one of the things that are wrong.
            answer = (await self._ask(f"hostfwd_add {NETDEV} tcp:{HOST}:{port}-:{port}")).strip()
            if answer and port not in listed(await self._ask("info usernet")):
                raise HypervisorError(f"QEMU did not forward port {port}: {answer.splitlines()[0]}")
            self._there.add(port)
