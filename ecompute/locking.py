"""One at a time: a lock beside a file that threads and processes change."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import InvalidArgument, seconds

PATIENCE = 10.0
"""Seconds to wait for others, who need a few thousandths each."""

_LOOK = 0.01


@contextmanager
def locked(path: Path, patience: float = PATIENCE) -> Iterator[None]:
    """Hold the lock of a file, which need not be there, as its folder must. The lock is a file beside it;
    where the system lets go of locks by itself, that stays.

    Raises:
        InvalidArgument: others hold it for too long.
        OSError: the lock cannot be made.
    """
    place = path.with_name(f".{path.name}.lock")
    deadline = time.monotonic() + patience
    while (descriptor := _taken(place)) is None:
        if time.monotonic() >= deadline:
            raise InvalidArgument(
                f"{path} is being changed by another program, which did not end within {seconds(patience)}; "
                f"when there is none, remove {place}."
            )
        time.sleep(_LOOK)
    try:
        yield
    finally:
        _let_go(descriptor)
        if _left_behind:
            place.unlink(missing_ok=True)


try:
    import fcntl
except ImportError:
    _left_behind = True

    def _let_go(descriptor: int) -> None:
        os.close(descriptor)

    def _taken(place: Path) -> int | None:
        """The lock, by making its file; None when others have it."""
        try:
            return os.open(place, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        except (FileExistsError, PermissionError):
            # a file that is just being removed may not be made either
            if not place.parent.is_dir() or not os.access(place.parent, os.W_OK):
                raise
            return None

else:
    _left_behind = False

    def _let_go(descriptor: int) -> None:
        # closing is not enough where a process was forked off meanwhile, which has it open as well
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)

    def _taken(place: Path) -> int | None:
        """The lock, which ends with the process that holds it; None when others have it."""
        descriptor = os.open(place, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor
