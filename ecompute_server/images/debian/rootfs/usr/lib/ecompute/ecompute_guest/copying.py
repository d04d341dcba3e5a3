"""A directory's first copy onto the volume: what `cp -a` keeps is kept.

Owners, modes, times, extended attributes (capabilities and access lists are such), symbolic and hard links,
pipes and devices. Sockets are left out: nobody listens at a copy.
"""

import os
import stat

_CHUNK = 1 << 24


def copy(source: str, target: str) -> bool:
    """Makes `target`, which must not be there, a copy of the directory `source`; tells whether that one had
    anything in it. No symbolic link is followed.

    Raises:
    OSError: something cannot be read or written; `target` is then there in part.
    """
    linked: dict[tuple[int, int], str] = {}
    os.mkdir(target, 0o700)
    filled = _fill(source, target, linked)
    _take_on(source, target, os.lstat(source))
    return filled


def _fill(source: str, target: str, linked: dict[tuple[int, int], str]) -> bool:
    names = os.listdir(source)
    for name in names:
        old, new = f"{source}/{name}", f"{target}/{name}"
        status = os.lstat(old)
        mode = status.st_mode
        if status.st_nlink > 1 and not stat.S_ISDIR(mode):
            known = linked.setdefault((status.st_dev, status.st_ino), new)
            if known != new:
                os.link(known, new, follow_symlinks=False)
                continue
        if stat.S_ISDIR(mode):
            os.mkdir(new, 0o700)
            _fill(old, new, linked)
        elif stat.S_ISREG(mode):
            _copy_data(old, new)
        elif stat.S_ISLNK(mode):
            os.symlink(os.readlink(old), new)
        elif stat.S_ISSOCK(mode):
            continue
        else:
            os.mknod(new, stat.S_IFMT(mode) | 0o600, status.st_rdev)
        _take_on(old, new, status)
    return bool(names)


def _copy_data(source: str, target: str) -> None:
    reading = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        writing = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            while os.sendfile(writing, reading, None, _CHUNK):
                pass
        finally:
            os.close(writing)
    finally:
        os.close(reading)


def _take_on(source: str, target: str, status: os.stat_result) -> None:
    """In this order: a new owner takes capabilities away, and everything changes the time."""
    os.chown(target, status.st_uid, status.st_gid, follow_symlinks=False)
    if not stat.S_ISLNK(status.st_mode):
        os.chmod(target, stat.S_IMODE(status.st_mode))
    for name in os.listxattr(source, follow_symlinks=False):
        os.setxattr(target, name, os.getxattr(source, name, follow_symlinks=False), follow_symlinks=False)
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns), follow_symlinks=False)
