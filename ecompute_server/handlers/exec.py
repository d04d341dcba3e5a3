"""`ecompute.exec.v1`: one command in the guest, its streams apart, and its exit status."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from ecompute.contract import codec
from ecompute.contract.messages import EndOfInput, Execute, Resize, Signal
from ecompute.contract.problems import InvalidFields
from ecompute_server.guest.interface import GuestError, Guests, Login, Stream, Terminal
from ecompute_server.http.sockets import CloseCode, Socket

from .relay import Farewell, Misspoken, control, relay, told

EXECUTE_SECONDS = 30.0
"""Time in which the command must come."""
COMMAND_BYTES = 128 * 1024 - 1
"""What Linux takes as one argument (`MAX_ARG_STRLEN`, execve(2)) without its NUL; the shell gets no more."""
_FRAME = 32 * 1024


def conversation(guests: Guests, login: Login, terminal: Terminal) -> Callable[[Socket], Awaitable[None]]:
    """The conversation about one command; it has the terminal if it asks for one."""

    async def converse(socket: Socket) -> None:
        async with socket.conversation():
            farewell = await _execute(guests, login, terminal, socket)
        await socket.close(farewell.code, farewell.reason)

    return converse


async def _execute(guests: Guests, login: Login, terminal: Terminal, socket: Socket) -> Farewell:
    try:
        execute = await _first(socket)
        process = await guests.open(
            login, command=execute.command, terminal=terminal if execute.pty else None
        )
    except Misspoken as error:
        return error.farewell
    except GuestError as error:
        return Farewell(CloseCode.GUEST_LOST, str(error))
    try:
        return await relay(process, socket, Streams())
    finally:
        await process.close()


async def _first(socket: Socket) -> Execute:
    try:
        async with asyncio.timeout(EXECUTE_SECONDS):
            message = await socket.receive()
    except TimeoutError:
        raise Misspoken(CloseCode.PROTOCOL_ERROR, "No command came.") from None
    if isinstance(message, bytes):
        raise Misspoken(CloseCode.PROTOCOL_ERROR, "The command comes first, as a text.")
    try:
        execute = codec.read_execute(message)
    except InvalidFields as error:
        raise Misspoken(CloseCode.INVALID_DATA, f"No command: {told(error)}") from None
    if "\0" in execute.command:
        raise Misspoken(CloseCode.INVALID_DATA, "A command holds no NUL.")
    if len(execute.command.encode()) > COMMAND_BYTES:
        raise Misspoken(CloseCode.TOO_LARGE, f"A command has at most {COMMAND_BYTES} bytes.")
    return execute


class Streams:
    """The frames behind the first one: a binary one begins with the number of its stream."""

    tells_exit = True

    def __init__(self) -> None:
        self._input_ended = False

    def read(self, message: str | bytes) -> bytes | EndOfInput | Resize | Signal | None:
        if isinstance(message, str):
            meaning = control(message)
            if isinstance(meaning, EndOfInput):
                self._input_ended = True
            return meaning if isinstance(meaning, EndOfInput | Resize | Signal) else None
        if message[:1] != bytes([Stream.INPUT]):
            raise Misspoken(CloseCode.INVALID_DATA, "A binary frame begins with 0, the stream of the input.")
        if self._input_ended:
            raise Misspoken(CloseCode.PROTOCOL_ERROR, "The input had ended.")
        return message[1:]

    def write(self, stream: Stream, data: bytes) -> list[bytes]:
        mark, most = bytes([stream]), _FRAME - 1
        return [mark + data[start : start + most] for start in range(0, len(data), most)]
