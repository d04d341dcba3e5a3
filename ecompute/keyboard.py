"""A terminal of this machine for as long as another one is looked at through it: its mode, its size, and the
signals that concern both. Only systems of POSIX have such things.

Loaded late, by those who interact.
"""

from __future__ import annotations

import errno
import os
import select
import selectors
import signal
import sys
import termios
import threading
import tty
from collections.abc import Callable
from contextlib import ExitStack, suppress
from types import FrameType
from typing import Any, Self

from .contract.catalog import TERMINAL_SIZE
from .errors import Closed, InvalidArgument
from .protocol.escape import Escape
from .protocol.inputs import SystemFile

PIECE = 16 * 1024
"""Bytes read from the keyboard, or from what stands in for it, at a time."""
_SHOWN = 4096
"""Bytes shown at a time: what a slow terminal may still get after somebody has left."""
END_OF_INPUT = b"\x04"
"""What ends the input of a terminal, at the beginning of a line: Ctrl-D."""

_DEADLY = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


def descriptor(file: SystemFile | None, usual: Any, name: str) -> int:
    """The descriptor of a file, of the usual one for None.

    Raises:
        InvalidArgument: it has none.
    """
    chosen: Any = usual if file is None else file
    try:
        if hasattr(chosen, "flush"):
            chosen.flush()
        return int(chosen.fileno())
    except (AttributeError, OSError, TypeError, ValueError):
        raise InvalidArgument(f"{name} is no file of the system, which interact() needs.") from None


def wait_for(descriptors: list[int], timeout: float | None) -> set[int]:
    """Which of them can be read; none when the time is over first."""
    # epoll takes no files of a disk, select no large numbers, and poll no terminals on macOS
    kind = selectors.PollSelector if sys.platform == "linux" else selectors.SelectSelector
    with kind() as selector:
        for one in descriptors:
            selector.register(one, selectors.EVENT_READ)
        return {key.fd for key, _ in selector.select(timeout)}


class Keyboard:
    """Both ends of the caller's terminal, as a context manager.

    On entering, `stdin` gets into raw mode, when it is a terminal. On leaving it has its mode again, signals
    have their handlers, and one of those that end a process has its effect, which had to wait until then.
    Signals are looked after in the main thread only: elsewhere a new size is not noticed.
    """

    def __init__(self, stdin: SystemFile | None, stdout: SystemFile | None) -> None:
        self.stdin: int = descriptor(stdin, sys.stdin, "stdin")
        self.stdout: int = descriptor(stdout, sys.stdout, "stdout")
        self.is_terminal: bool = os.isatty(self.stdin)
        self.resized: bool = False
        """Whether the size may be another; for the one who looks to take back."""
        self.is_over: bool = False
        """Whether a signal ends this."""
        self._is_left = False
        self._escape = Escape() if self.is_terminal else None
        self._last = b"\n"
        self._signal: signal.Signals | None = None
        self._undo = ExitStack()
        self.alarm: int = -1
        """Readable when any signal came, or `ring` was called."""
        self._bell = -1

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            self.alarm, self._bell = os.pipe()
            for end in (self.alarm, self._bell):
                undo.callback(os.close, end)
                os.set_blocking(end, False)
            # last of all: it may end the process
            undo.callback(self._obey)
            if threading.current_thread() is threading.main_thread():
                self._wake_by_signals(undo)
                self._catch(undo)
            if self.is_terminal:
                before = termios.tcgetattr(self.stdin)
                undo.callback(self._restore, before)
                # what was typed ahead is for the other side
                tty.setraw(self.stdin, termios.TCSADRAIN)
            self._undo = undo.pop_all()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._is_left = True
        self._undo.close()

    def _wake_by_signals(self, undo: ExitStack) -> None:
        # A handler in Python has its turn when the main thread goes on. One who waits in the system does not,
        # when the signal came a moment before, or interrupted another thread; so the system rings itself.
        before = signal.set_wakeup_fd(self._bell, warn_on_full_buffer=False)
        if before != -1:
            # an event loop has its own, which wakes the one who waits there
            signal.set_wakeup_fd(before, warn_on_full_buffer=False)
        else:
            undo.callback(signal.set_wakeup_fd, -1)

    def _catch(self, undo: ExitStack) -> None:
        caught: list[tuple[signal.Signals, Callable[[int, FrameType | None], None]]] = []
        if self.size() is not None:
            caught.append((signal.SIGWINCH, self._on_resize))
        # who has a handler for these knows what to do, and what is ignored is not to end anything
        caught += [(one, self._on_end) for one in _DEADLY if signal.getsignal(one) is signal.SIG_DFL]
        for one, handler in caught:
            undo.callback(signal.signal, one, signal.getsignal(one) or signal.SIG_DFL)
            signal.signal(one, handler)

    def _on_resize(self, number: int, frame: FrameType | None) -> None:
        self.resized = True
        self.ring()

    def _on_end(self, number: int, frame: FrameType | None) -> None:
        self._signal = signal.Signals(number)
        self.is_over = True
        self.ring()

    def ring(self) -> None:
        """Wake the one who waits for `alarm`."""
        with suppress(OSError):  # when full, it is ringing already
            os.write(self._bell, b"!")

    def hush(self) -> None:
        """Take the alarm back."""
        with suppress(OSError):
            os.read(self.alarm, 4096)

    def _restore(self, before: list[Any]) -> None:
        # not after what is still to be shown: a terminal that takes nothing must not hold this up
        with suppress(termios.error):
            termios.tcsetattr(self.stdin, termios.TCSANOW, before)

    def _obey(self) -> None:
        if self._signal is not None:
            signal.raise_signal(self._signal)

    def size(self) -> tuple[int, int] | None:
        """Rows and columns of the window; None when there is none, or none that can be told."""
        for end in (self.stdout, self.stdin):
            with suppress(OSError):
                cols, rows = os.get_terminal_size(end)
                if rows > 0 and cols > 0:
                    return min(rows, TERMINAL_SIZE[-1]), min(cols, TERMINAL_SIZE[-1])
        return None

    def read(self) -> bytes | None:
        """What was typed, which is there to be read; None when nobody types any more or wants to leave, with
        the last of it to be had by `farewell`.
        """
        try:
            data = os.read(self.stdin, PIECE)
        except BlockingIOError:
            return b""
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            data = b""  # the terminal is gone
        if not data:
            return None
        if self._escape is None:
            self._last = data[-1:]
            return data
        return self._escape.filter(data)

    @property
    def wants_to_leave(self) -> bool:
        """Whether the way out was taken."""
        return self._escape is not None and self._escape.left

    @property
    def farewell(self) -> bytes:
        """What ends the input of the other side's terminal."""
        # within a line it would end nothing: shells that edit lines take it for another command then
        return END_OF_INPUT if self._last in b"\r\n" else b"\n" + END_OF_INPUT

    def write(self, data: bytes) -> None:
        """Show all of it, or as much as is shown before this is left; waits as long as nobody takes it.

        Raises:
            Closed: nobody will.
        """
        view = memoryview(data)
        try:
            while view and not self._is_left:
                try:
                    view = view[os.write(self.stdout, view[:_SHOWN]) :]
                except BlockingIOError:
                    select.select([], [self.stdout], [])
        except OSError as error:
            raise Closed("The output of interact() was closed.") from error
