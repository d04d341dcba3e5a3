"""The shape of the contract's rows: one row is one HTTP operation or one WebSocket.

A row says everything that both sides need: how to route and authorise a request, what its body holds, what
comes back and what can go wrong.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Any, Generic, TypeVar

import attrs
from attrs import field, frozen

from .problems import Code
from .rules import Rule
from .scopes import Action

Request = TypeVar("Request")
Response = TypeVar("Response")
Send = TypeVar("Send")
Receive = TypeVar("Receive")

_PLACE = "ecompute.place"
_RULE = "ecompute.rule"
_DEFAULT = "ecompute.default"


class Auth(StrEnum):
    """Which credentials open a row."""

    NONE = "none"
    ANY = "any"
    """A session or an API token; a row with a scope also needs that scope."""
    SESSION = "session"
    """A session only."""


def in_path() -> Any:
    """A request field that stands in the path."""
    return field(metadata={_PLACE: "path"})


def in_body(*, rule: Rule | None = None, repr: bool = True, **more: Any) -> Any:
    """A request field of the JSON body.

    `default`, when given, is what the server takes for a missing, null or zero value; the attribute is then
    None until a server has filled it in, and a client leaves it out.
    """
    metadata: dict[str, Any] = {_PLACE: "body", _RULE: rule}
    if "default" in more:
        metadata[_DEFAULT] = more["default"]
        return field(default=None, metadata=metadata, repr=repr)
    return field(metadata=metadata, repr=repr)


@frozen
class RequestField:
    """What a row's request class says about one of its fields."""

    name: str
    type: Any
    place: str
    rule: Rule | None
    has_default: bool
    default: Any


def request_fields(cls: type) -> tuple[RequestField, ...]:
    """The fields of a request class in their order, types resolved."""
    attrs.resolve_types(cls)
    return tuple(
        RequestField(
            name=a.name,
            type=a.type,
            place=a.metadata.get(_PLACE, "body"),
            rule=a.metadata.get(_RULE),
            has_default=_DEFAULT in a.metadata,
            default=a.metadata.get(_DEFAULT),
        )
        for a in attrs.fields(cls)
    )


_PARAMETER = re.compile(r"\{([a-z_]+)\}")


def path_parameters(path: str) -> tuple[str, ...]:
    """The names between braces in a path template, in their order."""
    return tuple(_PARAMETER.findall(path))


@frozen
class Endpoint(Generic[Request, Response]):
    """One HTTP operation.

    `name` is `<noun>.<verb>`, the client's method. `scope` is a template with `<uid>` and `<id>`; rows that
    need no scope have none. `errors` are those beyond what every row of its kind can answer.
    """

    name: str
    method: str
    path: str
    request: type[Request]
    response: type[Response]
    auth: Auth
    scope: str | None
    action: Action | None
    own_errors: tuple[Code, ...]
    summary: str

    @property
    def errors(self) -> tuple[Code, ...]:
        """Every error that this row can answer with, in the order in which they are checked."""
        return _errors(self.auth, self.scope, self.own_errors)

    @property
    def has_body(self) -> bool:
        """Whether the request carries a JSON body."""
        return any(f.place == "body" for f in request_fields(self.request))


@frozen
class Channel(Generic[Send, Receive]):
    """One WebSocket. Refusals come before the upgrade, as the HTTP answers that `errors` lists."""

    name: str
    path: str
    auth: Auth
    scope: str | None
    action: Action | None
    own_errors: tuple[Code, ...]
    summary: str
    send: type[Send]
    receive: type[Receive]
    method: str = "GET"

    @property
    def errors(self) -> tuple[Code, ...]:
        """Every error that can come before the upgrade, in the order in which they are checked."""
        return _errors(self.auth, self.scope, self.own_errors)


_COMMON = (Code.RATE_LIMITED, Code.INTERNAL, Code.UNAVAILABLE)


def _errors(auth: Auth, scope: str | None, own: tuple[Code, ...]) -> tuple[Code, ...]:
    codes = list(own)
    if auth is not Auth.NONE:
        codes.append(Code.UNAUTHENTICATED)
    if scope is not None or auth is Auth.SESSION:
        codes.append(Code.FORBIDDEN)
    order = list(Code)
    return tuple(sorted({*codes, *_COMMON}, key=order.index))
