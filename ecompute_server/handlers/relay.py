"""A process in a guest and a client's WebSocket, made one conversation.

Input waits in a bounded queue, so that a resize or a signal overtakes what the process does not take. When
the queue is full nothing is received any more, and the client has to wait.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import NoReturn, Protocol

from attrs import frozen

from ecompute.contract import catalog, codec
from ecompute.contract.messages import ControlMessage, EndOfInput, Exit, Resize, Signal
from ecompute.contract.problems import InvalidFields
from ecompute_server.guest.interface import GuestError, GuestLost, GuestProcess, Stream
from ecompute_server.http.sockets import CloseCode, Socket, first_of

INPUT_BYTES = 256 * 1024
"""Input that waits for the process; the message that fills the queue may exceed it."""
_PIECE = 32 * 1024


@frozen
class Farewell:
    """How a conversation ends."""

    code: CloseCode
    reason: str = ""


class Misspoken(Exception):
    """The client sent what the protocol does not have."""

    def __init__(self, code: CloseCode, reason: str) -> None:
        super().__init__(reason)
        self.farewell = Farewell(code, reason)


class Dialect(Protocol):
    """What the frames of a conversation mean."""

    tells_exit: bool
    """Whether the client is told the exit status."""

    def read(self, message: str | bytes) -> bytes | ControlMessage | None:
        """Input, or a control message; None for what is to be ignored.

        Raises:
            Misspoken: it means nothing.
        """

    def write(self, stream: Stream, data: bytes) -> list[bytes]:
        """The binary messages, each of at most 32 KiB, that carry one piece of output."""


def control(text: str) -> ControlMessage | None:
    """A text frame's control message; None for a type that this version does not know.

    Raises:
        Misspoken: it is none.
    """
    try:
        return codec.read_control(text)
    except InvalidFields as error:
        raise Misspoken(CloseCode.INVALID_DATA, f"No control message: {told(error)}") from None


def told(error: InvalidFields) -> str:
    """The faults as the reason of a close."""
    return "; ".join(f"{fault.path} {fault.problem}".strip() for fault in error.faults)


async def relay(process: GuestProcess, socket: Socket, dialect: Dialect) -> Farewell:
    """Converse until the process ends, the guest is lost or the client misspeaks.

    Raises:
        SocketClosed: the client left.
    """
    queue = _Input()
    try:
        return await first_of(
            _tell(process, socket, dialect),
            _hear(process, socket, dialect, queue),
            _feed(process, queue),
        )
    except Misspoken as error:
        return error.farewell


async def _tell(process: GuestProcess, socket: Socket, dialect: Dialect) -> Farewell:
    try:
        while (piece := await process.read()) is not None:
            for message in dialect.write(*piece):
                await socket.send(message)
        if dialect.tells_exit:
            await socket.send(codec.write_control(Exit(await process.wait())))
    except GuestLost:
        return Farewell(CloseCode.GUEST_LOST, "The guest went away.")
    return Farewell(CloseCode.NORMAL)


async def _hear(process: GuestProcess, socket: Socket, dialect: Dialect, queue: _Input) -> NoReturn:
    while True:
        meaning = dialect.read(await socket.receive())
        # to what has ended nothing can be told; that it has ended is told by its output
        with suppress(GuestError):
            match meaning:
                case bytes():
                    await queue.put(meaning)
                case EndOfInput():
                    queue.end()
                case Resize():
                    await process.resize(_within(meaning.rows), _within(meaning.cols))
                case Signal():
                    await process.signal(meaning.name)
                case _:
                    pass


def _within(size: int) -> int:
    return min(max(size, catalog.TERMINAL_SIZE[0]), catalog.TERMINAL_SIZE[-1])


async def _feed(process: GuestProcess, queue: _Input) -> NoReturn:
    try:
        while data := await queue.take():
            await process.write(data)
        await process.write_eof()
    except GuestLost:
        # the process reads no more, but may still run: what comes is dropped, lest it hold up the rest
        queue.drop()
    await asyncio.Event().wait()
    raise AssertionError


class _Input:
    """Bytes on their way to a process."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._ended = False
        self._dropped = False
        self._changed = asyncio.Event()

    async def put(self, data: bytes) -> None:
        """Append; waits while there is no room."""
        while len(self._bytes) >= INPUT_BYTES:
            await self._change()
        if not self._dropped:
            self._bytes += data
            self._changed.set()

    async def take(self) -> bytes:
        """The next bytes; empty at the end."""
        while not self._bytes and not self._ended:
            await self._change()
        data = bytes(self._bytes[:_PIECE])
        del self._bytes[:_PIECE]
        self._changed.set()
        return data

    def end(self) -> None:
        """Nothing more will be put."""
        self._ended = True
        self._changed.set()

    def drop(self) -> None:
        """Forget everything, also what is still to come."""
        self._dropped = True
        self._bytes.clear()
        self._changed.set()

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()
