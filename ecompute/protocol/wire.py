"""Between the table's rows and HTTP messages: a request becomes method, path and bytes, an answer becomes a
resource or an exception.

Nothing here sends; the credential is the transport's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from ecompute.contract.codec import check_shape, dump_json, load_answer, structure, write_request
from ecompute.contract.endpoint import Auth, Channel, Endpoint, request_fields
from ecompute.contract.problems import Fault, InvalidFields
from ecompute.contract.resources import Container, SSHKey
from ecompute.contract.scopes import CALLER, Grants, Scope
from ecompute.errors import Error, InvalidAnswer, InvalidArgument, Needed, error_class, one_line, told
from ecompute.exchange import HTTPAnswer as HTTPAnswer
from ecompute.exchange import HTTPRequest as HTTPRequest

from .context import honours_keys as honours_keys
from .ids import id_of, problem_of_id

Request = TypeVar("Request")
Response = TypeVar("Response")

Scopes = Grants | Mapping[str, Iterable[str]] | Mapping[Scope, Iterable[str]]
"""How a caller names what a token may do: scopes (or their texts) with the names of actions."""


def encode(
    endpoint: Endpoint[Request, Response],
    request: Request,
    caller: str | None = None,
    *,
    idempotency_key: str | None = None,
) -> HTTPRequest:
    """The HTTP request of a row, under a key if one is given. `caller` is what messages call the operation,
    None for the row's name.

    Raises:
        InvalidArgument: a field has the wrong type, or an id that no path can carry; every fault is listed.
    """
    name = caller or endpoint.name
    parameters = _checked(name, request)
    body = dump_json(write_request(request).body) if endpoint.has_body else None
    return HTTPRequest(
        operation=_operation(name, parameters),
        method=endpoint.method,
        target=_fill(endpoint.path, parameters),
        body=body,
        headers={} if idempotency_key is None else {"Idempotency-Key": idempotency_key},
    )


def encode_channel(channel: Channel[Any, Any], request: object, caller: str | None = None) -> HTTPRequest:
    """The request that opens a WebSocket, without the headers of the upgrade. `caller` is as for `encode`.

    Raises:
        InvalidArgument: as `encode`.
    """
    name = caller or channel.name
    parameters = _checked(name, request)
    target, query = _fill(channel.path, parameters), write_request(request).query
    return HTTPRequest(
        operation=_operation(name, parameters),
        method=channel.method,
        target=f"{target}?{urlencode(query)}" if query else target,
    )


def _checked(name: str, request: object) -> Mapping[str, str]:
    faults: list[Fault] = []
    parameters: dict[str, str] = {}
    for spec in request_fields(type(request)):
        if spec.place == "path":
            value = getattr(request, spec.name)
            if problem := problem_of_id(value, spec.type):
                faults.append(Fault(spec.name, problem))
            parameters[spec.name] = str(value)
    told_of = {fault.path for fault in faults}
    try:
        check_shape(request)
    except InvalidFields as error:
        faults += [fault for fault in error.faults if fault.path not in told_of]
    if faults:
        raise InvalidArgument(f"{name} was not sent: {told(faults)}.", fields=tuple(faults))
    return parameters


def _operation(name: str, parameters: Mapping[str, str]) -> str:
    return " ".join([name, *map(one_line, parameters.values())])


def _fill(template: str, parameters: Mapping[str, str]) -> str:
    return template.format(**{name: quote(value, safe="") for name, value in parameters.items()})


def decode(
    endpoint: Endpoint[Request, Response],
    sent: HTTPRequest,
    answer: HTTPAnswer,
    container: type[Container] = Container,
) -> Response:
    """The resource in an answer; `container` is the class that containers are made of.

    Raises:
        APIError: the answer is an error; the subclass is that of its code.
        InvalidAnswer: the answer is a success or a redirect, but not one of this API.
    """
    if answer.status != HTTPStatus.OK:
        raise refusal(sent, answer)
    try:
        return structure(_json(sent, answer), endpoint.response, container)
    except InvalidFields as error:
        raise InvalidAnswer(
            f"The answer to {sent.operation} does not fit the API: {one_line(told(error.faults[:5]))}.",
            status=answer.status,
            fields=error.faults,
        ) from None


def acknowledged(endpoint: Endpoint[Request, Response]) -> Response:
    """The answer of a row that has nothing else to tell."""
    return structure({"status": "ok"}, endpoint.response)


def public_request(endpoint: Endpoint[Any, Any], sent: HTTPRequest) -> HTTPRequest:
    """A request as an exception may keep it: without the password of a login."""
    return HTTPRequest(sent.operation, sent.method, sent.target) if endpoint.auth is Auth.NONE else sent


def public_answer(endpoint: Endpoint[Any, Any], answer: HTTPAnswer | None) -> HTTPAnswer | None:
    """An answer as an exception may keep it: a success that tells a new token leaves its body here."""
    if answer is None:
        return None
    secret = answer.status < HTTPStatus.BAD_REQUEST and hasattr(endpoint.response, "token")
    return HTTPAnswer(answer.status, dict(answer.headers), b"" if secret else answer.body)


def _json(sent: HTTPRequest, answer: HTTPAnswer) -> Any:
    try:
        return load_answer(answer.body)
    except InvalidFields:
        kind = one_line(answer.headers.get("content-type", "")).partition(";")[0] or "no content type"
        raise InvalidAnswer(
            f"The answer to {sent.operation} is no JSON (status {answer.status}, {kind}): "
            "check that base_url is the API's.",
            status=answer.status,
        ) from None


def refusal(sent: HTTPRequest, answer: HTTPAnswer) -> Error:
    """The exception for an answer that is no success, to be raised by the caller."""
    if answer.status < HTTPStatus.BAD_REQUEST:
        return _no_error(sent, answer)
    try:
        body = load_answer(answer.body)
    except InvalidFields:
        body = None
    body = body if isinstance(body, dict) else {}
    code, text = body.get("code"), body.get("error")
    code = one_line(code) if isinstance(code, str) else ""
    message = one_line(text) if isinstance(text, str) else ""
    return error_class(answer.status, code)(
        message or _phrase(answer.status),
        status=answer.status,
        code=code,
        operation=sent.operation,
        request_id=one_line(answer.headers.get("x-request-id", "")) or None,
        fields=_faults(body.get("fields")),
        needed=_needed(body.get("needed")),
        retry_after=retry_after(answer.headers),
    )


def _no_error(sent: HTTPRequest, answer: HTTPAnswer) -> Error:
    if 300 <= answer.status < 400:
        # following would hand the credential to an address that nobody chose
        place = one_line(answer.headers.get("location", "elsewhere")).partition("?")[0]
        return InvalidAnswer(
            f"The server redirects {sent.operation} to {place}, which is not followed: set base_url to the "
            "final address.",
            status=answer.status,
        )
    return InvalidAnswer(
        f"The answer to {sent.operation} has the status {answer.status}, which the API does not use.",
        status=answer.status,
    )


def _phrase(status: int) -> str:
    try:
        return f"The server answered {HTTPStatus(status).phrase}"
    except ValueError:
        return "The server answered with an error"


def _faults(value: Any) -> tuple[Fault, ...]:
    if not isinstance(value, list):
        return ()
    return tuple(
        Fault(one_line(str(item.get("path", ""))), one_line(str(item.get("problem", ""))))
        for item in value
        if isinstance(item, dict)
    )


def _needed(value: Any) -> Needed | None:
    if isinstance(value, dict) and "scope" in value and "action" in value:
        return Needed(one_line(str(value["scope"])), one_line(str(value["action"])))
    return None


_LONGEST_WISH = 1e6
"""Seconds beyond which a wish to wait makes no difference: nothing here waits as long."""


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds that an answer asks to wait (RFC 9110, 10.2.3), or None.

    A date is read against the answer's own `Date`, so that clocks need not agree.
    """
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdecimal():
        return min(float(value), _LONGEST_WISH)
    until = _date(value)
    now = until and _date(headers.get("date", ""))
    return None if until is None or now is None else max(0.0, (until - now).total_seconds())


