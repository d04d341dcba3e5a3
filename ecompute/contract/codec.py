"""Between the wire's JSON and the contract's classes.

Reading is strict about JSON types (no number for a flag, no `1.0` for an integer), tolerant about unknown
fields, and reports every fault with its path. `readers` read, `converter` writes and finds the faults.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NoReturn, TypeVar, get_args

import attrs
from attrs import frozen

from .endpoint import RequestField, request_fields
from .messages import CONTROL_TYPES, MESSAGE_TYPES, ContainerSnapshot, ControlMessage, Execute, FeedMessage
from .problems import Fault, InvalidFields, dotted
from .readers import Unfit, reader
from .resources import Container
from .rules import Bounds, Broken

T = TypeVar("T")

_NOTHING: Mapping[str, str] = {}
_BEYOND = 10**18


def structure(data: Any, cls: type[T], into: type | None = None) -> T:
    """Read a resource from decoded JSON. `into`, a subclass of a class of the contract, is made in its place
    wherever that is told of, lists included; fields of its own have their defaults.

    Raises:
        InvalidFields: something is missing or of the wrong type; every fault with its path.
    """
    made: T = _read(data, cls, into)
    return made


def _read(data: Any, kind: Any, into: type | None = None) -> Any:
    try:
        return reader(kind, into)(data)
    except (TypeError, ValueError):
        pass
    from . import converter  # late: cattrs takes a while to load

    # says what is wrong
    return converter.structured(data, kind)


def unstructure(value: Any) -> Any:
    """The JSON form of a resource: fields without a value are left out, unknown ones are kept. A container
    that can act has the form of one that cannot.
    """
    from . import converter  # late: cattrs takes a while to load

    return converter.unstructure(value)


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Unfit("has the same name twice in one object")
    return found


def _no_constant(_: str) -> NoReturn:
    raise Unfit("holds a number that JSON does not know")


# made once: a decoder takes longer to make than to read a short body
_STRICT = json.JSONDecoder(object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
_LENIENT = json.JSONDecoder(parse_constant=_no_constant)


def load_json(body: bytes) -> Any:
    """Decode JSON as strictly as RFC 8259 allows: UTF-8, no duplicate names, no NaN, no endless nesting.

    Raises:
        InvalidFields: one fault, about the body as a whole.
    """
    return _load(body, _STRICT)


def load_answer(body: bytes | str) -> Any:
    """Decode what a server has answered: as `load_json`, but of two equal names the last one counts, since
    looking at each takes twice as long, and a client has nothing to defend by it.

    Raises:
        InvalidFields: as `load_json`.
    """
    return _load(body, _LENIENT)


def _load(body: bytes | str, decoder: json.JSONDecoder) -> Any:
    try:
        return decoder.decode(body if isinstance(body, str) else body.decode("utf-8"))
    except UnicodeDecodeError:
        problem = "The body is not valid UTF-8."
    except Unfit as error:
        problem = f"The body {error}."
    except RecursionError:
        problem = "The body is nested too deeply."
    except ValueError:
        problem = "The body is not valid JSON."
        if not body.strip():
            problem = "The body is empty; a JSON object is needed."
    raise InvalidFields((Fault("", problem),))


def dump_json(data: Any) -> bytes:
    """Encode to compact UTF-8 JSON."""
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()


def read_request(
    cls: type[T],
    path: Mapping[str, str],
    body: Any,
    bounds: Bounds | None,
    query: Mapping[str, str] = _NOTHING,
) -> T:
    """Make a request from the path's parameters, the decoded body and the query, checked and with the
    defaults filled in.

    With `bounds` None only shapes are checked and no default is filled in: the client's half.

    Raises:
        InvalidFields: every fault of path, body and query.
    """
    if not isinstance(body, Mapping):
        raise InvalidFields((Fault("", "The body must be a JSON object."),))
    values: dict[str, Any] = {}
    faults: list[Fault] = []
    for spec in request_fields(cls):
        try:
            values[spec.name] = _read_field(spec, path, body, query, bounds)
        except InvalidFields as error:
            faults += [Fault(f"{spec.name}{dotted(f.path)}", f.problem) for f in error.faults]
        except (Broken, Unfit) as error:
            faults.append(Fault(spec.name, str(error)))
    if faults:
        raise InvalidFields(tuple(faults))
    return cls(**values)


def _read_field(
    spec: RequestField,
    path: Mapping[str, str],
    body: Mapping[str, Any],
    query: Mapping[str, str],
    bounds: Bounds | None,
) -> Any:
    if spec.place == "path":
        return _read_parameter(spec, path[spec.name])
    if spec.place == "query":
        if spec.name not in query:
            return spec.default if bounds is not None else None
        value = _read_parameter(spec, query[spec.name])
        return spec.rule(value, bounds) if spec.rule and bounds is not None else value
    raw = body.get(spec.name)
    if spec.has_default and (raw is None or (bounds is not None and _is_one_of(raw, spec.empty))):
        return spec.default if bounds is not None else None
    if spec.name not in body:
        raise Unfit("is required")
    value = _read(raw, spec.type)
    return spec.rule(value, bounds) if spec.rule and bounds is not None else value


def _is_one_of(raw: Any, empty: tuple[Any, ...]) -> bool:
    # 0, 0.0 and False are equal in Python, and not the same in JSON
    return any(type(raw) is type(one) and raw == one for one in empty)


def _read_parameter(spec: RequestField, raw: str) -> Any:
    if int not in (spec.type, *get_args(spec.type)):
        return raw
    # int() would also take '+1', ' 1', '1_0' and digits of other scripts
    digits = raw.removeprefix("-")
    if not (digits.isascii() and digits.isdecimal()):
        raise Unfit("must be an integer")
    # nothing has a number beyond, and the database takes none
    return int(raw) if len(digits) <= 18 else _BEYOND


@frozen
class Written:
    """The parts of a request on the wire."""

    path: dict[str, str]
    query: dict[str, str]
    body: dict[str, Any]


def write_request(request: Any) -> Written:
    """Take a request apart; fields of body and query without a value are left out."""
    written = Written({}, {}, {})
    for spec in request_fields(type(request)):
        value = getattr(request, spec.name)
        if spec.place == "path":
            written.path[spec.name] = str(value)
        elif value is None:
            continue
        elif spec.place == "query":
            written.query[spec.name] = str(value)
        else:
            written.body[spec.name] = _plain(value)
    return written


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    return value


def check_shape(request: T) -> T:
    """Check a request's types before it is sent; rules are the server's.

    Raises:
        InvalidFields: every field of the wrong type.
    """
    written = write_request(request)
    read_request(type(request), written.path, written.body, None, written.query)
    return request


def write_message(message: FeedMessage) -> dict[str, Any]:
    """The JSON form of a feed message."""
    type_ = next(name for name, cls in MESSAGE_TYPES.items() if isinstance(message, cls))
    if isinstance(message, ContainerSnapshot):
        return {"type": type_, "data": [unstructure(c) for c in message.containers]}
    return {"type": type_, "data": unstructure(message)}


def read_news(text: str, into: type | None = None) -> FeedMessage | None:
    """A feed message from its text, or None for a type that this version does not know. `into` is as for
    `structure`.

    Raises:
        InvalidFields: it is no JSON, or a known type with a malformed content.
    """
    return _read_snapshot(text, into) or read_message(load_answer(text), into)


_SNAPSHOT = re.compile(r'\s*\{\s*"type"\s*:\s*"containers"\s*,\s*"data"\s*:\s*\[\s*')
_COMMA = re.compile(r"\s*,\s*")
_END = re.compile(r"\s*\]\s*\}\s*")


def _read_snapshot(text: str, into: type | None) -> ContainerSnapshot | None:
    """One container after the other, since the JSON of 10,000 takes more memory than they do; None for what
    is not in the usual form, which may be all right or not.
    """
    begin = _SNAPSHOT.match(text)
    if begin is None:
        return None
    read, found, at = reader(Container, into), [], begin.end()
    try:
        while True:
            told, at = _LENIENT.raw_decode(text, at)
            found.append(read(told))
            comma = _COMMA.match(text, at)
            if comma is None:
                break
            at = comma.end()
    except (TypeError, ValueError, RecursionError):
        return None
    return ContainerSnapshot(tuple(found)) if _END.fullmatch(text, at) else None


def read_message(data: Any, into: type | None = None) -> FeedMessage | None:
    """A feed message from decoded JSON, or None for a type that this version does not know. `into` is as for
    `structure`.

    Raises:
        InvalidFields: a known type with a malformed content.
    """
    cls = MESSAGE_TYPES.get(str(data.get("type"))) if isinstance(data, dict) else None
    if cls is None:
        return None
    if cls is ContainerSnapshot:
        return structure({"containers": data.get("data")}, ContainerSnapshot, into)
    return structure(data.get("data"), cls)


def write_control(message: ControlMessage | Execute) -> str:
    """The text frame of a control message."""
    body = attrs.asdict(message)
    type_ = next((name for name, cls in CONTROL_TYPES.items() if type(message) is cls), None)
    return dump_json(body if type_ is None else {"type": type_, **body}).decode()


def read_control(text: str) -> ControlMessage | None:
    """A control message from a text frame, or None for a type that this version does not know.

    Raises:
        InvalidFields: no JSON object with a type, or a known type with a malformed content.
    """
    data = load_json(text.encode("utf-8", "replace"))
    type_ = data.get("type") if isinstance(data, dict) else None
    if not isinstance(type_, str):
        raise InvalidFields((Fault("type", "is required"),))
    cls = CONTROL_TYPES.get(type_)
    return None if cls is None else structure(data, cls)


def read_execute(text: str) -> Execute:
    """The first message of `ecompute.exec.v1` from a text frame.

    Raises:
        InvalidFields: it is none.
    """
    return structure(load_json(text.encode("utf-8", "replace")), Execute)
