"""What takes several steps, written once for both clients: generators that ask for effects.

A flow yields a step, gets its result sent in or its `Error` thrown in, and returns the outcome. It never
waits itself: `drive` and `adrive` run it against something that performs steps. Time and randomness are
arguments.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from contextlib import suppress
from math import inf
from typing import Any, Generic, TypeVar

from attrs import frozen

from ecompute.contract.catalog import IDEMPOTENCY_SECONDS
from ecompute.contract.endpoint import Endpoint
from ecompute.contract.endpoints import ENDPOINTS, GET_SESSION
from ecompute.contract.requests import GetSession
from ecompute.contract.resources import Session
from ecompute.errors import (
    APIError,
    ConnectError,
    DeadlineExceeded,
    Error,
    Forbidden,
    InvalidAnswer,
    InvalidArgument,
    MethodNotAllowed,
    NotFound,
    OutcomeUnknown,
    Unauthenticated,
    Unsupported,
    about,
    within,
)

from . import policy, wire
from .context import Context as Context
from .context import Server as Server
from .feed import FeedState

T = TypeVar("T")
Request = TypeVar("Request")
Response = TypeVar("Response")


Repeated = Callable[[wire.HTTPAnswer], None]
"""Told of a refused token, just before a request goes out again with a fresh one."""


@frozen
class Send:
    """Send a request within `timeout` seconds; its result is the `HTTPAnswer`.

    `track` asks to find out for certain whether a failed request may have reached the server.
    """

    request: wire.HTTPRequest
    timeout: float
    track: bool = False
    repeated: Repeated | None = None


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
    repeated: Repeated | None = None


@frozen
class Await:
    """Wait until the connection has brought something or has ended, at most until `deadline`; no result."""

    deadline: float | None
    late: str
    """What to say when that has passed, without the full stop."""


@frozen
class Until(Generic[T]):
    """Wait until `ready`, asked after each change that a feed tells, gives something true: that is the
    result.

    `deadline` and `late` are as for `Await`.
    """

    ready: Callable[[], T]
    deadline: float
    late: str


Step = Send | Pause | Connect | Await | Until[Any]
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


class _Tries:
    """How often something was tried, and how long that may go on. `message` is what may be told of it."""

    def __init__(self, message: wire.HTTPRequest, timeout: float, context: Context) -> None:
        self.count = 1
        self.message = message
        self._context = context
        self._retries = context.retries or policy.CALLS
        self._timeout = timeout
        self._deadline = context.now() + timeout
        self._fresh = 0

    def repeated(self) -> None:
        """It goes out once more with a fresh token, which is no try that another was lost by."""
        self.count += 1
        self._fresh += 1

    @property
    def left(self) -> float:
        return self._deadline - self._context.now()

    def again(self, error: Error, *, settling: bool = False) -> Flow[bool]:
        """Make a pause, if there is to be another try; `settling` goes on as long as there is time.

        Raises:
            DeadlineExceeded: the time is over, and the server was silent.
        """
        wish = getattr(error, "retry_after", None)
        pause = self._retries.pause(self.count - self._fresh, self._context.random(), wish)
        if pause >= self.left:
            if isinstance(error, ConnectError) and error.timed_out:
                raise self._late() from error
            return False
        if self.count - self._fresh >= self._retries.attempts and not settling:
            return False
        self._context.observer.retrying(self.message, self.count, error, pause)
        self.count += 1
        yield Pause(pause)
        return True

    def _late(self) -> Error:
        late = DeadlineExceeded(f"{self.message.operation} was not answered {within(self._timeout)}.")
        about(late, self.message)
        return late


def call(
    endpoint: Endpoint[Request, Response],
    request: Request,
    timeout: float,
    context: Context,
    caller: str | None = None,
    *,
    idempotency_key: str | None = None,
) -> Flow[Response]:
    """One operation: sent, repeated where that is safe, answered, all within `timeout` seconds. `caller` is
    what messages call it, None for the row's name.

    A row that must not be repeated is repeated all the same under `idempotency_key`, if the server says that
    it honours keys; when it has not said so before it is needed, it is asked.

    Raises:
        InvalidArgument: the request cannot be sent as it is.
        APIError: the server says no, also after the retries.
        ConnectError: the server cannot be reached, or broke off.
        DeadlineExceeded: there was no answer in time.
        InvalidAnswer: the answer is not one of this API.
        OutcomeUnknown: a request that must not be repeated may have been taken, and more cannot be known.
    """
    message = wire.encode(endpoint, request, caller, idempotency_key=idempotency_key)
    if policy.may_repeat(endpoint):
        return (yield from _repeatable(endpoint, message, timeout, context))
    return (yield from _once(endpoint, message, timeout, context, idempotency_key))


def _attempt(
    endpoint: Endpoint[Any, Response], message: wire.HTTPRequest, context: Context, tries: _Tries, track: bool
) -> Flow[Response]:
    answer: wire.HTTPAnswer | None = None
    began = 0.0

    def repeated(refused: wire.HTTPAnswer) -> None:
        nonlocal began
        context.observer.answered(tries.message, tries.count, refused, context.now() - began)
        tries.repeated()
        began = context.sent(tries.message, tries.count)

    try:
        began = context.sent(tries.message, tries.count)
        came: wire.HTTPAnswer = yield Send(message, tries.left, track, repeated)
        answer = came
        context.observer.answered(tries.message, tries.count, came, context.now() - began)
        context.server.hear(came)
        result = wire.decode(endpoint, message, came, context.container)
        if isinstance(result, Session) and endpoint is GET_SESSION:
            context.server.user_id = result.user_id
        return result
    except Error as error:
        about(error, tries.message, wire.public_answer(endpoint, answer))
        raise


def _repeatable(
    endpoint: Endpoint[Any, Response], message: wire.HTTPRequest, timeout: float, context: Context
) -> Flow[Response]:
    tries = _Tries(wire.public_request(endpoint, message), timeout, context)
    in_doubt = False
    while True:
        try:
            return (yield from _attempt(endpoint, message, context, tries, False))
        except (APIError, ConnectError) as error:
            if in_doubt and policy.has_reached_aim(endpoint, error):
                return wire.acknowledged(endpoint)
            in_doubt = in_doubt or policy.leaves_doubt(error)
            if not policy.is_transient(error, repeatable=True) or not (yield from tries.again(error)):
                raise


def _once(
    endpoint: Endpoint[Any, Response],
    message: wire.HTTPRequest,
    timeout: float,
    context: Context,
    key: str | None,
    doubted_since: float | None = None,
) -> Flow[Response]:
    """A request that may have one effect only; `doubted_since` is when it was first sent, if before."""
    tries = _Tries(message, timeout, context)
    sent_at = context.wall() if doubted_since is None else doubted_since
    in_doubt = doubted_since is not None
    while True:
        try:
            return (yield from _attempt(endpoint, message, context, tries, True))
        except (APIError, ConnectError, InvalidAnswer) as error:
            failure: Error = error
        in_doubt = in_doubt or policy.leaves_doubt(failure)
        under_way = policy.is_under_way(endpoint, failure, in_doubt=in_doubt)
        passes = (
            under_way
            or policy.leaves_doubt(failure)
            or policy.is_transient(failure, repeatable=in_doubt or _keyed(key, context))
        )
        if not passes and (not in_doubt or policy.tells_outcome(failure)):
            raise failure
        if passes and (not in_doubt or (yield from _honours(key, tries, context))):
            try:
                if (yield from tries.again(failure, settling=under_way)):
                    continue
            except DeadlineExceeded:
                if not in_doubt:
                    raise
        if not in_doubt:
            raise failure
        user_id = (yield from _user_id(tries, context)) if _keyed(key, context) else None
        raise _unknown(message, key, context, sent_at, user_id) from failure


def _keyed(key: str | None, context: Context) -> bool:
    return key is not None and context.server.honours_keys


def _honours(key: str | None, tries: _Tries, context: Context) -> Flow[bool]:
    """Whether a repeated request under this key has no second effect."""
    if key is not None and not context.server.honours_keys and tries.left > 0:
        # any answer tells, whatever it says otherwise
        with suppress(Error):
            yield from call(GET_SESSION, GetSession(), tries.left, context)
    return _keyed(key, context)


def _user_id(tries: _Tries, context: Context) -> Flow[str | None]:
    """Whose credential this is, None where that is not told in time."""
    left = min(tries.left, _ASK_WITHIN)
    if context.server.user_id is None and left > 0:
        with suppress(Error):
            yield from call(GET_SESSION, GetSession(), left, context)
    return context.server.user_id


_ASK_WITHIN = 2.0
"""Seconds for finding that out, when the answer to the request itself is lost already."""


def _unknown(
    message: wire.HTTPRequest, key: str | None, context: Context, sent_at: float, user_id: str | None
) -> OutcomeUnknown:
    way = "resolve() can settle it" if key and context.server.honours_keys else "list before trying again"
    return OutcomeUnknown(
        f"{message.operation} was sent, but its answer was lost: it may or may not have happened; {way}.",
        operation=message.operation,
        request=message,
        key=key,
        base_url=context.server.base_url,
        sent_at=sent_at,
        user_id=user_id,
    )


def resolve(unknown: OutcomeUnknown, timeout: float, context: Context) -> Flow[Any]:
    """Settle a request whose outcome is unknown: repeat it under its key, and give what came of it.

    Raises:
        InvalidArgument: it is another server's or another user's, of no known operation, has no key, or its
            key is too old.
        Unsupported: the server does not honour keys.
        OutcomeUnknown: its outcome still cannot be had.
        Error: as for `call`; a refusal means that it has not happened.
    """
    row = _row_of(unknown)
    if unknown.base_url != context.server.base_url:
        raise InvalidArgument("This request was sent to another server: take a client of that one.")
    if unknown.key is None:
        raise InvalidArgument("This request was sent without an idempotency key: list what is there instead.")
    # a clock may be wrong by a little, and a second effect is worse than a look at the list
    if context.wall() - unknown.sent_at > IDEMPOTENCY_SECONDS - _CLOCKS_DIFFER:
        raise InvalidArgument("This request is too old to be repeated: list what is there instead.")
    tries = _Tries(unknown.request, timeout, context)
    yield from _check_user(unknown, tries, context)
    if not (yield from _honours(unknown.key, tries, context)):
        raise Unsupported("This server does not honour idempotency keys: list what is there instead.")
    return (yield from _once(row, unknown.request, tries.left, context, unknown.key, unknown.sent_at))


def _check_user(unknown: OutcomeUnknown, tries: _Tries, context: Context) -> Flow[None]:
    """Refuse what another user has sent, as far as both are told: in his own name the key is a new one."""
    if unknown.user_id is None:
        return
    try:
        session = yield from call(GET_SESSION, GetSession(), tries.left, context)
    except _TELLS_NO_USER:
        return
    except Error as error:
        message = unknown.request
        raise _unknown(message, unknown.key, context, unknown.sent_at, unknown.user_id) from error
    if session.user_id != unknown.user_id:
        raise InvalidArgument("This request was sent by another user: take a client of that one.")


_TELLS_NO_USER = (Unauthenticated, Forbidden, NotFound, MethodNotAllowed, InvalidAnswer)
"""How a server ends the question who asks, without an answer to it."""

_CLOCKS_DIFFER = 600.0
"""Seconds by which the clocks of two machines may differ."""


def _row_of(unknown: OutcomeUnknown) -> Endpoint[Any, Any]:
    for row in ENDPOINTS:
        same = (row.method, row.path) == (unknown.request.method, unknown.request.target)
        if same and row.takes_idempotency_key and not policy.may_repeat(row):
            return row
    raise InvalidArgument("This request is of no operation that this version can repeat.")


def connect(
    request: wire.HTTPRequest, subprotocols: tuple[str, ...], timeout: float, context: Context
) -> Flow[None]:
    """Open a WebSocket, with retries, within `timeout` seconds.

    Raises:
        APIError, ConnectError, DeadlineExceeded, InvalidAnswer: as for `call`.
    """
    tries = _Tries(request, timeout, context)
    while True:
        try:
            return (yield from _open(request, subprotocols, tries.left, context, tries.count))
        except (APIError, ConnectError) as error:
            if not policy.is_transient(error, repeatable=True) or not (yield from tries.again(error)):
                raise


def _open(
    request: wire.HTTPRequest,
    subprotocols: tuple[str, ...],
    timeout: float,
    context: Context,
    attempt: int,
) -> Flow[None]:
    began = 0.0

    def repeated(refused: wire.HTTPAnswer) -> None:
        nonlocal began, attempt
        context.observer.answered(request, attempt, refused, context.now() - began)
        attempt += 1
        began = context.sent(request, attempt, channel=True)

    try:
        began = context.sent(request, attempt, channel=True)
        yield Connect(request, subprotocols, timeout, repeated)
        context.observer.answered(request, attempt, _SWITCHED, context.now() - began)
    except Error as error:
        about(error, request)
        raise


_SWITCHED = wire.HTTPAnswer(101, {}, b"")


CONNECT_WITHIN = 30.0
"""Seconds that one try to come back may take."""
RECONNECT_FOR = 300.0
"""Seconds in which a feed tries to come back before it gives up: a server's restart is far shorter."""


