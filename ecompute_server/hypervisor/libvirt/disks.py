"""Files that QEMU reads and writes: boot files, empty file systems, volumes. Blocking; run in a thread.

A volume is a qcow2 overlay over an empty ext4 of its size, which is made once and shared: a guest formats
nothing, and a new volume has 200 KiB. A system disk is an overlay over the image's, made anew for each start.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
from pathlib import Path

from ecompute_server.hypervisor.interface import HypervisorError, NotReady
from ecompute_server.hypervisor.libvirt.domain import Boot
from ecompute_server.hypervisor.libvirt.files import Owner, explained, give, placed
from ecompute_server.hypervisor.libvirt.layout import Layout, MachineFiles
from ecompute_server.images.interface import Image

_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_FICLONE = 0x40049409


def _run(doing: str, *command: str) -> None:
    program = shutil.which(command[0], path=f"{os.environ.get('PATH', '')}:{_PATH}")
    if program is None:
        package = {"mke2fs": "e2fsprogs", "qemu-img": "qemu-utils"}[command[0]]
        raise NotReady(f"{command[0]} is not installed: apt-get install {package}")
    done = subprocess.run(
        [program, *command[1:]], stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace"
    )
    if done.returncode != 0:
        if "No space left on device" in done.stderr:
            raise HypervisorError(f"{doing}: the disk of the state directory is full.")
        words = done.stderr.strip().splitlines() or [f"{command[0]} ended with {done.returncode}"]
        raise HypervisorError(f"{doing}: {words[-1]}")


def boot_of(image: Image, layout: Layout) -> Boot:
    """The image's files where QEMU's user can read them, copied once per version.

    Shares the blocks where the file system can; a hard link would not do, as the original's owner and mode
    need not let QEMU's user in.

    Raises:
        HypervisorError: the image's files cannot be read or copied.
    """
    folder = layout.images / f"{image.name}-{image.arch}-{image.version}"
    sources = {"kernel": image.kernel, "initrd": image.initrd}
    if image.disk is not None:
        sources["disk.qcow2"] = image.disk
    with explained(f"The image {image.name!r} for {image.arch} cannot be prepared"):
        for name, source in sources.items():
            if not (folder / name).exists():
                placed(folder / name, lambda fresh, source=source: _copy(source, fresh))  # type: ignore[misc]
        for other in layout.images.glob(f"{image.name}-{image.arch}-*"):
            # A running guest keeps what it booted from in its memory, but for the disk.
            if other != folder and not (other / "disk.qcow2").exists():
                shutil.rmtree(other, ignore_errors=True)
    disk = folder / "disk.qcow2" if image.disk is not None else None
    return Boot(folder / "kernel", folder / "initrd", image.kernel_arguments, disk)


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as reading, target.open("wb") as writing:
        try:
            fcntl.ioctl(writing, _FICLONE, reading.fileno())
        except OSError:
            shutil.copyfileobj(reading, writing, 1 << 20)
    target.chmod(0o644)


def blank_of(size_gb: int, layout: Layout) -> Path:
    """The empty ext4 of that size, root directory owned by the guest's root; made at its first use.

    Raises:
        NotReady: mke2fs is not installed.
        HypervisorError: it cannot be made.
    """
    target = layout.blanks / f"ext4-{size_gb}g.raw"
    with explained("An empty volume cannot be made"):
        if not target.exists():
            placed(target, lambda fresh: _format(fresh, size_gb))
    return target


def _format(path: Path, size_gb: int) -> None:
    # On a sparse file mke2fs knows that the inode tables read as zeroes, so no guest initialises them.
    _run(
        "An empty volume cannot be made",
        *("mke2fs", "-q", "-F", "-t", "ext4", "-L", "data", "-m", "0", "-E", "root_owner=0:0"),
        *(str(path), f"{size_gb}G"),
    )
    path.chmod(0o444)


def make_volume(files: MachineFiles, size_gb: int, layout: Layout, owner: Owner | None) -> bool:
    """The container's data volume; False when it is there already.

    Raises: as `blank_of`.
    """
    if files.volume.exists():
        return False
    _overlay("The data volume cannot be made", files.volume, blank_of(size_gb, layout), "raw", owner)
    return True


def make_system(files: MachineFiles, disk: Path, owner: Owner | None) -> None:
    """A machine's own view of an image's system disk, as it is in the image.

    Raises:
        NotReady: qemu-img is not installed.
        HypervisorError: it cannot be made.
    """
    _overlay("The system disk cannot be made", files.system, disk, "qcow2", owner)


def _overlay(doing: str, path: Path, below: Path, form: str, owner: Owner | None) -> None:
    def create(fresh: Path) -> None:
        _run(
            doing,
            *("qemu-img", "create", "-q", "-f", "qcow2", "-F", form, "-b", str(below), str(fresh)),
        )
        fresh.chmod(0o600)
        give(fresh, owner)

    with explained(doing):
        placed(path, create)


def make_fifo(path: Path, owner: Owner | None) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path, 0o600)
    give(path, owner)


def remove(files: MachineFiles) -> None:
    """All of one container's files. Nothing happens when there are none.

    Raises:
        HypervisorError: something cannot be removed.
    """
    with explained("The machine's files cannot be removed"), contextlib.suppress(FileNotFoundError):
        shutil.rmtree(files.folder)
