"""The terminal WebSocket: a shell on a pseudo-terminal in the guest, bytes both ways."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from ecompute.contract import catalog
from ecompute.contract import requests as ask
from ecompute.contract.problems import Code, Fault
from ecompute_server.core.refusal import Refusal, invalid, unavailable
from ecompute_server.guest.interface import GuestError, GuestLost, GuestProcess, Terminal
from ecompute_server.http.sockets import CloseCode, Socket

from .call import Call


async def open_(call: Call[ask.OpenTerminal]) -> Callable[[Socket], Awaitable[None]]:
    container = call.container
    terminal = _terminal(call)
    if not container.is_running:
        raise Refusal(Code.NOT_RUNNING, "Only a running container has a terminal.")
    try:
        process = await call.services.guests.open(
            call.services.login(container), command=None, terminal=terminal
        )
    except GuestError as error:
        raise unavailable(f"The container's shell could not be opened: {error}") from error

    async def converse(socket: Socket) -> None:
        try:
            await _relay(process, socket)
        finally:
            await process.close()

    return converse


async def _relay(process: GuestProcess, socket: Socket) -> None:
    output = asyncio.create_task(_output(process, socket))
    input_ = asyncio.create_task(_input(process, socket))
    try:
        await asyncio.wait({output, input_}, return_when=asyncio.FIRST_COMPLETED)
        # a client that hangs up ends the shell; a shell that ends says goodbye itself
        if output.done():
            await socket.close(output.result())
    finally:
        for task in (output, input_):
            task.cancel()
        await asyncio.gather(output, input_, return_exceptions=True)


async def _output(process: GuestProcess, socket: Socket) -> CloseCode:
    try:
        while (piece := await process.read()) is not None:
            await socket.send(piece[1])
    except GuestLost:
        return CloseCode.GUEST_LOST
    return CloseCode.NORMAL


async def _input(process: GuestProcess, socket: Socket) -> None:
    while (message := await socket.receive()) is not None:
        try:
            await process.write(message.encode() if isinstance(message, str) else message)
        except GuestLost:
            # what the shell still had to say is on its way; the output side ends the conversation
            await asyncio.Event().wait()


def _terminal(call: Call[ask.OpenTerminal]) -> Terminal:
    faults: list[Fault] = []
    rows = _size(call, "rows", catalog.TERMINAL_ROWS, faults)
    cols = _size(call, "cols", catalog.TERMINAL_COLS, faults)
    if faults:
        raise invalid(tuple(faults))
    return Terminal(rows, cols, catalog.TERMINAL_TYPE)


def _size(call: Call[ask.OpenTerminal], name: str, default: int, faults: list[Fault]) -> int:
    text = call.query.get(name)
    if text is None:
        return default
    allowed = catalog.TERMINAL_SIZE
    if text.isascii() and text.isdecimal() and len(text) <= 4 and int(text) in allowed:
        return int(text)
    faults.append(Fault(name, f"must be an integer from {allowed[0]} to {allowed[-1]}"))
    return default
