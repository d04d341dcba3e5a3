"""The shape of the contract's rows: one row is one HTTP operation or one WebSocket.

A row says everything that both sides need: how to route and authorise a request, what its body holds, what
comes back and what can go wrong.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from functools import cached_property
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
_EMPTY = "ecompute.empty"


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


def in_body(*, rule: Rule | None = None, repr: bool = True, empty: tuple[Any, ...] = (), **more: Any) -> Any:
    """A request field of the JSON body.

    `default`, when given, is what the server takes for a missing or null value, and for those in `empty`; the
    attribute is then None until a server has filled it in, and a client leaves it out.
    """
    return _field("body", rule, repr, empty, more)


def in_query(*, rule: Rule | None = None, default: Any) -> Any:
    """A request field of the query string, which may be missing."""
    return _field("query", rule, True, (), {"default": default})


def _field(place: str, rule: Rule | None, repr: bool, empty: tuple[Any, ...], more: Mapping[str, Any]) -> Any:
    metadata: dict[str, Any] = {_PLACE: place, _RULE: rule, _EMPTY: empty}
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
    empty: tuple[Any, ...]


_fields_by_class: dict[type, tuple[RequestField, ...]] = {}


def request_fields(cls: type) -> tuple[RequestField, ...]:
    """The fields of a request class in their order, types resolved."""
    if cls not in _fields_by_class:
        attrs.resolve_types(cls)
        _fields_by_class[cls] = tuple(_request_field(a) for a in attrs.fields(cls))
    return _fields_by_class[cls]


def _request_field(a: attrs.Attribute[Any]) -> RequestField:
    return RequestField(
        name=a.name,
        type=a.type,
        place=a.metadata.get(_PLACE, "body"),
        rule=a.metadata.get(_RULE),
        has_default=_DEFAULT in a.metadata,
        default=a.metadata.get(_DEFAULT),
        empty=a.metadata.get(_EMPTY, ()),
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

    @cached_property
    def errors(self) -> tuple[Code, ...]:
        """Every error that this row can answer with, in the order in which they are checked."""
        keyed = (Code.CONFLICT,) if self.takes_idempotency_key else ()
        return _errors(self.auth, self.scope, (*self.own_errors, *keyed))

    @cached_property
    def takes_idempotency_key(self) -> bool:
        """Whether an `Idempotency-Key` makes this request safe to repeat."""
        return self.method == "POST" and self.path.startswith("/compute/")

    @cached_property
    def has_body(self) -> bool:
        """Whether the request carries a JSON body."""
        return any(f.place == "body" for f in request_fields(self.request))


@frozen
class Channel(Generic[Send, Receive]):
    """One WebSocket. Refusals come before the upgrade, as the HTTP answers that `errors` lists.

    `send` and `receive` are what travels from and to the client; `subprotocols` those that may be agreed on
    (RFC 6455 §1.9), each with messages of its own.
    """

    name: str
    path: str
    request: type[Any]
    auth: Auth
    scope: str | None
    action: Action | None
    own_errors: tuple[Code, ...]
    summary: str
    send: type[Send]
    receive: type[Receive]
    subprotocols: tuple[str, ...] = ()
    method: str = "GET"

    @cached_property
    def errors(self) -> tuple[Code, ...]:
        """Every error that can come before the upgrade, in the order in which they are checked."""
        return _errors(self.auth, self.scope, self.own_errors)


_COMMON = (Code.INVALID_REQUEST, Code.RATE_LIMITED, Code.INTERNAL, Code.UNAVAILABLE)


def _errors(auth: Auth, scope: str | None, own: tuple[Code, ...]) -> tuple[Code, ...]:
    codes = list(own)
    if auth is not Auth.NONE:
        codes.append(Code.UNAUTHENTICATED)
    if scope is not None or auth is Auth.SESSION:
        codes.append(Code.FORBIDDEN)
    order = list(Code)
    return tuple(sorted({*codes, *_COMMON}, key=order.index))
