"""What takes several steps, written once for both clients: generators that ask for effects.

A flow yields a step, gets its result sent in or its `Error` thrown in, and returns the outcome. It never
waits itself: `drive` and `adrive` run it against something that performs steps. Time and randomness are
arguments.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from math import inf
from typing import Any, Generic, TypeVar

from attrs import define, frozen

from ecompute.contract.endpoint import Endpoint
from ecompute.errors import (
    APIError,
    ConnectError,
    DeadlineExceeded,
    Error,
    InvalidAnswer,
    OutcomeUnknown,
    within,
)

from . import policy, wire
from .feed import FeedState

T = TypeVar("T")
Request = TypeVar("Request")
Response = TypeVar("Response")


@frozen
class Send:
    """Send a request within `timeout` seconds; its result is the `HTTPAnswer`.

    `track` asks to find out for certain whether a failed request may have reached the server.
    """

    request: wire.HTTPRequest
    timeout: float
    track: bool = False


@frozen
class Pause:
    """Let this many seconds pass; no result."""

    seconds: float


@frozen
class Connect:
    """Open a WebSocket within `timeout` seconds; no result, the performer keeps it."""

    request: wire.HTTPRequest
    subprotocols: tuple[str, ...]
    timeout: float


@frozen
class Await:
    """Wait until the connection has brought something or has ended, at most until `deadline`; no result."""

    deadline: float | None
    late: str
    """What to say when that has passed, without the full stop."""


@frozen
class NextEvent:
    """Wait for the next event of a feed, at most until `deadline`; its result is the event."""

    deadline: float


Step = Send | Pause | Connect | Await | NextEvent
Flow = Generator[Step, Any, T]


def drive(flow: Flow[T], perform: Callable[[Step], Any]) -> T:
    """Run a flow to its end."""
    try:
        step = next(flow)
        while True:
            try:
                result = perform(step)
            except Error as error:
                step = flow.throw(error)
            else:
                step = flow.send(result)
    except StopIteration as stop:
        outcome: T = stop.value
        return outcome
    finally:
        flow.close()


async def adrive(flow: Flow[T], perform: Callable[[Step], Awaitable[Any]]) -> T:
    """Run a flow to its end."""
    try:
        step = next(flow)
        while True:
            try:
                result = await perform(step)
            except Error as error:
                step = flow.throw(error)
            else:
                step = flow.send(result)
    except StopIteration as stop:
        outcome: T = stop.value
        return outcome
    finally:
        flow.close()


@frozen
class Timing:
    """Where a flow's time and chance come from: seconds on a clock that only goes forward, and 0 to 1."""

    now: Callable[[], float]
    random: Callable[[], float]


@define
class Server:
    """What a server's answers have told about it, whatever else they say."""

    honours_keys: bool = False
    """Whether one has said that it honours idempotency keys."""

    def hear(self, answer: wire.HTTPAnswer) -> None:
        """Learn from an answer."""
        # a gateway may answer in its place, and knows nothing of keys: once said is said
        self.honours_keys = self.honours_keys or wire.honours_keys(answer)


def call(
    endpoint: Endpoint[Request, Response],
    request: Request,
    timeout: float,
    timing: Timing,
    caller: str | None = None,
    *,
    idempotency_key: str | None = None,
    server: Server | None = None,
) -> Flow[Response]:
    """One operation: sent, repeated where that is safe, answered, all within `timeout` seconds. `caller` is
    what messages call it, None for the row's name.

    A key alone makes nothing safe to repeat here: whether the server honours it is for the caller to know.
    `server` learns from the answers.

    Raises:
        InvalidArgument: the request cannot be sent as it is.
        APIError: the server says no, also after the retries.
        ConnectError: the server cannot be reached, or broke off.
        DeadlineExceeded: there was no answer in time.
        InvalidAnswer: the answer is not one of this API.
        OutcomeUnknown: one of the last three, after a request that must not be repeated may have been taken.
    """
    message = wire.encode(endpoint, request, caller, idempotency_key=idempotency_key)
    repeatable = policy.may_repeat(endpoint)
    attempts = _Attempts(endpoint, message, server or Server())
    try:
        return (yield from _with_retries(attempts, message, repeatable, timeout, timing))
    except (APIError, ConnectError, InvalidAnswer) as error:
        if repeatable or not policy.leaves_doubt(error):
            raise
        raise OutcomeUnknown(
            f"{message.operation} was sent, but its answer was lost: it may or may not have happened. List "
            "before trying again.",
            operation=endpoint.name,
            request=request,
        ) from error


