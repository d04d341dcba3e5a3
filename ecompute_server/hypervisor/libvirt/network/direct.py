"""The way in where QEMU has the host's network: forwards on free ports of the host's loopback address.

Whoever is on the host can connect to them.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket

from ecompute_server.hypervisor.interface import HypervisorError
from ecompute_server.hypervisor.libvirt.network.forwards import HOST, Forwards
from ecompute_server.hypervisor.libvirt.network.handle import Handle
from ecompute_server.hypervisor.libvirt.network.interface import Ask


class DirectNetwork:
    """A `GuestNetwork`."""

    def __init__(self, pid: int, ask: Ask) -> None:
        self._process = Handle(pid)
        self._forwards = Forwards(ask, "free")

    async def connect(self, port: int) -> socket.socket:
        """As the interface says."""
        way = await self._forwards.ensure(port)
        connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            connection.setblocking(False)
            await asyncio.get_running_loop().sock_connect(connection, (HOST, way))
            # As long as QEMU lives the port is its own; afterwards anybody may listen there.
            if not self._process.lives:
                raise HypervisorError("The machine has ended.")
        except BaseException:
            connection.close()
            raise
        return connection

    async def warm(self, port: int) -> None:
        """As the interface says."""
        with contextlib.suppress(HypervisorError):
            await self._forwards.ensure(port)

    def open_out(self) -> int | None:
        """QEMU itself is the way out, if there is one."""
        return None

    def keep_up(self) -> None:
        """The walls know nothing of single addresses."""

    async def close(self) -> None:
        """As the interface says."""
        self._process.close()
