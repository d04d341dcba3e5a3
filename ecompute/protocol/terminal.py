"""A terminal's session as state: output waiting to be read, control messages, the exit status.

Without the subprotocol `ecompute.terminal.v1` everything is bytes and a resize is impossible; with it, texts
are control messages.
"""

from __future__ import annotations

from collections.abc import Iterator

from ecompute.contract.catalog import TERMINAL_PROTOCOL
from ecompute.contract.codec import read_control, write_control
from ecompute.contract.messages import ControlMessage, Exit, Resize
from ecompute.contract.problems import Fault, InvalidFields
from ecompute.errors import Error, InvalidAnswer, InvalidArgument, Unsupported, told

from .inputs import as_bytes
from .websocket import MAX_FRAME

MAX_BUFFERED = 1024 * 1024
"""Bytes of output kept for a caller that does not read; then the server, and the guest behind it, wait."""


class TerminalState:
    """One terminal, from its opening to its end. Not thread-safe by itself."""

    def __init__(self, subprotocol: str | None, *, max_buffered: int = MAX_BUFFERED) -> None:
        self.exit_status: int | None = None
        """What the shell ended with, once the server told."""
        self.ended: bool = False
        """Nothing more will come; what is buffered can still be read."""
        self.failure: Error | None = None
        """Why it ended, None for an ordinary end."""
        self._controlled = subprotocol == TERMINAL_PROTOCOL
        self._max_buffered = max_buffered
        self._output: list[bytes] = []
        self._size = 0

    @property
    def full(self) -> bool:
        """Whether the caller has to read before more is taken from the network."""
        return self._size >= self._max_buffered

    @property
    def readable(self) -> bool:
        """Whether `read` has an answer now: output, or the end."""
        return self._size > 0 or self.ended

    def on_bytes(self, data: bytes, starts: bool) -> None:
        """Output of the shell."""
        if data:
            self._output.append(data)
            self._size += len(data)

    def on_text(self, text: str) -> None:
        """A control message; plain output where none were agreed on. Unknown types are ignored.

        Raises:
            InvalidAnswer: a known type is malformed.
        """
        if not self._controlled:
            self.on_bytes(text.encode(), starts=True)
            return
        message = control_message(text)
        if isinstance(message, Exit):
            self.exit_status = message.status

    def lost(self, error: Error | None) -> None:
        """The connection has ended."""
        self.ended, self.failure = True, error

    def read(self) -> bytes:
        """Take what has come; b"" at the end.

        Raises:
            Error: the terminal was cut off, and all that came before has been read.
        """
        if not self._size and self.failure is not None:
            raise self.failure
        data = b"".join(self._output)
        self._output.clear()
        self._size = 0
        return data

    def resize(self, rows: int, cols: int) -> str:
        """The control message for a new window size.

        Raises:
            Unsupported: the server knows no control messages.
            InvalidArgument: no integers.
        """
        if not self._controlled:
            raise Unsupported("This server's terminals keep the size they were opened with.")
        return write_control(Resize(**check_size(rows, cols)))


def control_message(text: str) -> ControlMessage | None:
    """A control message of the server, None for a type that this version does not know.

    Raises:
        InvalidAnswer: it is none, or a known type is malformed.
    """
    try:
        return read_control(text)
    except InvalidFields as error:
        raise InvalidAnswer(
            f"The server sent a control message that does not fit the API: {told(error.faults)}.",
            fields=error.faults,
        ) from None


def check_size(rows: int, cols: int) -> dict[str, int]:
    """A window's size; its range is the server's matter.

    Raises:
        InvalidArgument: no integers.
    """
    size = {"rows": rows, "cols": cols}
    faults = tuple(
        Fault(name, "must be an integer") for name, value in size.items() if type(value) is not int
    )
    if faults:
        raise InvalidArgument("A terminal's size is rows and cols, both integers.", fields=faults)
    return size


def pieces(data: bytes | str) -> Iterator[bytes]:
    """Input, cut into what one message carries.

    Raises:
        InvalidArgument: neither bytes nor text, or a text that has no UTF-8.
    """
    view = as_bytes(data, "What is typed into a terminal")
    return (bytes(view[start : start + MAX_FRAME]) for start in range(0, len(view), MAX_FRAME))
