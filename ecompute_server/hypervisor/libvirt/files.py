"""Files that appear whole or not at all, whose they are, and their failures as sentences."""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from attrs import frozen

from ecompute_server.hypervisor.interface import HypervisorError, NotReady

QEMU_USER = "libvirt-qemu"


@frozen
class Owner:
    """The user QEMU runs as, when that is not ourselves."""

    uid: int
    gid: int


def qemu_owner(uri: str) -> Owner | None:
    """The user QEMU runs as when it is another than ours.

    Raises:
        NotReady: we are root, and that user does not exist.
    """
    if os.getuid() != 0 or uri == "qemu:///session":
        return None
    try:
        return Owner(pwd.getpwnam(QEMU_USER).pw_uid, pwd.getpwnam(QEMU_USER).pw_gid)
    except KeyError:
        raise NotReady(
            f"The user {QEMU_USER} does not exist, as whom guests run when the server is root:"
            " apt-get install libvirt-daemon-system"
        ) from None


@contextlib.contextmanager
def explained(doing: str) -> Iterator[None]:
    """Turns an `OSError` into a `HypervisorError` of one sentence."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise HypervisorError(f"{doing}: the disk of the state directory is full.") from error
        where = f" ({error.filename})" if error.filename else ""
        raise HypervisorError(f"{doing}: {error.strerror or error}{where}.") from error


def placed(target: Path, make: Callable[[Path], object]) -> None:
    """`make` writes a fresh file, which appears under its name only when it is whole."""
    target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=".new-", dir=target.parent)
    os.close(descriptor)
    fresh = Path(name)
    try:
        make(fresh)
        fresh.replace(target)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise


def give(path: Path, owner: Owner | None) -> None:
    if owner is not None:
        os.chown(path, owner.uid, owner.gid)


def trim(logs: Iterable[Path], bound: int) -> None:
    """Empties logs that have passed a bound. Their writers append, so they go on at the front."""
    for log in logs:
        with contextlib.suppress(OSError):
            if log.stat().st_size > bound:
                os.truncate(log, 0)
