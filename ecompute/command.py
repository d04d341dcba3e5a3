"""Single commands of the sync client."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from .connection import Connection
from .contract.catalog import EXEC_PROTOCOL
from .contract.endpoints import TERMINAL
from .contract.requests import OpenTerminal
from .errors import Closed, CommandResult, DeadlineExceeded, one_line, within
from .protocol import flows, wire
from .protocol.execution import Execution, takers
from .protocol.inputs import PIECE, Input, checked, piece
from .protocol.websocket import WebSocket
from .transport import Transport


class Command:
    """One command, from the opening of its connection to its end."""

    def __init__(
        self,
        transport: Transport,
        context: flows.Context,
        id: str,
        command: str | Sequence[str],
        input: Input | None,
        on_output: Callable[[bytes], object] | None = None,
        on_error: Callable[[bytes], object] | None = None,
        caller: str = "run",
    ) -> None:
        self._transport = transport
        self._context = context
        self._id = id
        self._request = wire.encode_channel(TERMINAL, OpenTerminal(id), caller)
        self._changed = threading.Condition()
        self._takers = takers(on_output, on_error)
        self._state = Execution(command, self._takers)
        self._input = checked(input)
        self._connection: Connection | None = None

    def run(self, opening: float, timeout: float | None) -> CommandResult:
        """Run it once, to its end, within `timeout` seconds; `opening` of them are for the connection.

        Raises:
            Error: it could not be started, or its end is not known.
        """
        deadline = None if timeout is None else self._context.now() + timeout
        late = f"The command in container {one_line(self._id)} did not end {within(timeout)}"
        try:
            flow = flows.connect(self._request, (EXEC_PROTOCOL,), opening, self._context)
            flows.drive(flow, self._perform)
            connection = self._connection
            assert connection is not None
            self._converse(connection, deadline, late)
            return self._state.result()
        finally:
            self.close()

    def _perform(self, step: flows.Step) -> Any:
        match step:
            case flows.Connect():
                stream, chosen = self._transport.connect(
                    step.request, step.subprotocols, step.timeout, step.repeated
                )
                self._connection = Connection(stream, self._state, self._changed)
                self._state.opened(chosen)
            case _:
                self._transport.perform(step)

    def _converse(self, connection: Connection, deadline: float | None, late: str) -> None:
        """Send and give away in turns, until the command has ended."""
        state = self._state
        messages = self._messages()
        has_more = True

        def ready() -> bool:
            return state.ended or state.takeable or (has_more and connection.has_room)

        while not state.ended or state.takeable:
            connection.wait(ready, deadline, late)
            if self._takers:
                self._give_away(connection)
            if has_more and not state.ended and connection.has_room:
                message = next(messages, None)
                has_more = message is not None
                if message is not None:
                    # a command may end before it has read all of its input
                    with suppress(Closed):
                        connection.send(partial(WebSocket.send, message=message), deadline, late)
            if deadline is not None and self._context.now() >= deadline and not state.ended:
                raise DeadlineExceeded(f"{late}.")

    def _give_away(self, connection: Connection) -> None:
        with self._changed:
            was_full = self._state.full
            taken = self._state.take()
        if was_full:
            connection.resume()
        for stream, data in taken:
            self._takers[stream](data)

    def _messages(self) -> Iterator[str | bytes]:
        yield self._state.beginning()
        for data in self._pieces():
            yield from self._state.frames(data)
        yield self._state.end_of_input()

    def _pieces(self) -> Iterator[memoryview]:
        if isinstance(self._input, memoryview):
            yield self._input
        elif hasattr(self._input, "read"):
            while data := piece(self._input.read(PIECE)):
                yield data
        else:
            yield from map(piece, self._input)

    def close(self) -> None:
        """End the connection; the command gets a hang-up."""
        with self._changed:
            self._state.lost(Closed("The client was closed before the command ended."))
            self._changed.notify_all()
        if self._connection is not None:
            self._connection.close()
