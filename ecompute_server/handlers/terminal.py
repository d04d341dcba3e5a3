"""The terminal WebSocket: a shell on a pseudo-terminal in the guest, or by `ecompute.exec.v1` one command."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from ecompute.contract import catalog
from ecompute.contract import requests as ask
from ecompute.contract.messages import Resize
from ecompute.contract.problems import Code
from ecompute_server.core.refusal import Refusal, unavailable
from ecompute_server.guest.interface import GuestError, Stream, Terminal
from ecompute_server.http.sockets import Socket

from . import exec
from .call import Call
from .relay import Dialect, control, relay


async def open_(call: Call[ask.OpenTerminal]) -> Callable[[Socket], Awaitable[None]]:
    container = call.container
    rows, cols = call.request.rows, call.request.cols
    assert rows is not None
    assert cols is not None
    terminal = Terminal(rows, cols, catalog.TERMINAL_TYPE)
    if not container.is_running:
        raise Refusal(Code.NOT_RUNNING, "Only a running container has a terminal.")
    guests, login = call.services.guests, call.services.login(container)
    if call.subprotocol == catalog.EXEC_PROTOCOL:
        return exec.conversation(guests, login, terminal)
    try:
        process = await guests.open(login, command=None, terminal=terminal)
    except GuestError as error:
        raise unavailable(f"The container's shell could not be opened: {error}") from error
    dialect: Dialect = Controlled() if call.subprotocol == catalog.TERMINAL_PROTOCOL else Plain()

    async def converse(socket: Socket) -> None:
        try:
            async with socket.conversation():
                farewell = await relay(process, socket, dialect)
            await socket.close(farewell.code, farewell.reason)
        finally:
            await process.close()

    return converse


class Plain:
    """Without a subprotocol every frame is input."""

    tells_exit = False

    def read(self, message: str | bytes) -> bytes:
        return message.encode() if isinstance(message, str) else message

    def write(self, stream: Stream, data: bytes) -> list[bytes]:
        return [data]


class Controlled:
    """`ecompute.terminal.v1`: binary frames are input, texts are control messages."""

    tells_exit = True

    def read(self, message: str | bytes) -> bytes | Resize | None:
        if isinstance(message, bytes):
            return message
        meaning = control(message)
        return meaning if isinstance(meaning, Resize) else None

    def write(self, stream: Stream, data: bytes) -> list[bytes]:
        return [data]
