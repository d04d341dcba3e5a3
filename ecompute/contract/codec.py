"""Between the wire's JSON and the contract's classes: the one converter.

Reading is strict about JSON types (no number for a flag, no `1.0` for an integer), tolerant about unknown
fields, and reports every fault with its path. The only module that imports cattrs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, NoReturn, TypeVar, get_args

import attrs
import cattrs
from attrs import frozen
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn

from .endpoint import RequestField, request_fields
from .messages import CONTROL_TYPES, MESSAGE_TYPES, ContainerSnapshot, ControlMessage, Execute, FeedMessage
from .problems import Fault, InvalidFields
from .rules import Bounds, Broken

T = TypeVar("T")

_NOTHING: Mapping[str, str] = {}
_BEYOND = 10**18


class _Shape(ValueError):
    """A JSON value has another type than its field."""


def _only(kind: type, words: str) -> Callable[[Any, Any], Any]:
    def check(value: Any, _: Any) -> Any:
        # bool is a subclass of int, and JSON's true is no number
        if type(value) is not kind:
            raise _Shape(f"must be {words}")
        return value

    return check


def _text(value: Any, _: Any) -> str:
    if type(value) is not str:
        raise _Shape("must be a text")
    # JSON can write half of a surrogate pair, which no other encoding can (RFC 8259 §8.2)
    if not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value):
        raise _Shape("must be valid Unicode text")
    return value


def _number(value: Any, _: Any) -> float:
    if type(value) not in (int, float):
        raise _Shape("must be a number")
    return float(value)


def _time(value: Any, _: Any) -> datetime:
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise _Shape("must be a time in ISO 8601") from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _list(value: Any, kind: Any) -> tuple[Any, ...]:
    if type(value) is not list:
        raise _Shape("must be a list")
    (of, _) = get_args(kind)
    items, faults = [], []
    for index, item in enumerate(value):
        try:
            items.append(_converter.structure(item, of))
        except Exception as error:
            faults += [Fault(f"[{index}]{_dot(f.path)}", f.problem) for f in _faults(error)]
    if faults:
        raise InvalidFields(tuple(faults))
    return tuple(items)


def _dot(path: str) -> str:
    return f".{path}" if path and not path.startswith("[") else path


def _is_list(kind: Any) -> bool:
    return getattr(kind, "__origin__", None) is tuple


def _mapping(value: Any, kind: Any) -> dict[str, Any]:
    if type(value) is not dict:
        raise _Shape("must be an object")
    (_, of) = get_args(kind)
    found, faults = {}, []
    for name, item in value.items():
        try:
            found[_text(name, str)] = _converter.structure(item, of)
        except Exception as error:
            # names are the sender's own text, which is never told back
            faults += [Fault("", f"has a value that {f.problem}") for f in _faults(error)]
    if faults:
        raise InvalidFields(tuple(dict.fromkeys(faults)))
    return found


def _is_mapping(kind: Any) -> bool:
    return getattr(kind, "__origin__", None) is Mapping and get_args(kind)[1] is not Any


def _keeps_extra(cls: Any) -> bool:
    return attrs.has(cls) and any(a.name == "extra" for a in attrs.fields(cls))


def _structure_extra(cls: type[T]) -> Callable[[Any, Any], T]:
    known = frozenset(a.name for a in attrs.fields(cls) if a.name != "extra")  # type: ignore[arg-type]
    fill = make_dict_structure_fn(cls, _converter, _cattrs_detailed_validation=True)

    def structure(value: Any, kind: Any) -> T:
        if type(value) is not dict:
            raise _Shape("must be an object")
        # a null is the same as nothing said: every field that may lack a value has a default
        said = {k: v for k, v in value.items() if v is not None and k != "extra"}
        made = fill({k: v for k, v in said.items() if k in known}, kind)
        extra = {k: v for k, v in value.items() if k not in known}
        return attrs.evolve(made, extra=extra) if extra else made  # type: ignore[misc]

    return structure


def _unstructure_extra(cls: type) -> Callable[[Any], dict[str, Any]]:
    plain: Callable[[Any], dict[str, Any]] = make_dict_unstructure_fn(cls, _converter)

    def unstructure(value: Any) -> dict[str, Any]:
        body = plain(value)
        extra = body.pop("extra")
        body = {k: v for k, v in body.items() if v is not None}
        return {**extra, **body} if extra else body

    return unstructure


def _write_time(moment: datetime) -> str:
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="auto") + "Z"


def _make() -> cattrs.Converter:
    converter = cattrs.Converter(detailed_validation=True)
    converter.register_structure_hook(str, _text)
    converter.register_structure_hook(int, _only(int, "an integer"))
    converter.register_structure_hook(bool, _only(bool, "true or false"))
    converter.register_structure_hook(float, _number)
    converter.register_structure_hook(datetime, _time)
    converter.register_structure_hook_func(_is_list, _list)
    converter.register_structure_hook_func(_is_mapping, _mapping)
    converter.register_unstructure_hook(datetime, _write_time)
    converter.register_structure_hook_factory(_keeps_extra, _structure_extra)
    converter.register_unstructure_hook_factory(_keeps_extra, _unstructure_extra)
    return converter


_converter = _make()


def _faults(error: BaseException) -> list[Fault]:
    if isinstance(error, InvalidFields):
        return list(error.faults)
    if isinstance(error, cattrs.BaseValidationError):
        found = []
        for inner in error.exceptions:
            notes = (
                n for n in getattr(inner, "__notes__", ()) if isinstance(n, cattrs.AttributeValidationNote)
            )
            name = getattr(next(notes, None), "name", "")
            found += [Fault(f"{name}{_dot(f.path)}" if name else f.path, f.problem) for f in _faults(inner)]
        return found
    if isinstance(error, KeyError):
        return [Fault("", "is required")]
    return [Fault("", str(error) if isinstance(error, _Shape) else "is malformed")]


def structure(data: Any, cls: type[T]) -> T:
    """Read a resource from decoded JSON.

    Raises:
        InvalidFields: something is missing or of the wrong type; every fault with its path.
    """
    try:
        return _converter.structure(data, cls)
    except Exception as error:
        raise InvalidFields(tuple(_faults(error))) from None


def unstructure(value: Any) -> Any:
    """The JSON form of a resource: fields without a value are left out, unknown ones are kept."""
    return _converter.unstructure(value)


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Shape("has the same name twice in one object")
    return found


def _no_constant(_: str) -> NoReturn:
    raise _Shape("holds a number that JSON does not know")


def load_json(body: bytes) -> Any:
    """Decode JSON as strictly as RFC 8259 allows: UTF-8, no duplicate names, no NaN, no endless nesting.

    Raises:
        InvalidFields: one fault, about the body as a whole.
    """
    if not body.strip():
        raise InvalidFields((Fault("", "The body is empty; a JSON object is needed."),))
    try:
        text = body.decode("utf-8")
        return json.loads(text, object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
    except UnicodeDecodeError:
        problem = "The body is not valid UTF-8."
    except _Shape as error:
        problem = f"The body {error}."
    except RecursionError:
        problem = "The body is nested too deeply."
    except ValueError:
        problem = "The body is not valid JSON."
    raise InvalidFields((Fault("", problem),))


def dump_json(data: Any) -> bytes:
    """Encode to compact UTF-8 JSON."""
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()


def _request_fields(cls: type) -> tuple[RequestField, ...]:
    if cls not in _fields_by_class:
        _fields_by_class[cls] = request_fields(cls)
    return _fields_by_class[cls]


_fields_by_class: dict[type, tuple[RequestField, ...]] = {}


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
    for spec in _request_fields(cls):
        try:
            values[spec.name] = _read_field(spec, path, body, query, bounds)
        except InvalidFields as error:
            faults += [Fault(f"{spec.name}{_dot(f.path)}", f.problem) for f in error.faults]
        except (Broken, _Shape) as error:
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
        raise _Shape("is required")
    try:
        value = _converter.structure(raw, spec.type)
    except Exception as error:
        raise InvalidFields(tuple(_faults(error))) from None
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
        raise _Shape("must be an integer")
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
    for spec in _request_fields(type(request)):
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


def read_message(data: Any) -> FeedMessage | None:
    """A feed message from decoded JSON, or None for a type that this version does not know.

    Raises:
        InvalidFields: a known type with a malformed content.
    """
    cls = MESSAGE_TYPES.get(str(data.get("type"))) if isinstance(data, dict) else None
    if cls is None:
        return None
    if cls is ContainerSnapshot:
        return structure({"containers": data.get("data")}, ContainerSnapshot)
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