def next_event(
    feed: FeedState[T],
    take: Callable[[], T | None],
    request: wire.HTTPRequest,
    context: Context,
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
    failures, lost_at = 0, context.now()
    retry_after: float | None = None
    while (event := take()) is None:
        if feed.connected:
            _remaining(deadline, context, late)
            yield Await(deadline, late)
            if feed.synced:
                failures, lost_at, retry_after = 0, context.now(), None
            continue
        if isinstance(feed.failure, InvalidAnswer):
            raise feed.failure
        failures += 1
        pause = policy.RECONNECTS.pause(failures, context.random(), retry_after)
        pause = min(pause, _remaining(deadline, context, late))
        context.observer.reconnecting(request, failures, feed.failure, pause)
        yield Pause(pause)
        if feed.leaving:
            continue
        left = min(_remaining(deadline, context, late), CONNECT_WITHIN)
        try:
            yield from _open(request, (), left, context, failures)
        except (APIError, ConnectError) as error:
            given_up = context.now() - lost_at >= RECONNECT_FOR
            if given_up or not policy.is_transient(error, repeatable=True):
                raise
            # a server may wish for more than the time in which there is any use in coming back
            retry_after = min(getattr(error, "retry_after", None) or 0.0, RECONNECT_FOR)
    return event


def _remaining(deadline: float | None, context: Context, late: str) -> float:
    if deadline is None:
        return inf
    left = deadline - context.now()
    if left <= 0:
        raise DeadlineExceeded(f"{late}.")
    return left
