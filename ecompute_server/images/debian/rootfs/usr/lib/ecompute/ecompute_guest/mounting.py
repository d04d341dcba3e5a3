"""The volume and the paths that it carries.

Nothing is remembered: what is mounted tells itself. A mount path is walked part by part without following a
symbolic link, so that what is mounted is the path that was asked for and no other place.
"""

import ctypes
import os
import stat

from . import copying

BLOCK = "/sys/block"
_BIND = 0x1000
_NOATIME = 0x400
_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._~-")
_LONGEST_PART = 200

_libc = ctypes.CDLL(None, use_errno=True)


class Refused(Exception):
    """What cannot be, in one sentence for the user."""


def mount_volume(serial: str, place: str) -> None:
    """Mounts the disk of that serial, an ext4, unless it is mounted there already.

    Raises:
    Refused: there is no such disk, or another one is mounted.
    OSError: the kernel does not mount it.
    """
    device = os.lstat(place).st_dev
    if device != os.lstat(os.path.dirname(place)).st_dev:
        if _serial(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}") != serial:
            raise Refused("another volume is mounted already")
        return
    for name in sorted(os.listdir(BLOCK)):
        if serial and _serial(f"{BLOCK}/{name}") == serial:
            _mount(f"/dev/{name}", place, "ext4", _NOATIME, "discard", f"the volume /dev/{name}")
            return
    raise Refused(f"there is no disk with the serial {serial}")


def _serial(device: str) -> str | None:
    try:
        with open(f"{device}/serial") as file:
            return file.read().strip()
    except OSError:
        return None


def folder(path: str) -> str:
    """The path's folder below the volume's `mounts`: unique, no part longer than a file name may be, and the
    same as the micro guest's.
    """
    parts, part = [], ""
    for byte in os.fsencode(path):
        part += chr(byte) if byte in _PLAIN else f"%{byte:02X}"
        if len(part) > _LONGEST_PART:
            parts.append(part)
            part = ""
    return "/".join([*parts, part]) + "="


def check_path(path: str) -> None:
    """Raises:
    Refused: the path is not absolute and plain.
    """
    parts = path.split("/")[1:]
    if not path.startswith("/") or any(part in (".", "..") for part in parts) or not any(parts):
        raise Refused(f"the mount path {path} is not absolute and plain")


def carry(path: str, volume: str) -> None:
    """Has the volume carry the path, from now on and until the guest ends. At the first time it gets what the
    image has there; a copy that was cut short begins anew.

    Raises:
    Refused: the path is, or leads through, a symbolic link, or something that is no directory.
    OSError: the disk is full, or cannot be read or written.
    """
    check_path(path)
    stored = f"{volume}/mounts/{folder(path)}"
    place = open_place(path)
    try:
        if not os.path.lexists(stored):
            _prepare(f"/proc/self/fd/{place}/.", stored, volume)
        origin = os.open(stored, os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if not os.path.samestat(os.fstat(origin), os.fstat(place)):
                _mount(f"/proc/self/fd/{origin}", f"/proc/self/fd/{place}", None, _BIND, None, path)
        finally:
            os.close(origin)
    finally:
        os.close(place)


def open_place(path: str, root: str = "/") -> int:
    """A descriptor of the path's directory, made where it is missing.

    Raises:
    Refused: as `carry`.
    """
    flags = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
    here = os.open(root, flags | os.O_DIRECTORY)
    walked = ""
    for part in filter(None, path.split("/")):
        walked += f"/{part}"
        try:
            try:
                below = os.open(part, flags, dir_fd=here)
            except FileNotFoundError:
                os.mkdir(part, 0o755, dir_fd=here)
                below = os.open(part, flags, dir_fd=here)
        finally:
            os.close(here)
        here = below
        mode = os.fstat(here).st_mode
        if not stat.S_ISDIR(mode):
            target = os.readlink("", dir_fd=here) if stat.S_ISLNK(mode) else None
            os.close(here)
            raise Refused(_no_directory(path, walked, target))
    return here


def _no_directory(path: str, walked: str, target: str | None) -> str:
    subject = f"the mount path {path}" if walked == path else f"the mount path {path} cannot be, as {walked}"
    if target is None:
        return f"{subject} is no directory in the image"
    return f"{subject} is a symbolic link to {target} in the image: name the place itself"


def _prepare(source: str, stored: str, volume: str) -> None:
    new = f"{volume}/mounts/.new"
    if os.path.lexists(new):
        _remove(new)
    os.makedirs(os.path.dirname(stored), exist_ok=True)
    if copying.copy(source, new):
        # Directories alone are made by the journal in the right order, contents are not.
        sync(volume)
    os.rename(new, stored)


def _remove(place: str) -> None:
    if not stat.S_ISDIR(os.lstat(place).st_mode):
        os.unlink(place)
        return
    for name in os.listdir(place):
        _remove(f"{place}/{name}")
    os.rmdir(place)


def sync(place: str) -> None:
    """Returns when all that was written to that file system is on its disk."""
    descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _checked(_libc.syncfs(descriptor), place)
    finally:
        os.close(descriptor)


def _mount(source: str, place: str, kind: str | None, flags: int, options: str | None, words: str) -> None:
    """`words` name the place in an error."""
    encoded = (None if text is None else os.fsencode(text) for text in (source, place, kind))
    data = None if options is None else os.fsencode(options)
    _checked(_libc.mount(*encoded, ctypes.c_ulong(flags), data), words)


def _checked(result: int, words: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), words)
