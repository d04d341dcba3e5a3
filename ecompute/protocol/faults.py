"""Faults on a client's way to its server, as data: which there are, for which requests, and how often.

What carries them out is `ecompute.testing`. Everything here depends on the arguments alone, so that the same
faults, seed and requests give the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from random import Random
from typing import Any

from attrs import field, frozen

from ecompute.contract.matching import row_named, row_of
from ecompute.errors import InvalidArgument


@frozen
class Nth:
    """The n-th matching request, counted from 1."""

    number: int

    def hits(self, count: int, draw: Random) -> bool:
        """Whether the `count`-th one is meant."""
        return count == self.number


@frozen
class Always:
    """Every matching request."""

    def hits(self, count: int, draw: Random) -> bool:
        """Whether the `count`-th one is meant."""
        return True


@frozen
class Chance:
    """Each matching request with this probability, decided by the seed."""

    probability: float

    def hits(self, count: int, draw: Random) -> bool:
        """Whether the `count`-th one is meant."""
        return draw.random() < self.probability


Occurrence = Nth | Always | Chance


def _name(operation: str | None) -> str | None:
    try:
        return None if operation is None else row_named(operation).name
    except ValueError as error:
        raise InvalidArgument(str(error)) from None


@frozen
class Fault:
    """What all faults have: the operation whose requests they meet, a row's name such as `containers.create`
    or its last part (None: whatever is asked), and which of them.

    Raises:
        InvalidArgument: no operation has this name.
    """

    operation: str | None = field(default=None, converter=_name)
    on: Occurrence = Nth(1)


@frozen
class RefuseConnection(Fault):
    """Nobody listens: the request was certainly not sent."""


@frozen
class LoseRequest(Fault):
    """The connection breaks while the request is sent. The server has not got it, and nobody can know."""


@frozen
class LoseAnswer(Fault):
    """The request has its effect, and the connection breaks after so many bytes of the answer, its head
    included. A cut behind the last byte loses nothing.
    """

    after_bytes: int = field(default=0, kw_only=True)


@frozen
class TruncateBody(Fault):
    """The answer's body ends after so many bytes and looks complete, as behind a careless proxy."""

    after_bytes: int = field(default=0, kw_only=True)


@frozen
class Refuse(Fault):
    """An error of the API instead of an answer; `reached` says whether the server gets the request all the
    same. `retry_after` is in seconds.
    """

    status: int = field(default=503, kw_only=True)
    retry_after: float | None = field(default=None, kw_only=True)
    reached: bool = field(default=False, kw_only=True)


@frozen
class WebPage(Fault):
    """A page of HTML of about `size` bytes instead of an answer, otherwise as `Refuse`."""

    status: int = field(default=502, kw_only=True)
    size: int = field(default=1000, kw_only=True)
    reached: bool = field(default=False, kw_only=True)


@frozen
class Delay(Fault):
    """The answer comes this many seconds later, or the request fails when its time is over before that."""

    seconds: float = field(default=1.0, kw_only=True)


@frozen
class DropSocket(Fault):
    """A WebSocket breaks off after so many bytes or whole frames from the server, or at once if neither is
    given.
    """

    after_bytes: int | None = field(default=None, kw_only=True)
    after_frames: int | None = field(default=None, kw_only=True)


@frozen
class Injected:
    """A fault that came to pass: in the `number`-th request of all (from 1), and which operation that was."""

    number: int
    operation: str | None
    fault: Fault


class Plan:
    """Decides for each request which fault it meets, and keeps what was decided."""

    def __init__(self, faults: Iterable[Fault], seed: int) -> None:
        self.faults: tuple[Fault, ...] = tuple(faults)
        for fault in self.faults:
            if not isinstance(fault, Fault):
                raise InvalidArgument(f"{fault!r} is no fault of ecompute.testing.")
        self.seed = seed
        self.history: list[Injected] = []
        self._requests = 0
        self._matches: Counter[int] = Counter()

    def next(self, method: str, path: str) -> Fault | None:
        """The fault of this request: of several that are meant, the first in the list."""
        self._requests += 1
        row = row_of(method, path)
        name = None if row is None else row.name
        meant: Fault | None = None
        for index, fault in enumerate(self.faults):
            if fault.operation not in (None, name):
                continue
            self._matches[index] += 1
            count = self._matches[index]
            # drawn for each by itself, so that one fault does not shift another one's chances
            hit = fault.on.hits(count, Random(f"{self.seed}/{index}/{count}"))
            meant = fault if hit and meant is None else meant
        if meant is not None:
            self.history.append(Injected(self._requests, name, meant))
        return meant


class Cutter:
    """Lets through what may still come from the server of a WebSocket, byte by byte or in whole frames."""

    def __init__(self, after_bytes: int | None, after_frames: int | None) -> None:
        self._bytes = 0 if after_bytes is None and after_frames is None else after_bytes
        self._frames = after_frames
        self._head = bytearray()
        self._payload = 0

    def is_broken(self) -> bool:
        """Whether nothing more may come."""
        return self._bytes == 0 or self._frames == 0

    def pass_on(self, data: bytes) -> bytes:
        """As much of it as may still come."""
        if self._bytes is not None:
            data = data[: self._bytes]
            self._bytes -= len(data)
        if self._frames is not None:
            data = data[: self._whole_frames(data)]
        return data

    def _whole_frames(self, data: bytes) -> int:
        """How much of the data comes before the end of the last frame that may come (RFC 6455 §5.2)."""
        at = 0
        while at < len(data) and self._frames:
            if self._payload:
                step = min(self._payload, len(data) - at)
                self._payload -= step
                at += step
            else:
                self._head.append(data[at])
                at += 1
                size = _payload_size(self._head)
                if size is None:
                    continue
                self._head.clear()
                self._payload = size
            if not self._payload:
                self._frames -= 1
        return at


_LONG = {126: 2, 127: 8}


def _payload_size(head: Any) -> int | None:
    """What the head of a frame from a server says, or None while it is not complete; servers do not mask."""
    if len(head) < 2:
        return None
    short = head[1] & 0x7F
    more = _LONG.get(short, 0)
    if len(head) < 2 + more:
        return None
    return int.from_bytes(head[2:], "big") if more else int(short)
