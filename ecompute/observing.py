"""Who listens to a client's work: its statistics, the caller's hooks, the log, and a trace where there is
one.

The log is `ecompute` of `logging`: retries and reconnects at INFO, every request and answer at DEBUG. It
holds methods, paths and statuses, no headers and no bodies. Traces are OpenTelemetry's, in programs that have
loaded its API: one span for each operation, with an event for each retry.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from attrs import define, evolve

from . import recording
from .errors import APIError, Error
from .exchange import HTTPAnswer, HTTPRequest
from .late import observing
from .protocol.context import Observer

if TYPE_CHECKING:
    from .contract.endpoint import Channel, Endpoint
    from .protocol.observing import Hooks

_log = logging.getLogger("ecompute")


@define
class Stats:
    """What a client has done so far: HTTP requests sent, each attempt counted, WebSockets opened or tried to
    open, retries of both, and tries of feeds to come back.
    """

    requests: int = 0
    channels: int = 0
    retries: int = 0
    reconnects: int = 0


class Listener(Observer):
    """Counts, logs and calls the hooks of one client. Threads may share it."""

    def __init__(self, hooks: Hooks | None) -> None:
        self._hooks = hooks
        self._stats = Stats()
        self._lock = threading.Lock()

    def with_hooks(self, hooks: Hooks | None) -> Listener:
        """Another one that begins to count; None are the hooks of this one."""
        return Listener(hooks or self._hooks)

    @property
    def stats(self) -> Stats:
        """The counts as they are now."""
        with self._lock:
            return evolve(self._stats)

    def sent(self, request: HTTPRequest, attempt: int, channel: bool) -> None:
        """A request goes out."""
        with self._lock:
            if channel:
                self._stats.channels += 1
            else:
                self._stats.requests += 1
        if self._hooks and self._hooks.request:
            self._call(self._hooks.request, observing.RequestSent(request, attempt, channel))
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug("%s: %s %s, attempt %d", request.operation, request.method, request.target, attempt)

    def answered(self, request: HTTPRequest, attempt: int, answer: HTTPAnswer, seconds: float) -> None:
        """An answer has come."""
        recording.answered(request, answer)
        if self._hooks and self._hooks.response:
            id_ = answer.headers.get("x-request-id")
            event = observing.ResponseReceived(request, attempt, answer.status, seconds, id_)
            self._call(self._hooks.response, event)
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug("%s: status %d after %.3f s", request.operation, answer.status, seconds)

    def retrying(self, request: HTTPRequest, attempt: int, error: Error, pause: float) -> None:
        """There will be another attempt."""
        with self._lock:
            self._stats.retries += 1
        if self._hooks and self._hooks.retry:
            self._call(self._hooks.retry, observing.RetryPlanned(request, attempt, error, pause))
        _log.info("%s: attempt %d failed, again in %.2f s: %s", request.operation, attempt, pause, error)
        _note("retry", attempt, error)

    def reconnecting(self, request: HTTPRequest, attempt: int, error: Error | None, pause: float) -> None:
        """A feed will try to come back."""
        with self._lock:
            self._stats.reconnects += 1
        if self._hooks and self._hooks.reconnect:
            self._call(self._hooks.reconnect, observing.ReconnectPlanned(request, attempt, error, pause))
        _log.info("%s: connection lost, try %d to come back in %.2f s", request.operation, attempt, pause)

    @staticmethod
    def _call(hook: Callable[[Any], object], event: object) -> None:
        try:
            hook(event)
        except Exception:
            _log.exception("A hook has failed.")


def _api() -> Any:
    # a program without tracing pays nothing, and one with it has loaded the API already
    return sys.modules.get("opentelemetry.trace")


def span(row: Endpoint[Any, Any] | Channel[Any, Any], base_url: str) -> AbstractContextManager[None]:
    """A span around an operation, named as its row; nothing where OpenTelemetry is not in use."""
    api = _api()
    return nullcontext() if api is None else _span(api, row, base_url)


@contextmanager
def _span(api: Any, row: Endpoint[Any, Any] | Channel[Any, Any], base_url: str) -> Iterator[None]:
    parts = urlsplit(base_url)
    attributes = {
        "http.request.method": row.method,
        "url.template": row.path,
        "server.address": parts.hostname or "",
        "server.port": parts.port or (443 if parts.scheme == "https" else 80),
    }
    tracer = api.get_tracer("ecompute")
    with tracer.start_as_current_span(
        row.name,
        kind=api.SpanKind.CLIENT,
        attributes=attributes,
        record_exception=False,
        set_status_on_exception=False,
    ) as current:
        try:
            yield
        except Error as error:
            current.set_attribute("error.type", type(error).__name__)
            if isinstance(error, APIError):
                current.set_attribute("http.response.status_code", error.status)
            current.set_status(api.Status(api.StatusCode.ERROR, str(error)))
            raise


def _note(name: str, attempt: int, error: Error) -> None:
    api = _api()
    if api is not None:
        attributes = {"attempt": attempt, "error.type": type(error).__name__}
        api.get_current_span().add_event(name, attributes)