class _Attempts(Generic[Request, Response]):
    """The tries of one operation, which remember whether an earlier one may have had its effect."""

    def __init__(
        self, endpoint: Endpoint[Request, Response], message: wire.HTTPRequest, server: Server
    ) -> None:
        self._endpoint = endpoint
        self._message = message
        self._server = server
        self._in_doubt = False

    def __call__(self, remaining: float) -> Flow[Response]:
        track = not policy.may_repeat(self._endpoint)
        try:
            answer = yield Send(self._message, remaining, track)
            self._server.hear(answer)
            return wire.decode(self._endpoint, self._message, answer)
        except (APIError, ConnectError) as error:
            if self._in_doubt and policy.has_reached_aim(self._endpoint, error):
                return wire.acknowledged(self._endpoint)
            self._in_doubt = self._in_doubt or policy.leaves_doubt(error)
            raise


def connect(
    request: wire.HTTPRequest, subprotocols: tuple[str, ...], timeout: float, timing: Timing
) -> Flow[None]:
    """Open a WebSocket, with retries, within `timeout` seconds.

    Raises:
        APIError, ConnectError, DeadlineExceeded, InvalidAnswer: as for `call`.
    """

    def attempt(remaining: float) -> Flow[None]:
        yield Connect(request, subprotocols, remaining)

    yield from _with_retries(attempt, request, True, timeout, timing)


def _with_retries(
    attempt: Callable[[float], Flow[T]],
    message: wire.HTTPRequest,
    repeatable: bool,
    timeout: float,
    timing: Timing,
) -> Flow[T]:
    deadline = timing.now() + timeout
    failures = 0
    while True:
        try:
            return (yield from attempt(deadline - timing.now()))
        except (APIError, ConnectError) as error:
            failures += 1
            pause = policy.CALLS.pause(failures, timing.random(), getattr(error, "retry_after", None))
            if not policy.is_transient(error, repeatable=repeatable):
                raise
            if timing.now() + pause >= deadline:
                if isinstance(error, ConnectError) and error.timed_out:
                    raise DeadlineExceeded(
                        f"{message.operation} was not answered {within(timeout)}."
                    ) from error
                raise
            if failures >= policy.CALLS.attempts:
                raise
        yield Pause(pause)


CONNECT_WITHIN = 30.0
"""Seconds that one try to come back may take."""
RECONNECT_FOR = 300.0
"""Seconds in which a feed tries to come back before it gives up: a server's restart is far shorter."""


def next_event(
    feed: FeedState[T],
    take: Callable[[], T | None],
    request: wire.HTTPRequest,
    timing: Timing,
    deadline: float | None = None,
    late: str = "No event came in time",
) -> Flow[T]:
    """What a feed has next for its owner, over as many connections as it takes. `take` is the feed's, guarded
    where threads share it; `late` is what to say at the deadline.

    Raises:
        DeadlineExceeded: none came in time; the feed is as good as before.
        APIError: the server refuses a new connection, such as 401 for a revoked token.
        ConnectError: the server was away for too long.
        InvalidAnswer: the server sent what is not of this API.
    """
    failures, lost_at = 0, timing.now()
    retry_after: float | None = None
    while (event := take()) is None:
        if feed.connected:
            _remaining(deadline, timing, late)
            yield Await(deadline, late)
            if feed.synced:
                failures, lost_at, retry_after = 0, timing.now(), None
            continue
        if isinstance(feed.failure, InvalidAnswer):
            raise feed.failure
        failures += 1
        pause = policy.RECONNECTS.pause(failures, timing.random(), retry_after)
        yield Pause(min(pause, _remaining(deadline, timing, late)))
        try:
            yield Connect(request, (), min(_remaining(deadline, timing, late), CONNECT_WITHIN))
        except (APIError, ConnectError) as error:
            given_up = timing.now() - lost_at >= RECONNECT_FOR
            if given_up or not policy.is_transient(error, repeatable=True):
                raise
            retry_after = getattr(error, "retry_after", None)
    return event


def _remaining(deadline: float | None, timing: Timing, late: str) -> float:
    if deadline is None:
        return inf
    left = deadline - timing.now()
    if left <= 0:
        raise DeadlineExceeded(f"{late}.")
    return left
