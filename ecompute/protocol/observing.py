"""What can be seen of a client's work: each attempt, its answer, each pause before another, each reconnect.

The core tells an `Observer` of `context`; who listens, and counts, is no matter of the core.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen

from ecompute.errors import Error
from ecompute.exchange import HTTPRequest


@frozen
class RequestSent:
    """A request goes out: attempt number `attempt`, from 1 on. `channel` tells that it opens a WebSocket."""

    request: HTTPRequest
    attempt: int
    channel: bool = False


@frozen
class ResponseReceived:
    """An answer has come, whatever it says, `seconds` after its request began to go out."""

    request: HTTPRequest
    attempt: int
    status: int
    seconds: float
    request_id: str | None = None


@frozen
class RetryPlanned:
    """An attempt has failed by `error`, and there will be another after `pause` seconds."""

    request: HTTPRequest
    attempt: int
    error: Error
    pause: float


@frozen
class ReconnectPlanned:
    """A feed has lost its connection, by `error` if it was not agreed; try number `attempt` to come back
    follows after `pause` seconds.
    """

    request: HTTPRequest
    attempt: int
    error: Error | None
    pause: float


@frozen(kw_only=True)
class Hooks:
    """Functions that are told of a client's work. They run where the work is done, which may be a thread of
    the library's, and should return soon; what one raises is logged and changes nothing.
    """

    request: Callable[[RequestSent], object] | None = None
    response: Callable[[ResponseReceived], object] | None = None
    retry: Callable[[RetryPlanned], object] | None = None
    reconnect: Callable[[ReconnectPlanned], object] | None = None
