"""What walls do for a driver, and what a running machine's network does for its owner.

Nothing here knows how: each kind of walls is a module beside this one.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from ecompute_server.hypervisor.libvirt.layout import MachineFiles

Ask = Callable[[str], Awaitable[str]]
"""A command of QEMU's human monitor to its answer."""


class Mode(StrEnum):
    """How a guest is walled in. The words stand in the metadata of running machines."""

    NAMESPACE = "namespace"
    """QEMU is in a user and network namespace of its own."""
    FIREWALL = "firewall"
    """QEMU has the host's network; the kernel refuses its user every address of the host."""
    RESTRICTED = "restricted"
    """QEMU has the host's network and opens no connection at all for its guest."""


class GuestNetwork(Protocol):
    """The network of one running machine."""

    async def connect(self, port: int) -> socket.socket:
        """A connected, non-blocking socket to a TCP port of the guest; the caller owns it.

        Raises:
            HypervisorError: there is no way in (any more).
            OSError: QEMU does not take the connection.
        """

    async def warm(self, port: int) -> None:
        """Makes ready what the first `connect` to that port needs. Failures show there."""

    def open_out(self) -> int | None:
        """Lets the guest open connections, if it may: once, after the start. Blocks. Returns the process
        that carries them, where there is one beside QEMU.

        Raises:
            HypervisorError: it cannot be had.
        """

    def keep_up(self) -> None:
        """Brings the walls up to what the host is now. Blocks. Nothing happens when they are.

        Raises:
            HypervisorError: they do not hold.
        """

    async def close(self) -> None:
        """Lets go of helpers and descriptors; the guest does not notice."""


class Walls(Protocol):
    """One kind of walls, for all machines of a driver."""

    def hold(self) -> None:
        """Before machines are taken over and before each start. Blocks.

        Raises:
            HypervisorError: they do not; no guest may run behind them.
        """

    def release(self) -> None:
        """When no machine is left behind them. Blocks."""

    def emulator(self, qemu: Path) -> Path:
        """What libvirt takes for QEMU.

        Raises:
            OSError: it cannot be prepared.
        """

    def prepare(self, files: MachineFiles) -> None:
        """What a machine about to start needs. Blocks.

        Raises:
            OSError: it cannot be made; the machine may not start.
        """

    def enter(self, pid: int, files: MachineFiles, ask: Ask) -> GuestNetwork:
        """The network of the running machine whose QEMU is `pid`, just started or found."""
