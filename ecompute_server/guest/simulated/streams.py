"""The byte streams between the commands of a simulated guest, and from its processes to the caller.

Each is bounded: who writes waits for who reads. Reading and writing always let other tasks run, even where
nothing has to be waited for, so that an endless command takes no more than its turn of the event loop.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from typing import Protocol

from ecompute_server.guest.interface import Stream
from ecompute_server.hypervisor.simulated import OpenFile

CHUNK = 64 * 1024
CAPACITY = 64 * 1024
MOST_READ = 32 * 1024
"""What one `GuestProcess.read` may give."""


class Closed(Exception):
    """Nobody reads what is written there: SIGPIPE."""


class Unwritable(Exception):
    """A file does not take what is written to it; `str()` says why."""


class Source(Protocol):
    """Where a command's input comes from."""

    async def read(self, limit: int = CHUNK) -> bytes:
        """The next bytes, at least one; empty at the end."""


class Sink(Protocol):
    """Where a command's output goes."""

    async def write(self, data: bytes) -> None:
        """Give all of it away.

        Raises:
            Closed: nobody reads it.
            Unwritable: a file cannot take it.
        """


class Pipe:
    """Bytes from writers to readers of one guest."""

    def __init__(self) -> None:
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self._written_out = False
        self._read_out = False
        self._changed = asyncio.Event()

    async def read(self, limit: int = CHUNK) -> bytes:
        await asyncio.sleep(0)
        while not self._chunks and not self._written_out:
            await self._change()
        if not self._chunks:
            return b""
        chunk = self._chunks.popleft()
        if len(chunk) > limit:
            chunk, rest = chunk[:limit], chunk[limit:]
            self._chunks.appendleft(rest)
        self._size -= len(chunk)
        self._changed.set()
        return chunk

    async def read_line(self) -> bytes:
        """The next line with its end, without taking a byte more; the rest at the end of the stream."""
        line = b""
        while not line.endswith(b"\n") and (chunk := await self.read()):
            head, newline, rest = chunk.partition(b"\n")
            line += head + newline
            if rest:
                self._chunks.appendleft(rest)
                self._size += len(rest)
        return line

    async def write(self, data: bytes) -> None:
        for start in range(0, len(data), CHUNK):
            while self._size >= CAPACITY and not self._read_out:
                await self._change()
            if self._read_out:
                raise Closed
            chunk = data[start : start + CHUNK]
            self._chunks.append(chunk)
            self._size += len(chunk)
            self._changed.set()
            await asyncio.sleep(0)

    def end_writing(self) -> None:
        """No more will be written."""
        self._written_out = True
        self._changed.set()

    def end_reading(self) -> None:
        """No more will be read; what waits is dropped."""
        self._read_out = True
        self._chunks.clear()
        self._size = 0
        self._changed.set()

    @property
    def ended(self) -> bool:
        """Whether nobody will read again."""
        return self._read_out

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()


class Outlet:
    """The output of a process on its way to the caller: both streams in the order of writing."""

    def __init__(self) -> None:
        self._chunks: deque[tuple[Stream, bytes]] = deque()
        self._size = 0
        self._ended = False
        self._changed = asyncio.Event()

    def sink(self, stream: Stream) -> OutletSink:
        return OutletSink(self, stream)

    async def read(self) -> tuple[Stream, bytes] | None:
        """The next output; None after `end`, when all was read."""
        while not self._chunks and not self._ended:
            await self._change()
        if not self._chunks:
            return None
        stream, chunk = self._chunks.popleft()
        if len(chunk) > MOST_READ:
            chunk, rest = chunk[:MOST_READ], chunk[MOST_READ:]
            self._chunks.appendleft((stream, rest))
        self._size -= len(chunk)
        self._changed.set()
        return stream, chunk

    async def write(self, stream: Stream, data: bytes) -> None:
        for start in range(0, len(data), CHUNK):
            while self._size >= CAPACITY and not self._ended:
                await self._change()
            if self._ended:
                raise Closed
            chunk = data[start : start + CHUNK]
            self._chunks.append((stream, chunk))
            self._size += len(chunk)
            self._changed.set()
            await asyncio.sleep(0)

    def end(self) -> None:
        """No more is taken; what is there can still be read."""
        self._ended = True
        self._changed.set()

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()


class OutletSink:
    """One of the two output streams of a process."""

    def __init__(self, outlet: Outlet, stream: Stream) -> None:
        self._outlet = outlet
        self._stream = stream

    async def write(self, data: bytes) -> None:
        await self._outlet.write(self._stream, data)


class FileStream:
    """An open file of the guest, as both source and sink."""

    def __init__(self, file: OpenFile) -> None:
        self._file = file

    async def read(self, limit: int = CHUNK) -> bytes:
        await asyncio.sleep(0)
        return self._file.read(min(limit, CHUNK))

    async def write(self, data: bytes) -> None:
        await asyncio.sleep(0)
        try:
            self._file.write(data)
        except OSError as error:
            raise Unwritable(error.strerror) from error

    def close(self) -> None:
        self._file.close()


class Text:
    """A source that gives some bytes once; as a sink it takes and forgets."""

    def __init__(self, data: bytes = b"") -> None:
        self._data = data

    async def read(self, limit: int = CHUNK) -> bytes:
        await asyncio.sleep(0)
        chunk, self._data = self._data[:limit], self._data[limit:]
        return chunk

    async def write(self, data: bytes) -> None:
        await asyncio.sleep(0)


class Zeros(Text):
    """/dev/zero"""

    _block = bytes(CHUNK)

    async def read(self, limit: int = CHUNK) -> bytes:
        await asyncio.sleep(0)
        return self._block if limit >= CHUNK else bytes(limit)


class Randomness(Text):
    """/dev/urandom"""

    async def read(self, limit: int = CHUNK) -> bytes:
        await asyncio.sleep(0)
        return os.urandom(min(limit, CHUNK))
