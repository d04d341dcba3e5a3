"""What may be repeated, and when: the rules behind every retry.

A row may be repeated when a second effect cannot happen or does no harm; a row that makes one thing more each
time never is, unless the server certainly did not take the first request. Numbers are seconds.
"""

from __future__ import annotations

from math import inf
from typing import Any

from attrs import field, frozen

from ecompute.contract.endpoint import Endpoint
from ecompute.contract.endpoints import ADD_INGRESS, LOG_IN, LOG_OUT, START_CONTAINER, STOP_CONTAINER
from ecompute.contract.problems import Code
from ecompute.errors import (
    APIError,
    Conflict,
    ConnectError,
    Error,
    Forbidden,
    InvalidAnswer,
    InvalidArgument,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    Unauthenticated,
    Unsupported,
)

TRANSIENT = frozenset({429, 502, 503, 504})
"""Statuses that say nothing against the request itself."""

LOST_ANSWER = frozenset({502, 504})
"""How a gateway tells that it lost the server's answer: the request may have had its effect."""


def _at_least(least: float) -> Any:
    def check(_: Any, attribute: Any, value: Any) -> None:
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value < inf:
            raise InvalidArgument(f"{attribute.name} of Retries must be a number, at least {least:g}.")

    return check


@frozen
class Retries:
    """How often and how fast. `attempts` counts the first try; the pause after the n-th try is
    `first` seconds doubled n - 1 times, at most `longest`, half of it random (so that clients that failed
    together do not return together).

    Raises:
        InvalidArgument: a number makes no sense.
    """

    attempts: int = field(default=4, validator=_at_least(1))
    first: float = field(default=0.25, validator=_at_least(0))
    longest: float = field(default=8.0, validator=_at_least(0))

    def pause(self, failures: int, random: float, retry_after: float | None = None) -> float:
        """How long to wait after so many failures in a row; `random` is from 0 to 1."""
        full = min(self.longest, self.first * 2.0 ** min(failures - 1, 32))
        # the server's wish is a floor, and the part on top again spreads the clients
        return max(full * (0.5 + random / 2), (retry_after or 0.0) + full * random / 2)


CALLS = Retries()
RECONNECTS = Retries(first=0.1, longest=15.0)
"""For a feed, which stops trying by time rather than by count."""


_IDEMPOTENT = frozenset({"GET", "PUT", "DELETE"})
"""Methods that promise it by themselves (RFC 9110, 9.2.2)."""

_HARMLESS = frozenset(row.name for row in (START_CONTAINER, STOP_CONTAINER, ADD_INGRESS, LOG_IN, LOG_OUT))
"""POSTs that change nothing the second time: starting what runs, publishing a port where it is published; a
session too many ends by itself. A new POST is not repeated until it is named here."""


def may_repeat(endpoint: Endpoint[Any, Any]) -> bool:
    """Whether a request may be sent again although it may have had its effect already."""
    return endpoint.method in _IDEMPOTENT or endpoint.name in _HARMLESS


def has_reached_aim(endpoint: Endpoint[Any, Any], error: Error) -> bool:
    """Whether a refusal says that an earlier try, whose answer was lost, had its effect: what was to be
    deleted is no longer there, the session that was to end is no longer valid.
    """
    if endpoint.method == "DELETE":
        return isinstance(error, NotFound)
    return endpoint.name == LOG_OUT.name and isinstance(error, Unauthenticated)


def is_transient(error: Error, *, repeatable: bool) -> bool:
    """Whether the same request can succeed in a moment, and may be sent again."""
    if isinstance(error, ConnectError):
        return repeatable or not error.maybe_sent
    if isinstance(error, APIError):
        # 429 comes before any work (RFC 6585, 4), so that repeating it is safe for all
        return error.status == 429 or (repeatable and error.status in TRANSIENT)
    return False


def leaves_doubt(error: Error) -> bool:
    """Whether a request that ended so may have had its effect all the same."""
    if isinstance(error, ConnectError):
        return error.maybe_sent
    if isinstance(error, InvalidAnswer):
        # a success that cannot be read is a success all the same
        return error.status is not None and error.status < 300
    if not isinstance(error, APIError):
        return False
    # without a code of the API, it is a gateway that tells of trouble behind it: 408 and all of 5xx
    foreign = error.code not in list(Code) and (error.status >= 500 or error.status == 408)
    return foreign or error.status in LOST_ANSWER


def is_under_way(endpoint: Endpoint[Any, Any], error: Error, *, in_doubt: bool) -> bool:
    """Whether a request was refused because one before it, under the same key, is not answered yet.

    A server says so by `Retry-After`. Where the row itself knows no conflict, any conflict of a repeated
    request, whose first is `in_doubt`, is of that kind.
    """
    if not isinstance(error, Conflict) or error.code != Code.CONFLICT:
        return False
    return error.retry_after is not None or (in_doubt and Code.CONFLICT not in endpoint.own_errors)


def tells_outcome(error: Error) -> bool:
    """Whether a refusal of a repeated request says that the first one had no effect: else its answer had come
    again.
    """
    return isinstance(error, APIError) and error.status < 500 and not isinstance(error, Unauthenticated)


_NO_EVENTS = (Forbidden, InvalidAnswer, InvalidRequest, MethodNotAllowed, NotFound, Unsupported)
_UPGRADE_REQUIRED, _NOT_IMPLEMENTED = 426, 501


def has_no_events(error: Error) -> bool:
    """Whether a refusal of the events feed says that this server, or this token, has none to offer, or that
    something in between takes no WebSockets. What is wrong altogether shows again when a container is looked
    at.
    """
    if isinstance(error, APIError) and error.status in (_UPGRADE_REQUIRED, _NOT_IMPLEMENTED):
        return True
    return isinstance(error, _NO_EVENTS)
