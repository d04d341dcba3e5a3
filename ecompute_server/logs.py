"""Structured logs on top of Python's `logging`: an application that embeds the server decides where they go.

`serve` sends them to standard error: for people at a terminal, as JSON lines elsewhere. What is logged while
a request is served carries its id, and its user and container as soon as they are known. A query string, a
header or a body is never logged: each may hold a credential.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from contextvars import ContextVar, Token
from threading import RLock
from typing import TYPE_CHECKING, Any

import structlog

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

UNKNOWN_ROW = "unknown"
"""Stands for every path that is none of the server's: what clients make up is no label."""

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_SWITCHING_PROTOCOLS, _UNAVAILABLE = 101, 503  # RFC 9110 §15.2.2, §15.6.4

_IGNORED_SECONDS = 60.0
_MOST_TEXT = 200


class RequestContext:
    """What is known of a request by now; a `with` block makes it the current one of its task.

    Tasks that are started inside the block see the same object. It costs a tenth of what structlog's own
    context variables do, on every request.
    """

    __slots__ = ("_before", "container", "request", "row", "user")

    def __init__(self, request: str) -> None:
        self.request = request
        self.row = UNKNOWN_ROW
        self.user = ""
        self.container = ""
        self._before: Token[RequestContext | None] | None = None

    def __enter__(self) -> RequestContext:
        self._before = _current.set(self)
        return self

    def __exit__(self, *error: object) -> None:
        assert self._before is not None
        _current.reset(self._before)


_current: ContextVar[RequestContext | None] = ContextVar("request", default=None)


def current_request() -> RequestContext | None:
    """The request that is being served here, if any: to be filled in by whoever learns more of it."""
    return _current.get()


def note(*, user: str = "", container: str = "") -> None:
    """Say whom or what the request at hand has turned out to be about."""
    request = _current.get()
    if request is not None:
        request.user, request.container = user or request.user, container or request.container


def _add_request(_: Any, __: str, line: structlog.typing.EventDict) -> structlog.typing.EventDict:
    request = _current.get()
    if request is not None:
        for name in ("request", "row", "user", "container"):
            if value := getattr(request, name):
                line.setdefault(name, value)
    return line


_SHARED: list[structlog.typing.Processor] = [
    structlog.contextvars.merge_contextvars,
    _add_request,
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]


def get_logger(name: str) -> Any:
    """A structured logger below `ecompute_server`, whatever the application does with structlog itself."""
    # bound at once: unbound, each call would make a new logger, also one that says nothing at this level
    return structlog.wrap_logger(
        logging.getLogger(name),
        wrapper_class=structlog.stdlib.BoundLogger,
        processors=[
            structlog.stdlib.filter_by_level,
            *_SHARED,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
    ).bind()


def known_method(method: str) -> str:
    """The method, or one word for all that clients make up."""
    return method if method in _METHODS else "other"


def request_ended(log: Any, row: str, method: str, status: int, seconds: float) -> None:
    """Log that a request was answered: a fault of the server (5xx) at error; what may change something, a
    WebSocket (101) and a refusal for the moment (503) at info; the rest at debug.

    Nearly free where the level is not logged.
    """
    if status >= 500 and status != _UNAVAILABLE:
        level = logging.ERROR
    elif method in _READING and status not in (_SWITCHING_PROTOCOLS, _UNAVAILABLE):
        level = logging.DEBUG
    else:
        level = logging.INFO
    if log.isEnabledFor(level):
        log.log(
            level, "request", row=row, method=known_method(method), status=status, ms=round(seconds * 1e3, 1)
        )


def set_up(level: str) -> None:
    """Send the server's log, and warnings of the libraries below it, to standard error."""
    if sys.stderr is None:
        # started without one: there is nowhere to tell anything
        logging.disable()
        return
    terminal = sys.stderr.isatty()
    renderer: structlog.typing.Processor = (
        # without the values of variables, which may be credentials
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        if terminal
        else structlog.processors.JSONRenderer()
    )
    processors: list[structlog.typing.Processor] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        *([] if terminal else [structlog.processors.format_exc_info]),
        renderer,
    ]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(processors=processors, foreign_pre_chain=_SHARED)
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("ecompute_server").setLevel(level.upper())


_log = get_logger(__name__)


class IgnoredErrors:
    """A `sys.unraisablehook`: errors that nobody can catch, such as a finalizer's, as lines of the log.

    Python's own prints a traceback each time, also when clients cause the error, and the object at hand,
    which may be what they sent: for a TLS hello whose server name is not ASCII it is that name. Here each
    type of error is told once a minute at most, with the first one's text and the number of those that were
    left out before; where it happened is told at debug.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # a finalizer may fail at any point of any thread, also in here
        self._lock = RLock()
        self._told: dict[str, float] = {}
        self._left_out: dict[str, int] = {}

    def __call__(self, ignored: UnraisableHookArgs) -> None:
        kind = ignored.exc_type.__qualname__
        with self._lock:
            now = self._clock()
            told = self._told.get(kind)
            if told is not None and now - told < _IGNORED_SECONDS:
                self._left_out[kind] = self._left_out.get(kind, 0) + 1
                return
            self._told[kind] = now
            left_out = self._left_out.pop(kind, 0)
        line: dict[str, Any] = {"error": kind, "text": _text_of(ignored.exc_value)}
        if left_out:
            line["left_out"] = left_out
        if _log.isEnabledFor(logging.DEBUG):
            line["exc_info"] = (ignored.exc_type, ignored.exc_value, ignored.exc_traceback)
        _log.warning("an error was ignored", **line)


def _text_of(error: BaseException | None) -> str:
    try:
        return str(error or "")[:_MOST_TEXT]
    except Exception:
        return ""
