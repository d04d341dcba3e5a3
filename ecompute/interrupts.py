"""Ctrl-C while something is made or unmade: nothing is left behind because of it, or it is told.

Python raises `KeyboardInterrupt` between any two instructions of the main thread, clean-up included, and as
often as the key is pressed. Here the first one is heeded, and those that follow wait until the clean-up is
over. That is so where Python's own handler of SIGINT is in force; where a program has set another, such as an
event loop's, that one decides.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import weakref
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Self, TypeVar

_log = logging.getLogger("ecompute")

T = TypeVar("T")


class Held:
    """A block in which Ctrl-C waits, except while it is `open`: then the first one is raised at once, and
    closes it. What has waited is raised at the end.
    """

    def __init__(self) -> None:
        self.open: bool = False
        self.came: bool = False
        """Whether one waits."""
        self._took_over: bool = False

    def __enter__(self) -> Self:
        main = threading.current_thread() is threading.main_thread()
        if main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._took_over = True
            signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._took_over:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if self.came and not isinstance(error, KeyboardInterrupt):
            raise KeyboardInterrupt

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.open:
            self.open = False
            raise KeyboardInterrupt
        self.came = True


def guarded(work: Callable[[], T], undo: Callable[[BaseException], None]) -> T:
    """Do `work`; when it does not come to its end, `undo` it, which no Ctrl-C shortens."""
    with Held() as held:
        try:
            held.open = True
            result = work()
            held.open = False
            if held.came:
                raise KeyboardInterrupt
        except BaseException as error:
            held.open = False
            undo(error)
            raise
    return result


def watch_over(
    owner: T, left: Callable[[], list[str]]
) -> weakref.finalize[[Callable[[], list[str]], int], T]:
    """When `owner` is gone, or the program ends, log what is `left` then. It is the last resort, for what
    interrupts have kept from being deleted: `detach` says that all is told.
    """
    return weakref.finalize(owner, _tell, left, os.getpid())


def _tell(left: Callable[[], list[str]], process: int) -> None:
    # a process that was forked off has nothing to answer for
    if process == os.getpid():
        for thing in left():
            _log.warning("%s: there was no time to delete it.", thing)
