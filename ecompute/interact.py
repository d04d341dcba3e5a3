"""A terminal of the sync client, connected to the caller's own.

The caller's thread watches the keyboard and the signals, since only the main one gets these; another one
shows what comes.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from .errors import Closed, Unsupported
from .keyboard import Keyboard, wait_for
from .protocol.inputs import SystemFile

if TYPE_CHECKING:
    from .terminal import Terminal

_LOOK_AGAIN = 0.05
"""How often it is asked whether the shell takes more, while it does not."""


class Interaction:
    """One connection of two terminals."""

    def __init__(self, terminal: Terminal, stdin: SystemFile | None, stdout: SystemFile | None) -> None:
        self._terminal = terminal
        self._keyboard = Keyboard(stdin, stdout)
        self._begun = threading.Event()
        self._stopped = threading.Event()
        self._failure: BaseException | None = None
        self._shower = threading.Thread(target=self._show, name="ecompute-interact", daemon=True)

    def run(self) -> int | None:
        """As the terminal's method says."""
        try:
            # before anything is seen: a Ctrl-C while a thread starts may become another exception (CPython)
            self._shower.start()
            with self._keyboard:
                self._begun.set()
                self._watch()
        finally:
            self._stopped.set()
            self._begun.set()
            self._terminal._wake()
            if self._shower.ident is not None:
                self._shower.join()
        if self._failure is not None:
            raise self._failure
        return self._terminal.exit_status

    def _show(self) -> None:
        self._begun.wait()
        try:
            while data := self._terminal._read(None, self._stopped.is_set):
                self._keyboard.write(data)
        except BaseException as error:
            self._failure = error
        finally:
            self._stopped.set()
            self._keyboard.ring()

    def _watch(self) -> None:
        keyboard, typing = self._keyboard, True
        keyboard.resized = True
        while not self._stopped.is_set() and not keyboard.is_over:
            has_room = self._terminal._has_room
            if keyboard.resized and has_room:
                self._resize()
            watched = [keyboard.alarm, *([keyboard.stdin] if typing and has_room else [])]
            ready = wait_for(watched, None if has_room else _LOOK_AGAIN)
            if keyboard.alarm in ready:
                keyboard.hush()
            if keyboard.stdin in ready:
                typing = self._type()
                if keyboard.wants_to_leave or (keyboard.is_terminal and not typing):
                    return

    def _type(self) -> bool:
        """Pass on what was typed; whether more may come."""
        data = self._keyboard.read()
        with suppress(Closed):  # its end is told by the other direction
            self._terminal.write(self._keyboard.farewell if data is None else data)
        return data is not None

    def _resize(self) -> None:
        self._keyboard.resized = False
        size = self._keyboard.size()
        if size is not None:
            # a server without this message has a size of its own
            with suppress(Closed, Unsupported):
                self._terminal.resize(*size)
