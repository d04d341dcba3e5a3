"""Where the driver's files lie.

    STATE/libvirt/                 seen by libvirt and QEMU under a short name, `base`
      root/                        the embedded libvirt's own tree
      emulator/                    what libvirt takes for QEMU (network/wrapper.py)
      images/<name>-<arch>-<version>/   kernel and initrd where QEMU's user can read them
      blank/                       empty file systems that volumes are overlays of
      machines/<container id>/     all that belongs to one container
      kvm.json lock owner          whether KVM runs guests here; who holds the machines; whose they are

The short name exists because a Unix socket's path has 108 bytes, of which libvirt needs about 45 below its
root, and because QEMU runs as a user of its own when the server is root and may not walk through a state
directory that is closed to others.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from attrs import frozen

from ecompute_server.hypervisor.interface import HypervisorError

LONGEST_BASE = 54
"""Longest `base` in bytes, so that libvirt's root below it stays under 60."""

ROOT_RUNTIME = Path("/run/ecompute")

_SAFE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")


@frozen
class MachineFiles:
    """The files of one container's machine."""

    folder: Path

    @property
    def volume(self) -> Path:
        return self.folder / "volume.qcow2"

    @property
    def agent(self) -> Path:
        """Socket of the guest agent, bound by libvirt."""
        return self.folder / "agent"

    @property
    def console(self) -> Path:
        """Socket of the serial console, bound by libvirt."""
        return self.folder / "console"

    @property
    def console_log(self) -> Path:
        return self.folder / "console.log"

    @property
    def system(self) -> Path:
        """Overlay over the image's system disk, for images that have one."""
        return self.folder / "system.qcow2"

    @property
    def alive(self) -> Path:
        """Fifo that QEMU holds open for as long as it lives."""
        return self.folder / "alive"

    @property
    def walls(self) -> Path:
        """Commands for `ip -batch` inside QEMU's network namespace."""
        return self.folder / "walls"

    @property
    def whole(self) -> Path:
        """There when the start came to its end; a machine found without it was left half-started."""
        return self.folder / "whole"

    @property
    def outbound_log(self) -> Path:
        return self.folder / "outbound.log"

    def of_one_run(self) -> tuple[Path, ...]:
        """What goes when the machine ends; volume and console log stay."""
        return (
            *(self.agent, self.console, self.system, self.alive),
            *(self.walls, self.whole, self.outbound_log),
        )


@frozen
class Layout:
    """`home` is the real directory, `base` the short name under which libvirt and QEMU know it."""

    home: Path
    base: Path

    @property
    def root(self) -> Path:
        return self.base / "root"

    @property
    def emulators(self) -> Path:
        return self.base / "emulator"

    @property
    def images(self) -> Path:
        return self.base / "images"

    @property
    def blanks(self) -> Path:
        return self.base / "blank"

    @property
    def machines(self) -> Path:
        return self.base / "machines"

    def machine(self, container_id: str) -> MachineFiles:
        """Raises:
        HypervisorError: the id would not be one harmless path component.
        """
        if not _SAFE_ID.fullmatch(container_id):
            raise HypervisorError(f"The container id {container_id!r} cannot name a machine on this host.")
        return MachineFiles(self.machines / container_id)


def home_of(state: Path) -> Path:
    return state.absolute() / "libvirt"


def make_home(state: Path) -> Path:
    """Makes the driver's directory. The state directory above it stays closed to others.

    Raises:
        OSError: it cannot be made.
    """
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    home = home_of(state)
    home.mkdir(mode=0o711, exist_ok=True)
    home.chmod(0o711)
    return home


def layout_of(state: Path, *, uid: int | None = None) -> Layout:
    """The layout of a state directory, the same in every process that serves it.

    That sameness matters: libvirt writes `base` into the records of running guests, and a later process that
    knew them by another name would lose them. So it depends on the path and the user alone.
    """
    uid = os.getuid() if uid is None else uid
    home = home_of(state)
    key = hashlib.sha256(os.fsencode(home)).hexdigest()[:12]
    if uid == 0:
        return Layout(home, ROOT_RUNTIME / key)
    if len(os.fsencode(home)) <= LONGEST_BASE:
        return Layout(home, home)
    return Layout(home, Path(f"/tmp/ecompute-{uid}") / key)
