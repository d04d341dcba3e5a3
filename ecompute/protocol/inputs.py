"""What a caller may give as bytes: to a terminal at once, to a command also bit by bit."""

from __future__ import annotations

import io
from abc import abstractmethod
from collections.abc import AsyncIterable, Awaitable, Iterable, Sequence
from inspect import iscoroutinefunction
from typing import Any, Protocol

from ecompute.errors import InvalidArgument

PIECE = 128 * 1024
"""Bytes that a file is asked for at a time."""


class Readable(Protocol):
    """A file, opened for bytes."""

    @abstractmethod
    def read(self, size: int, /) -> bytes:
        """The next bytes, at most so many; b"" at the end."""


class AsyncReadable(Protocol):
    """A file of an async library, opened for bytes."""

    @abstractmethod
    def read(self, size: int, /) -> Awaitable[bytes]:
        """The next bytes, at most so many; b"" at the end."""


class SystemFile(Protocol):
    """A file that the system knows, such as `sys.stdin`."""

    @abstractmethod
    def fileno(self) -> int:
        """Its descriptor."""


Input = bytes | bytearray | memoryview | str | Readable | Iterable[bytes]
"""The input of a command: bytes, a text in UTF-8, a file opened for bytes, or pieces one after the other."""
AsyncInput = Input | AsyncReadable | AsyncIterable[bytes]
"""The same for the async client, which also takes async files and async iterables."""


def as_bytes(data: object, what: str) -> memoryview:
    """Bytes as they are, a text in UTF-8; `what` begins the sentence about anything else.

    Raises:
        InvalidArgument: it is neither, or a text that has no UTF-8.
    """
    if isinstance(data, str):
        try:
            # a name that the system gave as text becomes the bytes that it was
            data = data.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            raise InvalidArgument(f"{what} must be valid Unicode, or bytes.") from None
    elif not isinstance(data, bytes | bytearray | memoryview):
        raise InvalidArgument(f"{what} is bytes or a text.")
    return memoryview(data).cast("B")


_WHAT = "The input of a command"


def checked(input: Any, *, is_async: bool = False) -> Any:
    """A command's input, as far as it can be judged before anything is sent: bytes as a `memoryview`, a file
    or pieces as they are.

    Raises:
        InvalidArgument: it is nothing that can be sent.
    """
    if input is None:
        return memoryview(b"")
    if isinstance(input, bytes | bytearray | memoryview | str):
        return as_bytes(input, _WHAT)
    if callable(getattr(input, "read", None)):
        if isinstance(input, io.TextIOBase):
            raise InvalidArgument(f"{_WHAT} is a file opened for text: open it in binary mode.")
        if not is_async and iscoroutinefunction(input.read):
            raise InvalidArgument(f"{_WHAT} is an async file, which only the async client can read.")
        return input
    if isinstance(input, Sequence):
        return [piece(item) for item in input]
    if isinstance(input, Iterable) or (is_async and isinstance(input, AsyncIterable)):
        return input
    raise InvalidArgument(f"{_WHAT} is bytes, a text, a file opened for bytes, or an iterable of bytes.")


def piece(data: object) -> memoryview:
    """A piece that a file or an iterable has given.

    Raises:
        InvalidArgument: it is not bytes.
    """
    if not isinstance(data, bytes | bytearray | memoryview):
        raise InvalidArgument(f"{_WHAT} must come in pieces of bytes.")
    return memoryview(data).cast("B")
