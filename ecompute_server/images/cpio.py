"""Writing of initramfs archives: the "newc" form of cpio that the kernel unpacks at boot.

Every archive is a pure function of its entries: no times, users or inode numbers of the building host get in.
"""

from __future__ import annotations

from collections.abc import Iterable
from stat import S_IFCHR, S_IFDIR, S_IFLNK, S_IFREG
from typing import IO

from attrs import frozen

FILE_LIMIT = 0xFFFFFFFF  # sizes have eight hex digits


@frozen
class Entry:
    """One path of the archive, without a leading slash. `kind` is one of `file`, `dir`, `link`, `char`; all
    entries belong to root. `data` is a file's content, `target` a link's, `device` a character device's
    (major, minor).
    """

    path: str
    kind: str
    mode: int
    data: bytes = b""
    target: str = ""
    device: tuple[int, int] = (0, 0)


KINDS = {"file": S_IFREG, "dir": S_IFDIR, "link": S_IFLNK, "char": S_IFCHR}


def write(entries: Iterable[Entry], output: IO[bytes]) -> int:
    """Write the archive and return its size in bytes. Directories must come before what is in them.

    Raises:
        ValueError: a file is too large for the format, or a kind is unknown.
    """
    size = 0
    for inode, entry in enumerate(entries, start=1):
        size += output.write(_record(inode, entry))
    size += output.write(_record(0, Entry("TRAILER!!!", "file", 0), trailer=True))
    size += output.write(bytes(-size % 512))
    return size


def _record(inode: int, entry: Entry, *, trailer: bool = False) -> bytes:
    if entry.kind not in KINDS:
        raise ValueError(f"{entry.path}: no such kind of file: {entry.kind}")
    data = entry.target.encode() if entry.kind == "link" else entry.data
    if len(data) > FILE_LIMIT:
        raise ValueError(f"{entry.path}: too large for a cpio archive")
    name = entry.path.encode() + b"\0"
    mode = 0 if trailer else KINDS[entry.kind] | entry.mode
    links = 2 if entry.kind == "dir" else 1
    fields = (inode, mode, 0, 0, links, 0, len(data), 0, 0, *entry.device, len(name), 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + name
    return head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)
