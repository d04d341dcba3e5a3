"""Everything that this library raises on purpose.

    Error
    ├── APIError                    the server answered, and the answer is no success
    │   ├── InvalidRequest      400 a rule is broken; `.fields` lists every fault
    │   ├── Unauthenticated     401 no credential, or one that is malformed, expired or revoked
    │   ├── Forbidden           403 the token lacks a scope; `.needed` names it
    │   ├── NotFound            404 no such thing, or another user's
    │   ├── MethodNotAllowed    405 the server knows the path but not this operation on it
    │   ├── Conflict            409 not possible in the present state
    │   │   ├── LimitReached        the user has as many as allowed
    │   │   └── NotRunning          only a running container can do this
    │   ├── TooLarge            413 the request is larger than the server reads
    │   ├── RateLimited         429 too many requests; `.retry_after` says how long to wait
    │   ├── InternalError       500 a bug of the server
    │   └── Unavailable         503 the server or its host is not ready now
    ├── ConnectError                there was no answer, or a connection broke (a ConnectionError)
    ├── InvalidAnswer               there was an answer, but not one of this API
    ├── OutcomeUnknown              a create was sent and its answer lost: it may or may not have happened
    ├── DeadlineExceeded            the time given was not enough (a TimeoutError)
    ├── ContainerFailed             a container that was waited for has failed
    ├── CommandFailed               a command ended with another status than 0; `.result` has its output
    ├── Unsupported                 this server cannot do that
    ├── InvalidArgument             refused before anything was sent (a ValueError)
    │   ├── MissingServer           neither arguments nor environment nor profile name a server
    │   └── MissingToken            nothing gives a token for the server
    └── Closed                      a client, feed, view or terminal was used after its end (a RuntimeError)

No other library's exception leaves a public call, and no message holds a token, a password or a body. All of
them pickle. An error of the server with a code that this version does not know is the class of its status, or
a plain `APIError`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from math import isfinite
from typing import Any, ClassVar, Self

from attrs import field, frozen

from .contract.problems import PROBLEMS, Code, Fault
from .exchange import HTTPAnswer, HTTPRequest
from .shown import Shown

MAX_MESSAGE = 500
MAX_SHOWN = 60
"""Bytes of a command's output that its result shows of itself."""

# an API token of this service, or a JSON Web Token (RFC 7519), whose first part is an object in base64url
_TOKEN = re.compile(r"\s*(ecloud_|eyJ[\w-]*\.[\w-]*\.[\w-]*\s*$)", re.ASCII)


def _restore(cls: type[Error], args: tuple[Any, ...], state: dict[str, Any]) -> Error:
    error = cls.__new__(cls, *args)
    error.args = args  # an OSError takes them in __init__ only
    error.__dict__.update(state)
    return error


def _beginning(data: bytes) -> str:
    return repr(data) if len(data) <= MAX_SHOWN else f"{data[:MAX_SHOWN]!r}… ({len(data)} bytes)"


class Error(Shown, Exception):
    """The root of the library's exceptions; `str()` is one sentence for a person.

    `operation` is what was tried (`containers.stop abc12345`), empty outside of calls; `request` what was
    sent for it and `response` what came back, as far as there were any; `request_id` names the request in the
    server's log. Bodies that hold a password or a new token are left out.
    """

    operation: str = ""
    request: HTTPRequest | None = None
    response: HTTPAnswer | None = None
    request_id: str | None = None

    def __init__(self, message: str) -> None:
        super().__init__(message)

    def __reduce__(self) -> tuple[Any, ...]:
        # BaseException would call the class with args alone, which drops keyword arguments
        return _restore, (type(self), self.args, self.__dict__.copy())


@frozen
class Needed:
    """What a refused credential lacked: `action` on `scope`."""

    scope: str
    action: str


