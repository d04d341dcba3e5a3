"""The line discipline of a pseudo-terminal: what stands between typed bytes and the commands that read them.

The rules of termios that people notice: echo, one line at a time with erasing, the signal keys, and the
translation of line ends both ways. No other control characters, no delays, no job control.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from attrs import define

from ecompute_server.guest.interface import Stream, Terminal
from ecompute_server.guest.simulated.streams import CAPACITY, CHUNK, Outlet

BURST = 4096  # keys after which others get their turn
LINE_LIMIT = 4095  # Linux' canonical mode drops what is typed beyond, with a bell

INTERRUPT, END, BELL, BACKSPACE, NEWLINE, RETURN, KILL_LINE, KILL_WORD, QUIT, ERASE = (
    3, 4, 7, 8, 10, 13, 21, 23, 28, 127,
)  # fmt: skip
SIGNAL_KEYS = {INTERRUPT: "INT", QUIT: "QUIT"}
RUBOUT = b"\b \b"


@define
class Modes:
    """The switches of `stty`, by its names."""

    icanon: bool = True
    echo: bool = True
    isig: bool = True
    icrnl: bool = True
    opost: bool = True


class Tty:
    """A pseudo-terminal: `feed` is its far side's keyboard, `read` and `write` are the guest's side."""

    def __init__(self, terminal: Terminal, outlet: Outlet, interrupt: Callable[[str], None]) -> None:
        self.rows = terminal.rows
        self.cols = terminal.cols
        self.type = terminal.type
        self.modes = Modes()
        self._outlet = outlet
        self._interrupt = interrupt
        self._line = bytearray()
        self._echo = bytearray()
        self._ready: deque[bytes] = deque()  # an empty one is an end of file, for one read
        self._size = 0
        self._ended = False
        self._changed = asyncio.Event()

    async def read(self, limit: int = CHUNK) -> bytes:
        """At most one line, in line mode; empty when Ctrl-D was typed on an empty line."""
        await asyncio.sleep(0)
        while not self._ready and not self._ended:
            await self._change()
        if not self._ready:
            return b""
        chunk = self._ready.popleft()
        if len(chunk) > limit:
            chunk, rest = chunk[:limit], chunk[limit:]
            self._ready.appendleft(rest)
        self._size -= len(chunk)
        self._changed.set()
        return chunk

    async def write(self, data: bytes) -> None:
        if self.modes.opost:
            data = data.replace(b"\n", b"\r\n")
        await self._outlet.write(Stream.OUTPUT, data)

    async def feed(self, data: bytes) -> None:
        """Type the bytes; waits while too much is typed ahead, or the echo is not read."""
        at = 0
        while at < len(data):
            if self.modes.icanon or self.modes.isig:
                await self._key(data[at])
                at += 1
                if at % BURST == 0:
                    await self._show()
                    await asyncio.sleep(0)
            else:
                chunk = data[at : at + CHUNK]
                self._echo += chunk if self.modes.echo else b""
                await self._push(chunk)
                at += len(chunk)
        await self._show()

    def end(self) -> None:
        """The far side hung up: reading ends after what was typed."""
        self._ended = True
        self._changed.set()

    @property
    def ended(self) -> bool:
        """Whether the far side hung up."""
        return self._ended

    async def _key(self, key: int) -> None:
        if key == RETURN and self.modes.icrnl:
            key = NEWLINE
        if key in SIGNAL_KEYS and self.modes.isig:
            self._line.clear()
            self._ready.clear()
            self._size = 0
            self._interrupt(SIGNAL_KEYS[key])
            self._see(bytes((key,)))
            await self._show()
        elif not self.modes.icanon:
            self._see(bytes((key,)))
            await self._push(bytes((key,)))
        elif key == NEWLINE:
            self._see(b"\n")
            await self._push(bytes((*self._line, key)))
        elif key == END:
            await self._push(bytes(self._line))
        elif key in (ERASE, BACKSPACE):
            self._rub_out(1)
        elif key == KILL_LINE:
            self._rub_out(len(self._line))
        elif key == KILL_WORD:
            kept = self._line.rstrip().rpartition(b" ")
            self._rub_out(len(self._line) - len(kept[0]) - len(kept[1]))
        elif len(self._line) < LINE_LIMIT:
            self._line.append(key)
            self._see(bytes((key,)))
        else:
            self._echo.append(BELL)

    def _rub_out(self, characters: int) -> None:
        """Take characters off the line; the later bytes of one in UTF-8 go with its first."""
        for _ in range(characters):
            while self._line and self._line[-1] & 0xC0 == 0x80:
                self._line.pop()
            if not self._line:
                return
            width = 2 if self._line.pop() < 0x20 else 1  # a control character shows as two
            self._echo += RUBOUT * width if self.modes.echo else b""

    def _see(self, typed: bytes) -> None:
        if self.modes.echo:
            shown = typed
            if typed < b" " and typed not in b"\n\t":
                shown = b"^" + bytes((typed[0] + 0x40,))
            self._echo += shown.replace(b"\n", b"\r\n") if self.modes.opost else shown

    async def _push(self, chunk: bytes) -> None:
        await self._show()  # before the reader of the chunk can write
        while self._size >= CAPACITY and not self._ended:
            await self._change()
        self._line.clear()
        self._ready.append(chunk)
        self._size += len(chunk)
        self._changed.set()

    async def _show(self) -> None:
        shown, self._echo = bytes(self._echo), bytearray()
        if shown:
            await self._outlet.write(Stream.OUTPUT, shown)

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()
