"""What may be repeated, and when: the rules behind every retry.

A row may be repeated when a second effect cannot happen or does no harm; a row that makes one thing more each
time never is, unless the server certainly did not take the first request. Numbers are seconds.
"""

from __future__ import annotations

from typing import Any

from attrs import frozen

from ecompute.contract.endpoint import Endpoint
from ecompute.contract.endpoints import ADD_INGRESS, LOG_IN, LOG_OUT, START_CONTAINER, STOP_CONTAINER
from ecompute.errors import APIError, ConnectError, Error, InvalidAnswer, NotFound, Unauthenticated

TRANSIENT = frozenset({429, 502, 503, 504})
"""Statuses that say nothing against the request itself."""

LOST_ANSWER = frozenset({502, 504})
"""How a gateway tells that it lost the server's answer: the request may have had its effect."""


@frozen
class Retries:
    """How often and how fast. The n-th pause is `first` doubled n times, at most `longest`, half of it random
    (so that clients that failed together do not return together).
    """

    attempts: int = 4
    first: float = 0.25
    longest: float = 8.0

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
    return isinstance(error, APIError) and error.status in LOST_ANSWER
