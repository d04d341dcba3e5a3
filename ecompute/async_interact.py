"""A terminal of the async client, connected to the caller's own."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
from anyio import to_thread

from .async_connection import Background
from .errors import Closed, Unsupported
from .keyboard import Keyboard
from .protocol.inputs import SystemFile

if TYPE_CHECKING:
    from .async_terminal import AsyncTerminal


class AsyncInteraction:
    """One connection of two terminals."""

    def __init__(self, terminal: AsyncTerminal, stdin: SystemFile | None, stdout: SystemFile | None) -> None:
        self._terminal = terminal
        self._keyboard = Keyboard(stdin, stdout)
        self._over = anyio.Event()
        self._failure: Exception | None = None

    async def run(self) -> int | None:
        """As the terminal's method says."""
        with self._keyboard:
            async with Background() as tasks:
                for work in (self._show, self._type, self._watch):
                    tasks.start_soon(work)
                await self._over.wait()
        if self._failure is not None:
            raise self._failure
        return self._terminal.exit_status

    async def _show(self) -> None:
        try:
            while data := await self._terminal.read():
                # who is cancelled does not wait until somebody has seen it
                await to_thread.run_sync(self._keyboard.write, data, abandon_on_cancel=True)
        except Exception as error:
            self._failure = error
        self._over.set()

    async def _type(self) -> None:
        keyboard = self._keyboard
        try:
            typing = True
            while typing and not keyboard.wants_to_leave:
                await _readable(keyboard.stdin)
                data = keyboard.read()
                typing = data is not None
                with suppress(Closed):  # its end is told by the other direction
                    await self._terminal.write(keyboard.farewell if data is None else data)
        except Exception as error:
            self._failure = error
            self._over.set()
        if keyboard.is_terminal:
            self._over.set()

    async def _watch(self) -> None:
        keyboard = self._keyboard
        keyboard.resized = True
        while not keyboard.is_over:
            size = keyboard.size() if keyboard.resized else None
            keyboard.resized = False
            if size is not None:
                # a server without this message has a size of its own
                with suppress(Closed, Unsupported):
                    await self._terminal.resize(*size)
            await anyio.wait_readable(keyboard.alarm)
            keyboard.hush()
        self._over.set()


async def _readable(descriptor: int) -> None:
    """Wait until there is something to read."""
    try:
        await anyio.wait_readable(descriptor)
    except PermissionError:
        # a file of a disk, which event loops do not take, and which never waits
        await anyio.lowlevel.checkpoint()
