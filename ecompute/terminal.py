"""Terminals of the sync client."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from types import TracebackType
from typing import Any, Self
from weakref import finalize

from .connection import Connection
from .contract.catalog import TERMINAL_PROTOCOL
from .contract.endpoints import TERMINAL
from .contract.requests import OpenTerminal
from .errors import Closed, Unsupported, one_line, within
from .protocol import flows, wire
from .protocol.inputs import SystemFile
from .protocol.terminal import TerminalState, check_size, pieces
from .protocol.websocket import WebSocket
from .settings import checked_patience
from .transport import Transport


class Terminal:
    """A shell on a pseudo-terminal in a container; made by `client.terminal(id)`.

    What the shell prints waits in memory, up to one MiB; then the shell has to wait, and the connection stays
    up. One thread may read while another writes.
    """

    def __init__(
        self, transport: Transport, context: flows.Context, timeout: float, id: str, rows: int, cols: int
    ) -> None:
        self._transport = transport
        self._context = context
        self._name = one_line(str(id))
        self._timeout = timeout
        self._request = wire.encode_channel(TERMINAL, OpenTerminal(id, **check_size(rows, cols)))
        self._changed = threading.Condition()
        self._state = TerminalState(None)
        self._connection: Connection | None = None

    def __enter__(self) -> Self:
        if self._connection is not None:
            raise Closed("A terminal can be entered once: call terminal() again.")
        flow = flows.connect(self._request, (TERMINAL_PROTOCOL,), self._timeout, self._context)
        flows.drive(flow, self._perform)
        return self

    def _perform(self, step: flows.Step) -> Any:
        match step:
            case flows.Connect():
                stream, chosen = self._transport.connect(
                    step.request, step.subprotocols, step.timeout, step.repeated
                )
                self._state = TerminalState(chosen)
                self._connection = Connection(stream, self._state, self._changed)
                # the connection knows the state, not this: what is dropped without a close ends
                finalize(self, self._connection.abandon).atexit = False
            case _:
                self._transport.perform(step)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        entered = self._connection is not None
        state = "closed" if self._state.ended else "open" if entered else "not entered"
        return f"<{type(self).__name__} of container {self._name}: {state}>"

    @property
    def exit_status(self) -> int | None:
        """What the shell ended with; None before its end, and for servers that do not tell it."""
        return self._state.exit_status

    def read(self, timeout: float | None = None) -> bytes:
        """Output of the shell, as soon as there is some; b"" at its end.

        Raises:
            DeadlineExceeded: nothing came within `timeout` seconds (None: as long as it takes).
            ConnectError: the connection or the guest was lost; all output before that has been read.
            InvalidAnswer: the server sent what is not of this API.
            Closed: the terminal was not entered.
        """
        return self._read(timeout, lambda: False)

    def _read(self, timeout: float | None, stopped: Callable[[], bool]) -> bytes:
        """The same, but b"" also when it is to be stopped."""
        connection, state = self._entered(), self._state
        timeout = checked_patience(timeout)
        deadline = None if timeout is None else time.monotonic() + timeout
        late = f"The terminal of container {self._name} printed nothing {within(timeout)}"
        connection.wait(lambda: state.readable or stopped(), deadline, late)
        with self._changed:
            if not state.readable:
                return b""
            was_full = state.full
            data = state.read()
        if was_full:
            connection.resume()
        return data

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if data := self.read():
            return data
        raise StopIteration

    def write(self, data: bytes | str, timeout: float | None = None) -> None:
        """Type: bytes as they are, a text in UTF-8. Returns once all of it is on its way, in order.

        Raises:
            DeadlineExceeded: the shell took too little within `timeout` seconds (None: as long as it takes);
                the beginning may have been taken.
            Closed: the terminal has ended, or was not entered.
            InvalidArgument: neither bytes nor text, or a text that has no UTF-8.
        """
        connection = self._entered()
        timeout = checked_patience(timeout)
        deadline = None if timeout is None else time.monotonic() + timeout
        late = f"The terminal of container {self._name} did not take the data {within(timeout)}"
        for piece in pieces(data):
            connection.send(partial(WebSocket.send_bytes, data=piece), deadline, late)

    def resize(self, rows: int, cols: int) -> None:
        """Tell the shell that its window has another size (1 to 1000 each).

        Raises:
            Unsupported: the server has no such message.
            Closed: the terminal has ended, or was not entered.
            InvalidArgument: no integers.
        """
        connection, message = self._entered(), self._state.resize(rows, cols)
        connection.send(partial(WebSocket.send_text, text=message))

    def interact(self, *, stdin: SystemFile | None = None, stdout: SystemFile | None = None) -> int | None:
        """Connect the caller's own terminal with this one until the shell ends; gives its exit status.

        What is typed goes to the shell as it is, Ctrl-C included, and the size of the window with it, now and
        whenever it changes. `~.` at the beginning of a line leaves at once, and gives None; `~~` types one
        `~`. Afterwards, whatever happens, the caller's terminal is as it was before. A signal that would end
        the process (TERM, HUP, QUIT), where it has no handler for it, does so after that.

        `stdin` and `stdout` are files of the system, else those of the process. Where `stdin` is no terminal,
        its bytes are passed on as they are, without a way to leave, and its end is typed as Ctrl-D, after a
        newline where one is missing. Changes of the size are noticed in the main thread only.

        Raises:
            Unsupported: this system has no such terminals, as Windows.
            InvalidArgument: `stdin` or `stdout` is no file of the system.
            Closed: the terminal was not entered, or the output was closed.
            ConnectError, InvalidAnswer: as for `read`.
        """
        self._entered()
        try:
            from .interact import Interaction
        except ImportError:
            raise Unsupported("interact() needs a system with terminals as POSIX has them.") from None
        return Interaction(self, stdin, stdout).run()

    def _entered(self) -> Connection:
        if self._connection is None:
            raise Closed("A terminal has to be entered first: `with client.terminal(id) as terminal`.")
        return self._connection

    @property
    def _has_room(self) -> bool:
        return self._entered().has_room

    def _wake(self) -> None:
        """Have whoever waits look again."""
        with self._changed:
            self._changed.notify_all()

    def close(self) -> None:
        """End the session, once what was written is sent; the shell gets a hang-up. Twice is no fault."""
        if self._connection is not None:
            self._connection.close()
