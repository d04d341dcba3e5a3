"""Single commands of the sync client."""

from __future__ import annotations

import threading
from contextlib import suppress
from functools import partial
from typing import Any

from .connection import Connection
from .contract.catalog import EXEC_PROTOCOL
from .contract.endpoints import TERMINAL
from .contract.requests import OpenTerminal
from .errors import Closed, CommandResult, one_line, within
from .protocol import flows, wire
from .protocol.execution import Execution
from .protocol.websocket import WebSocket
from .transport import Transport


class Command:
    """One command, from the opening of its connection to its end."""

    def __init__(
        self, transport: Transport, timing: flows.Timing, id: str, command: str, input: bytes | str | None
    ) -> None:
        self._transport = transport
        self._timing = timing
        self._id = id
        self._request = wire.encode_channel(TERMINAL, OpenTerminal(id), "run")
        self._changed = threading.Condition()
        self._state = Execution(command, input)
        self._connection: Connection | None = None

    def run(self, opening: float, timeout: float | None) -> CommandResult:
        """Run it once, to its end, within `timeout` seconds; `opening` of them are for the connection.

        Raises:
            Error: it could not be started, or its end is not known.
        """
        deadline = None if timeout is None else self._timing.now() + timeout
        late = f"The command in container {one_line(self._id)} did not end {within(timeout)}"
        try:
            flow = flows.connect(self._request, (EXEC_PROTOCOL,), opening, self._timing)
            flows.drive(flow, self._perform)
            connection = self._connection
            assert connection is not None
            self._send(connection, deadline, late)
            connection.wait(lambda: self._state.ended, deadline, late)
            return self._state.result()
        finally:
            self.close()

    def _perform(self, step: flows.Step) -> Any:
        match step:
            case flows.Connect():
                stream, chosen = self._transport.connect(step.request, step.subprotocols, step.timeout)
                self._connection = Connection(stream, self._state, self._changed)
                self._state.opened(chosen)
            case _:
                self._transport.perform(step)

    def _send(self, connection: Connection, deadline: float | None, late: str) -> None:
        # a command may end before it has read all of its input
        for message in self._state.messages():
            connection.wait(lambda: self._state.ended or connection.has_room, deadline, late)
            if self._state.ended:
                return
            with suppress(Closed):
                connection.send(partial(WebSocket.send, message=message), deadline, late)

    def close(self) -> None:
        """End the connection; the command gets a hang-up."""
        with self._changed:
            self._state.lost(Closed("The client was closed before the command ended."))
            self._changed.notify_all()
        if self._connection is not None:
            self._connection.close()
