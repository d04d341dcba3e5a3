"""A folder with all that can be copied, and what is seen of one."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

STRANGE = os.fsdecode(b"\xff\xfe \n'\"$x")
"""A name that is no Unicode."""


def make_tree(top: Path) -> Path:
    """Modes, times, links, an empty folder, names of any length and bytes."""
    (top / "a" / "b").mkdir(parents=True)
    (top / "empty").mkdir(mode=0o700)
    (top / "a" / "file").write_bytes(bytes(range(256)) * 2000)
    (top / "a" / "file").chmod(0o750)
    os.utime(top / "a" / "file", (1000, 1000))
    (top / "a" / "link").symlink_to("file")
    (top / "a" / "b" / "up").symlink_to("../file")
    (top / "nothing").touch(mode=0o600)
    (top / STRANGE).write_bytes(b"strange")
    long = top / ("d" * 200) / ("e" * 200)
    long.mkdir(parents=True)
    (long / ("f" * 200)).write_bytes(b"long")
    (long / "link").symlink_to("x" * 200)
    return top


def seen(top: Path) -> dict[str, Any]:
    """What lies below a folder."""
    found = {}
    for path in top.rglob("*"):
        status = path.lstat()
        what: Any = None
        if path.is_symlink():
            what = path.readlink()
        elif path.is_file():
            what = (path.read_bytes(), stat.S_IMODE(status.st_mode), int(status.st_mtime))
        else:
            what = stat.S_IMODE(status.st_mode)
        found[str(path.relative_to(top))] = what
    return found
