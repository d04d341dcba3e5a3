"""The first copy of a directory, held against `cp -a`."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
from pathlib import Path

import pytest
from ecompute_guest import copying


def told(root: Path) -> dict[str, tuple[object, ...]]:
    """Everything of a tree that a copy should keep, by path."""
    found: dict[str, tuple[object, ...]] = {}
    names: dict[int, str] = {}
    for path in [root, *sorted(root.rglob("*"))]:
        status = path.lstat()
        name = str(path.relative_to(root))
        if stat.S_ISREG(status.st_mode):
            content: object = path.read_bytes()
        elif stat.S_ISLNK(status.st_mode):
            content = str(path.readlink())
        else:
            content = None
        attributes = {
            key: os.getxattr(path, key, follow_symlinks=False)
            for key in os.listxattr(path, follow_symlinks=False)
        }
        found[name] = (
            status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, content, attributes,
            names.setdefault(status.st_ino, name) if not stat.S_ISDIR(status.st_mode) else None,
        )  # fmt: skip
    return found


def make_tree(root: Path) -> None:
    (root / "deep/er").mkdir(parents=True)
    (root / "deep/er/file").write_bytes(b"x" * 100_000)
    (root / "deep/er/file").chmod(0o640)
    (root / "sticky").mkdir()
    (root / "sticky").chmod(0o1777)
    (root / "closed").mkdir(mode=0o700)
    (root / "program").write_text("#!/bin/sh\n")
    (root / "program").chmod(0o4755)
    (root / "link").symlink_to("deep/er/file")
    (root / "nowhere").symlink_to("/nowhere/at all")
    (root / "twin").hardlink_to(root / "program")
    (root / "name with\nline").write_text("")
    os.mkfifo(root / "pipe", 0o620)
    os.setxattr(root / "deep", "user.note", b"kept")
    os.setxattr(root / "program", "user.note", b"too")
    if os.geteuid() == 0:
        for name, owner in (("deep", 7), ("deep/er/file", 1234), ("link", 9)):
            os.chown(root / name, owner, owner + 1, follow_symlinks=False)
    for path in root.rglob("*"):
        os.utime(path, ns=(1_000_000_001, 2_000_000_003), follow_symlinks=False)


def test_a_copy_keeps_what_cp_keeps(tmp_path: Path) -> None:
    """Owners, modes, times, attributes, links and pipes are those of `cp -a`, and of the original."""
    source = tmp_path / "source"
    source.mkdir()
    make_tree(source)
    subprocess.run(["cp", "-a", str(source), str(tmp_path / "theirs")], check=True)
    assert copying.copy(str(source), str(tmp_path / "ours"))
    assert told(tmp_path / "ours") == told(tmp_path / "theirs") == told(source)


def test_an_empty_directory_is_told_from_one_that_is_not(tmp_path: Path) -> None:
    """So that nobody waits for a disk without need; the directory itself is copied in any case."""
    (tmp_path / "empty").mkdir(mode=0o711)
    assert not copying.copy(str(tmp_path / "empty"), str(tmp_path / "copy"))
    assert stat.S_IMODE((tmp_path / "copy").stat().st_mode) == 0o711


def test_nothing_outside_is_touched(tmp_path: Path) -> None:
    """Symbolic links are copied, what they point at is not; sockets are left out."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("")
    source = tmp_path / "source"
    source.mkdir()
    (source / "way-out").symlink_to(outside)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(source / "socket"))
        copying.copy(str(source), str(tmp_path / "copy"))
    assert [path.name for path in (tmp_path / "copy").iterdir()] == ["way-out"]
    assert (tmp_path / "copy/way-out").is_symlink()


def test_a_target_that_is_there_is_left_alone(tmp_path: Path) -> None:
    """A copy never mixes with what somebody else has put there."""
    (tmp_path / "source").mkdir()
    (tmp_path / "target").mkdir()
    with pytest.raises(FileExistsError):
        copying.copy(str(tmp_path / "source"), str(tmp_path / "target"))
