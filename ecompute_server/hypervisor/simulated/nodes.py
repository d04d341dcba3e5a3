"""The things in a simulated guest's file system, and regular files that are open."""

from __future__ import annotations

import os
import stat
from enum import StrEnum
from pathlib import Path
from typing import Protocol, Self

from attrs import frozen


class Kind(StrEnum):
    FILE = "file"
    DIRECTORY = "directory"
    LINK = "link"


TYPE_BITS = {Kind.FILE: stat.S_IFREG, Kind.DIRECTORY: stat.S_IFDIR, Kind.LINK: stat.S_IFLNK}


@frozen
class Node:
    """A file, directory or symbolic link. `mode` has the permission bits only; `size` is in bytes."""

    id: int
    kind: Kind
    mode: int
    mtime: float
    size: int
    target: str = ""

    @property
    def st_mode(self) -> int:
        return TYPE_BITS[self.kind] | self.mode


class Space(Protocol):
    """What an open file takes its room from."""

    def take(self, size: int) -> None:
        """Use up bytes, or raise ENOSPC."""

    def closed(self, opened: OpenFile) -> None:
        """The file is closed."""


class OpenFile:
    """A regular file, open as the `os.O_*` flags say, at a position of its own. Must be closed."""

    def __init__(self, space: Space, node: Node, content: Path, flags: int) -> None:
        self.node = node
        self._space = space
        self._append = bool(flags & os.O_APPEND)
        self._descriptor = os.open(content, flags | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def size(self) -> int:
        return os.fstat(self._descriptor).st_size

    def read(self, limit: int) -> bytes:
        """The next bytes; empty at the end."""
        return os.read(self._descriptor, limit)

    def write(self, data: bytes) -> None:
        """Write all of it.

        Raises:
            OSError: ENOSPC, when the machine's space does not hold it; nothing is written then.
        """
        size = self.size
        start = size if self._append else os.lseek(self._descriptor, 0, os.SEEK_CUR)
        self._space.take(max(0, start + len(data) - size))
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]

    def close(self) -> None:
        """Safe to call more than once."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            self._space.closed(self)
