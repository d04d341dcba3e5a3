"""The end of a guest's console, kept in a file that cannot grow.

The console is a Unix socket of QEMU's and not a file of QEMU's: a guest that writes for ever would fill the
disk, also while no server runs, and QEMU has no bound of its own. What a guest says while no server is
connected is dropped by QEMU; what was read before stays in the file. A guest that floods its console is read
slowly (see link.py) and slows itself alone.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

KEEP = 64 * 1024


class ConsoleLog:
    """Appends, and cuts the file to its last 32 KiB whenever it passes 64 KiB.

    Writes are small and go to the page cache, so they are done where they arise.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._size = path.stat().st_size
        except FileNotFoundError:
            self._size = 0

    def append(self, data: bytes) -> None:
        data = data[-KEEP:]
        if self._size + len(data) > KEEP:
            kept = tail(self._path, KEEP // 2) + data
            self._write(kept[-KEEP:], "wb")
            self._size = min(len(kept), KEEP)
        else:
            self._write(data, "ab")
            self._size += len(data)

    def _write(self, data: bytes, mode: str) -> None:
        # The folder may go while the last words arrive, and a full disk must not end the reading.
        with contextlib.suppress(OSError), open(self._path, mode, opener=_private) as file:
            file.write(data)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def tail(path: Path, max_bytes: int) -> bytes:
    """The last bytes of a file, none when there is no file."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - max_bytes))
            return file.read(max_bytes)
    except FileNotFoundError:
        return b""