class APIError(Error):
    """The server's answer says no.

    `status` is the HTTP status, `code` the machine word of the error (empty when the answer had none, as from
    a proxy), `message` the server's sentence, `fields` every fault of an invalid request, `needed` the
    missing scope, `retry_after` the seconds that the server asks to wait.
    """

    advice: ClassVar[str] = ""

    def __init__(
        self,
        message: str,
        *,
        status: int,
        code: str = "",
        operation: str = "",
        request_id: str | None = None,
        fields: tuple[Fault, ...] = (),
        needed: Needed | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.operation = operation
        self.request_id = request_id
        self.fields = fields
        self.needed = needed
        self.retry_after = retry_after

    def __str__(self) -> str:
        subject = f"{self.operation} was refused: " if self.operation else ""
        parts = [self._sentence().rstrip("."), self._details(), self.advice]
        source = f"{self.status} {self.code}".rstrip()
        if self.request_id:
            source += f", request {self.request_id}"
        return f"{subject}{'; '.join(part for part in parts if part)} ({source})."

    def _sentence(self) -> str:
        return self.message

    def _details(self) -> str:
        # a gateway's own answer, which no class of the API stands for
        return "try again later" if not self.code and self.status in (502, 504) else ""


class InvalidRequest(APIError):
    """The server found faults in what was sent; `fields` lists all of them."""

    def _sentence(self) -> str:
        # a server's own sentence may hold some of the faults, or none
        return one_line(told(self.fields)) or self.message


class Unauthenticated(APIError):
    """The server does not accept the credential, or a login's name and password."""

    def _details(self) -> str:
        # who tries to log in has no token yet, and knows what was typed
        return "" if self.operation == "login" else "check the token or log in again"


class Forbidden(APIError):
    """The credential is valid but may not do this; `needed` says what it lacks, when the server told."""

    def _details(self) -> str:
        if self.needed is None:
            # only a session may look after tokens
            session = self.operation.partition(".")[0] == "tokens"
            return "`ecompute.login()` and `ecompute login` give a session's token" if session else ""
        return f"use a token that grants {self.needed.action!r} on {self.needed.scope!r}"


class NotFound(APIError):
    """Nothing of the caller's has this id; another user's things look the same."""

    def _details(self) -> str:
        name, _, subject = self.operation.partition(" ")
        if not subject:
            return "check that the base URL is that of the API"
        what = "the id and the port" if name == "ingress.remove" else "the id"
        return f"check {what}, and whose token this is"


class MethodNotAllowed(APIError):
    """The server knows the path but not this operation on it: probably an older server."""

    advice = "check that the base URL is the API's and that the server is not older than this library"


class Conflict(APIError):
    """Not possible in the present state of things."""


class LimitReached(Conflict):
    """The user has as many of these as allowed."""

    advice = "delete one that is no longer needed, or ask for a higher limit"


class NotRunning(Conflict):
    """Only a running container can do this."""

    advice = "start the container and wait until it is running"


class TooLarge(APIError):
    """The request is larger than the server reads."""

    advice = "send less at once"


class RateLimited(APIError):
    """Too many requests, also after the retries that the deadline allowed."""

    def _details(self) -> str:
        return "" if self.retry_after is None else f"wait {seconds(self.retry_after)} before the next try"


class InternalError(APIError):
    """The server has a bug."""

    advice = "its operator finds the cause in the log by the request's id"


class Unavailable(APIError):
    """The server or its host is not ready now."""

    advice = "try again later"


ERROR_CLASSES: Mapping[Code, type[APIError]] = {
    Code.INVALID_REQUEST: InvalidRequest,
    Code.UNAUTHENTICATED: Unauthenticated,
    Code.FORBIDDEN: Forbidden,
    Code.NOT_FOUND: NotFound,
    Code.METHOD_NOT_ALLOWED: MethodNotAllowed,
    Code.CONFLICT: Conflict,
    Code.LIMIT_REACHED: LimitReached,
    Code.NOT_RUNNING: NotRunning,
    Code.TOO_LARGE: TooLarge,
    Code.RATE_LIMITED: RateLimited,
    Code.INTERNAL: InternalError,
    Code.UNAVAILABLE: Unavailable,
}
"""The class of each row of the error table."""


def error_class(status: int, code: str) -> type[APIError]:
    """The class for an answer: by its code, else by its status (409 is `Conflict`), else `APIError`."""
    for problem in PROBLEMS.values():
        if problem.code == code:
            return ERROR_CLASSES[problem.code]
    # the table has the general meaning of a status before its special ones
    of_status = (p.code for p in PROBLEMS.values() if p.status == status)
    first = next(of_status, None)
    return APIError if first is None else ERROR_CLASSES[first]


class ConnectError(Error, ConnectionError):
    """The server could not be reached, or a connection broke before its answer or its end.

    `maybe_sent` says whether the server may have received the request; `timed_out` whether it was silent
    rather than gone; `close_code` is the WebSocket close code (RFC 6455, 7.4), where there was one.
    """

    def __init__(
        self,
        message: str,
        *,
        maybe_sent: bool = False,
        timed_out: bool = False,
        close_code: int | None = None,
    ) -> None:
        super().__init__(message)
        self.maybe_sent = maybe_sent
        self.timed_out = timed_out
        self.close_code = close_code


class InvalidAnswer(Error):
    """What came back is not of this API: a web page, torn JSON, missing fields, a redirect.

    `status` is the HTTP status, or None on a WebSocket; `fields` lists what was wrong with JSON that could be
    read.
    """

    def __init__(self, message: str, *, status: int | None = None, fields: tuple[Fault, ...] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.fields = fields


class OutcomeUnknown(Error):
    """A request that must not be repeated was sent, and no answer to it could be read.

    What it asks for may have happened. `key` is the idempotency key that it was sent under, if any: as long
    as the server keeps the answer, `client.resolve(error)` repeats the request under that key and tells what
    came of it, also from another process: `to_json` and `from_json` carry it there. Without a key, or when
    the server does not honour keys, list before trying again.

    `base_url` is the server, `user_id` whose request it was, None where the server did not tell in time, and
    `sent_at` when it was sent first, in seconds since the epoch. `__cause__` tells how the answer was lost.
    """

    request: HTTPRequest

    def __init__(
        self,
        message: str,
        *,
        operation: str,
        request: HTTPRequest,
        key: str | None = None,
        base_url: str = "",
        sent_at: float = 0.0,
        user_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.operation = operation
        # never None here
        self.request = request  # pyright: ignore[reportIncompatibleVariableOverride]
        self.key = key
        self.base_url = base_url
        self.sent_at = sent_at
        self.user_id = user_id

    def to_json(self) -> str:
        """All that `resolve` needs, as one line of JSON. It holds what the request holds, no credential."""
        body = self.request.body
        return json.dumps(
            {
                "message": str(self),
                "operation": self.operation,
                "method": self.request.method,
                "target": self.request.target,
                "body": None if body is None else body.decode(),
                "key": self.key,
                "base_url": self.base_url,
                "sent_at": self.sent_at,
                "user_id": self.user_id,
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Self:
        """What `to_json` has written.

        Raises:
            InvalidArgument: the text is something else.
        """
        try:
            told = json.loads(text)
            message, operation, method, target = (
                _text(told[name]) for name in ("message", "operation", "method", "target")
            )
            body = None if told["body"] is None else _text(told["body"]).encode()
            key = None if told["key"] is None else _text(told["key"])
            base_url, sent_at = _text(told["base_url"]), float(told["sent_at"])
            # earlier versions did not write it
            user_id = None if told.get("user_id") is None else _text(told["user_id"])
            if not isfinite(sent_at) or not (key or "").isascii():
                raise ValueError
        except (ValueError, TypeError, LookupError, OverflowError, RecursionError):
            raise InvalidArgument("This is not what OutcomeUnknown.to_json writes.") from None
        headers = {} if key is None else {"Idempotency-Key": key}
        request = HTTPRequest(operation, method, target, body, headers)
        return cls(
            message,
            operation=operation,
            request=request,
            key=key,
            base_url=base_url,
            sent_at=sent_at,
            user_id=user_id,
        )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


class DeadlineExceeded(Error, TimeoutError):
    """The time given for a call was over before its end.

    When a container was waited for, `container_id` is the one that was missing, the first of several, and
    `last_status` the status that it was last seen in.
    """

    def __init__(
        self, message: str, *, last_status: str | None = None, container_id: str | None = None
    ) -> None:
        super().__init__(message)
        self.last_status = last_status
        self.container_id = container_id


class ContainerFailed(Error):
    """A container became `failed` while another status was waited for; `reason` is the server's, if told."""

    def __init__(self, message: str, *, container_id: str, reason: str | None = None) -> None:
        super().__init__(message)
        self.container_id = container_id
        self.reason = reason


@frozen
class CommandResult(Shown):
    """How a command ended: its exit status (128 + number for a signal, as a shell tells it), and all that it
    wrote to standard output and standard error. `repr` shows the beginning of both.
    """

    exit_status: int
    output: bytes = field(repr=_beginning)
    error: bytes = field(repr=_beginning)

    @property
    def text(self) -> str:
        """The output as text; what is no UTF-8 becomes U+FFFD."""
        return self.output.decode("utf-8", "replace")


class CommandFailed(Error):
    """A command that was to be checked ended with another status than 0; `result` is all that it left."""

    def __init__(self, message: str, *, result: CommandResult) -> None:
        super().__init__(message)
        self.result = result


class Unsupported(Error):
    """The server does not offer this."""


class InvalidArgument(Error, ValueError):
    """An argument has the wrong type or form; nothing was sent. `fields` lists every fault."""

    def __init__(self, message: str, *, fields: tuple[Fault, ...] = ()) -> None:
        super().__init__(message)
        self.fields = fields


class MissingServer(InvalidArgument):
    """No argument, variable or profile says which server to use."""


class MissingToken(InvalidArgument):
    """No argument, variable or profile gives a token for the server."""


class Closed(Error, RuntimeError):
    """A client, feed, view or terminal was used after its end, or before it was entered."""


def about(error: Error, request: HTTPRequest, response: HTTPAnswer | None = None) -> None:
    """Note in an exception what it is about, unless that is known better."""
    error.operation = error.operation or request.operation
    error.request = error.request or request
    if response is not None and error.response is None:
        error.response = response
        error.request_id = error.request_id or one_line(response.headers.get("x-request-id", "")) or None


def told(faults: Iterable[Fault]) -> str:
    """Faults as a part of a sentence."""
    return ", ".join(f"{fault.path} {fault.problem}".strip() for fault in faults)


def seconds(number: float) -> str:
    """A length of time for a message."""
    return "1 second" if number == 1 else f"{number:g} seconds"


def within(timeout: float | None) -> str:
    """The end of a sentence about something that did not happen; None has no end to name."""
    return "in time" if timeout is None else f"within {seconds(timeout)}"


def is_token(text: str) -> bool:
    """Whether a text looks like a credential, which no message may show and no address may hold."""
    return _TOKEN.match(text) is not None


def one_line(text: str) -> str:
    """Foreign text, fit for a message: one line, printable, bounded."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * MAX_MESSAGE]).split())
    return line if len(line) <= MAX_MESSAGE else line[: MAX_MESSAGE - 1] + "…"