def _date(value: str) -> datetime | None:
    if not value:
        return None
    from email.utils import parsedate_to_datetime  # late: few answers have one to be read

    try:
        moment = parsedate_to_datetime(value)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def granted(scopes: Any) -> Any:
    """A request's scopes from `Scopes`; what is none is left for the check of shapes to refuse.

    The grammar is the server's matter.
    """
    if isinstance(scopes, Grants):
        scopes = scopes.to_dict()
    if not isinstance(scopes, Mapping):
        return scopes
    return {str(s) if isinstance(s, Scope) else s: _actions(actions) for s, actions in scopes.items()}


def _actions(value: Any) -> Any:
    actions = listed(value)
    if not isinstance(actions, tuple):
        return actions
    return tuple(str(action) if isinstance(action, str) else action for action in actions)


def names_caller(scopes: Any) -> bool:
    """Whether a scope leaves open whose it is."""
    return isinstance(scopes, Mapping) and any(CALLER in str(scope).split(".") for scope in scopes)


def for_user(scopes: Mapping[str, Any], user_id: str) -> Mapping[str, Any]:
    """Scopes of one user, where they were left open."""
    return {scope.replace(CALLER, user_id): actions for scope, actions in scopes.items()}


def key_ids(value: Any) -> Any:
    """The ids of one key or several, each by its id or by itself."""
    if isinstance(value, int | SSHKey) and not isinstance(value, bool):
        return (id_of(value, SSHKey),)
    keys = listed(value)
    return tuple(id_of(key, SSHKey) for key in keys) if isinstance(keys, tuple) else keys


def listed(value: Any) -> Any:
    """A request's list from any kind of sequence; what is none is left for the check of shapes to refuse."""
    if isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping):
        return tuple(value)
    return value
