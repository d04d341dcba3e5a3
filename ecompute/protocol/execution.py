"""One command by `ecompute.exec.v1` as state: what is to be sent, what it has printed, how it ended.

A text frame names the command, then binary frames carry the standard streams, the first byte saying which,
and `exit` ends it all. What the command prints is kept until its end, or given away as it comes; then it has
to wait for a slow taker.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection, Iterator, Sequence

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

from .terminal import MAX_BUFFERED, control_message
from .websocket import MAX_FRAME, NORMAL

_INPUT = bytes([Stream.INPUT])
_PRINTED = (Stream.OUTPUT, Stream.ERROR)
_BY_MARK = {int(stream): stream for stream in _PRINTED}
_RUN_SIZE = 256
"""What a piece of output counts for beside its bytes: two streams may take turns byte by byte."""
_NOT_TAKEN = (CloseCode.PROTOCOL_ERROR, CloseCode.INVALID_DATA, CloseCode.TOO_LARGE)
"""How a server refuses what it was sent."""


class Execution:
    """One command, from its opening to its exit. Not thread-safe by itself.

    What it writes to a stream in `given_away` is to be fetched by `take`; the rest is kept for the result.

    Raises:
        InvalidArgument: the command is no text, or one that no shell can get.
    """

    def __init__(self, command: str | Sequence[str], given_away: Collection[Stream] = ()) -> None:
        self._execute = Execute(_line(command))
        self._exit_status: int | None = None
        self._ended = False
        self._failure: Error | None = None
        self._kept = {stream: bytearray() for stream in _PRINTED if stream not in given_away}
        self._waiting: list[tuple[Stream, bytearray]] = []
        self._waiting_size = 0
        self._stream: Stream | None = None

    # what goes out

    def opened(self, subprotocol: str | None) -> None:
        """A connection stands.

        Raises:
            Unsupported: the server did not choose the protocol.
        """
        if subprotocol != EXEC_PROTOCOL:
            raise Unsupported("This server runs no single commands: use its terminals.")

    def beginning(self) -> str:
        """The first message: the command."""
        return write_control(self._execute)

    @staticmethod
    def frames(data: memoryview) -> Iterator[bytes]:
        """The messages for a piece of the input."""
        most = MAX_FRAME - 1
        for start in range(0, len(data), most):
            yield _INPUT + data[start : start + most]

    @staticmethod
    def end_of_input() -> str:
        """The message that closes the command's input."""
        return write_control(EndOfInput())

    # what comes in

    def on_bytes(self, data: bytes, starts: bool) -> None:
        """Output; a message's first byte says of which stream.

        Raises:
            InvalidAnswer: it is of none.
        """
        if starts:
            self._stream = None
        if self._stream is None and data:
            self._stream = _BY_MARK.get(data[0])
            data = data[1:]
            if self._stream is None:
                raise InvalidAnswer("The server sent output of a stream that the API does not have.")
        if self._stream is None or not data or self._ended:
            return
        if self._stream in self._kept:
            self._kept[self._stream] += data
            return
        if not self._waiting or self._waiting[-1][0] is not self._stream:
            self._waiting.append((self._stream, bytearray()))
            self._waiting_size += _RUN_SIZE
        self._waiting[-1][1].extend(data)
        self._waiting_size += len(data)

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

    @property
    def full(self) -> bool:
        """Whether what waits has to be taken before more is read."""
        return self._waiting_size >= MAX_BUFFERED

    @property
    def takeable(self) -> bool:
        """Whether something waits to be taken."""
        return self._waiting_size > 0

    def take(self) -> list[tuple[Stream, bytes]]:
        """What has come for the streams that are given away, in its order, in as few pieces as it takes."""
        runs, self._waiting, self._waiting_size = self._waiting, [], 0
        return [(stream, bytes(data)) for stream, data in runs]

    # the end

    @property
    def ended(self) -> bool:
        """Whether `result` has an answer."""
        return self._ended

    def result(self) -> CommandResult:
        """How the command ended, with all that was kept.

        Raises:
            Error: the connection ended before.
        """
        if self._failure is not None:
            raise self._failure
        assert self._exit_status is not None
        output, error = (bytes(self._kept.get(stream, b"")) for stream in _PRINTED)
        return CommandResult(self._exit_status, output, error)


def checked(id_: str, result: CommandResult) -> CommandResult:
    """The result of a command that succeeded.

    Raises:
        CommandFailed: it did not.
    """
    if result.exit_status != 0:
        raise CommandFailed(
            f"The command in container {one_line(id_)} ended with exit status {result.exit_status}"
            "; `result` holds what it printed.",
            result=result,
        )
    return result


def _line(command: object) -> str:
    if isinstance(command, list | tuple) and command and all(isinstance(word, str) for word in command):
        command = shlex.join(command)
    if not isinstance(command, str):
        raise InvalidArgument("A command is a text, one line for the shell, or a list of its words.")
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


def takers(
    on_output: Callable[[bytes], object] | None, on_error: Callable[[bytes], object] | None
) -> dict[Stream, Callable[[bytes], object]]:
    """Who takes which stream.

    Raises:
        InvalidArgument: one cannot be called.
    """
    given = {Stream.OUTPUT: on_output, Stream.ERROR: on_error}
    found = {stream: taker for stream, taker in given.items() if taker is not None}
    if not all(callable(taker) for taker in found.values()):
        raise InvalidArgument("on_output and on_error are functions that take bytes.")
    return found
