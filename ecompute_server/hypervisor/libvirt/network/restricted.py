"""Walls of QEMU's own making, for hosts that allow no better: `restrict=on` in its user network.

QEMU then answers for forwards and for nothing else: whatever the guest sends to any address, the host's and
those of the internet alike, goes nowhere. The domain's XML asks for it (domain.py).
"""

from __future__ import annotations

from pathlib import Path

from ecompute_server.hypervisor.libvirt.layout import MachineFiles
from ecompute_server.hypervisor.libvirt.network.direct import DirectNetwork
from ecompute_server.hypervisor.libvirt.network.interface import Ask, GuestNetwork


class Restricted:
    """A kind of `Walls`. Each QEMU is given them on its command line, so there is nothing to hold."""

    def hold(self) -> None:
        """As the interface says."""

    def release(self) -> None:
        """As the interface says."""

    def emulator(self, qemu: Path) -> Path:
        """QEMU itself."""
        return qemu

    def prepare(self, files: MachineFiles) -> None:
        """As the interface says."""

    def enter(self, pid: int, files: MachineFiles, ask: Ask) -> GuestNetwork:
        """As the interface says."""
        return DirectNetwork(pid, ask)
