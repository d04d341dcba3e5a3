"""One command by `ecompute.exec.v1` as state: what is to be sent, what it has printed, how it ended.

A text frame names the command, then binary frames carry the standard streams, the first byte saying which,
and `exit` ends it all. What the command prints is kept until its end, so it never has to wait for a reader.
"""

from __future__ import annotations

from collections.abc import Iterator

from ecompute.contract.catalog import EXEC_PROTOCOL
from ecompute.contract.codec import write_control
from ecompute.contract.messages import CloseCode, EndOfInput, Execute, Exit, Stream
from ecompute.errors import (
    CommandFailed,
    CommandResult,
    ConnectError,
    Error,
    InvalidAnswer,
    InvalidArgument,
    Unsupported,
    one_line,
)

from .terminal import control_message
from .websocket import MAX_FRAME, NORMAL

_NOT_TAKEN = (CloseCode.PROTOCOL_ERROR, CloseCode.INVALID_DATA, CloseCode.TOO_LARGE)
"""How a server refuses what it was sent."""


class Execution:
    """One command, from its opening to its exit. Not thread-safe by itself.

    Raises:
        InvalidArgument: the command is no text, or one that no shell can get; the input is neither bytes nor
            text.
    """

    full = False  # what has come is kept until the end

    def __init__(self, command: str, input: bytes | str | None) -> None:
        self._execute = Execute(_line(command))
        self._input = _checked(input)
        self._exit_status: int | None = None
        self._ended = False
        self._failure: Error | None = None
        self._printed = {Stream.OUTPUT: bytearray(), Stream.ERROR: bytearray()}
        self._stream: Stream | None = None

    # what goes out

    def opened(self, subprotocol: str | None) -> None:
        """A connection stands.

        Raises:
            Unsupported: the server did not choose the protocol.
        """
        if subprotocol != EXEC_PROTOCOL:
            raise Unsupported("This server runs no single commands: use its terminals.")

    def messages(self) -> Iterator[str | bytes]:
        """All that is to be sent, texts and binary: the command, its input, the end of that."""
        yield write_control(self._execute)
        most = MAX_FRAME - 1
        for start in range(0, len(self._input), most):
            yield bytes([Stream.INPUT]) + self._input[start : start + most]
        yield write_control(EndOfInput())

    # what comes in

    def on_bytes(self, data: bytes, starts: bool) -> None:
        """Output; a message's first byte says of which stream.

        Raises:
            InvalidAnswer: it is of none.
        """
        if starts:
            self._stream = None
        if self._stream is None and data:
            self._stream = next((s for s in self._printed if s == data[0]), None)
            data = data[1:]
            if self._stream is None:
                raise InvalidAnswer("The server sent output of a stream that the API does not have.")
        if self._stream is not None and not self._ended:
            self._printed[self._stream] += data

    def on_text(self, text: str) -> None:
        """A control message; unknown types are ignored.

        Raises:
            InvalidAnswer: it is none of this API.
        """
        message = control_message(text)
        if isinstance(message, Exit) and not self._ended:
            self._exit_status, self._ended = message.status, True

    def lost(self, error: Error | None) -> None:
        """The connection has ended."""
        if not self._ended:
            self._ended = True
            self._failure = _unfinished(error)

    # the end

    @property
    def ended(self) -> bool:
        """Whether `result` has an answer."""
        return self._ended

    def result(self) -> CommandResult:
        """How the command ended.

        Raises:
            Error: the connection ended before.
        """
        if self._failure is not None:
            raise self._failure
        assert self._exit_status is not None
        output, error = (bytes(self._printed[stream]) for stream in (Stream.OUTPUT, Stream.ERROR))
        return CommandResult(self._exit_status, output, error)


def checked(id_: str, result: CommandResult) -> CommandResult:
    """The result of a command that succeeded.

    Raises:
        CommandFailed: it did not.
    """
    if result.exit_status != 0:
        raise CommandFailed(
            f"The command in container {one_line(id_)} ended with exit status {result.exit_status}; "
            "`result` holds what it printed.",
            result=result,
        )
    return result


def _line(command: object) -> str:
    if not isinstance(command, str):
        raise InvalidArgument("A command is a text: one line for the shell.")
    if "\0" in command:
        raise InvalidArgument("A command cannot hold NUL: no shell takes it.")
    try:
        command.encode()
    except UnicodeEncodeError:
        raise InvalidArgument("A command must be valid Unicode: a surrogate stands alone in it.") from None
    return command


def _unfinished(error: Error | None) -> Error:
    if error is None:
        return ConnectError(
            "The server closed the connection without the command's exit status.",
            maybe_sent=True,
            close_code=NORMAL,
        )
    if isinstance(error, ConnectError) and error.close_code in _NOT_TAKEN:
        # how long a command may be is each server's own matter, so that only sending it tells. It is no
        # InvalidArgument, which promises that nothing was sent, and no APIError, which is an HTTP answer
        return ConnectError(
            f"The server did not take the command or its input: {error}",
            maybe_sent=True,
            close_code=error.close_code,
        )
    return error


def _checked(data: bytes | str | None) -> memoryview:
    if data is None:
        return memoryview(b"")
    if isinstance(data, str):
        try:
            data = data.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            raise InvalidArgument("The input of a command must be valid Unicode, or bytes.") from None
    elif not isinstance(data, bytes | bytearray | memoryview):
        raise InvalidArgument("The input of a command is bytes or a text.")
    return memoryview(data).cast("B")
