"""The system's disk: an empty ext4 at first, a compressed qcow2 file at last. No rights are needed.

What Debian's programs put at random (identifiers, hash seeds, times) is given, so that it is the same each
time.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from ecompute_server.images import space
from ecompute_server.images.interface import ImageError

NEEDED = {
    "mke2fs": "e2fsprogs", "tune2fs": "e2fsprogs", "e2fsck": "e2fsprogs", "qemu-img": "qemu-utils",
    "setpriv": "util-linux",
}  # fmt: skip
EMULATORS = {"qemu-system-x86_64": "qemu-system-x86", "qemu-system-aarch64": "qemu-system-arm"}
PROGRAMS = NEEDED | EMULATORS
"""Programs of the host and Debian's packages that have them; of the emulators one is enough."""

ADMINISTRATORS_PATH = "/usr/sbin:/sbin"

FEATURES = (
    "64bit", "dir_index", "dir_nlink", "ext_attr", "extent", "extra_isize", "filetype", "flex_bg",
    "huge_file", "large_file", "metadata_csum", "resize_inode", "sparse_super",
)  # fmt: skip
"""Of the file system, whatever the host takes for usual: the guest's kernel and e2fsck must know them all."""

OPTIONS = "compression_type=zstd,cluster_size=256k"
"""Larger clusters pack better, but one is unpacked as a whole for each piece that is read."""


def find(program: str) -> str:
    """The program's path; administrators' directories are searched, too.

    Raises:
        ImageError: it is not installed.
    """
    path = shutil.which(program) or shutil.which(program, path=ADMINISTRATORS_PATH)
    if path is None:
        raise ImageError(f"{program} is not installed; Debian's package {PROGRAMS[program]} has it.")
    return path


def create(path: Path, size: int, label: str, time: int) -> None:
    """A sparse file with an empty ext4. It gets its journal at last, so the journal is empty and takes no
    space.
    """
    with path.open("wb") as file:
        file.truncate(size)
    identifier = str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{label}.ecompute"))
    options = f"hash_seed={identifier},lazy_itable_init=0,nodiscard,root_owner=0:0"
    _run(path, time, [
        find("mke2fs"), "-q", "-t", "ext4", "-O", ",".join(("none", *FEATURES)), "-b", "4096", "-I", "256",
        "-i", "16384", "-m", "1", "-U", identifier, "-E", options, "-L", label, str(path),
    ])  # fmt: skip


def pack(raw: Path, disk: Path, time: int) -> None:
    """Check the file system, give it its journal, and write it compressed."""
    _run(raw, time, [find("tune2fs"), "-j", str(raw)])
    _run(raw, time, [find("e2fsck"), "-f", "-n", str(raw)])
    _run(raw, time, [
        find("qemu-img"), "convert", "-c", "-f", "raw", "-O", "qcow2", "-o", OPTIONS,
        str(raw), str(disk),
    ])  # fmt: skip


def _run(path: Path, time: int, command: Sequence[str]) -> None:
    environment: Mapping[str, str] = os.environ | {"E2FSPROGS_FAKE_TIME": str(time), "LC_ALL": "C"}
    result = subprocess.run(
        command, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    if result.returncode != 0:
        space.check(path.parent)
        lines = (result.stderr.strip() or result.stdout.strip()).splitlines()
        raise ImageError(f"{Path(command[0]).name} failed: {lines[-1] if lines else 'without a word'}.")
