"""What does not fit a class, and the way back to JSON: the only module that imports cattrs, which takes a
while, so it is loaded when something is to be written or to be explained.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, get_args

import attrs
import cattrs
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn

from .problems import Fault, InvalidFields, dotted
from .readers import Unfit, is_text, moment


def _only(kind: type, words: str) -> Callable[[Any, Any], Any]:
    def check(value: Any, _: Any) -> Any:
        # bool is a subclass of int, and JSON's true is no number
        if type(value) is not kind:
            raise Unfit(f"must be {words}")
        return value

    return check


def _text(value: Any, _: Any) -> str:
    if type(value) is not str:
        raise Unfit("must be a text")
    if not is_text(value):
        raise Unfit("must be valid Unicode text")
    return value


def _number(value: Any, _: Any) -> float:
    if type(value) not in (int, float):
        raise Unfit("must be a number")
    return float(value)


def _time(value: Any, _: Any) -> datetime:
    try:
        return moment(value)
    except (TypeError, ValueError):
        raise Unfit("must be a time in ISO 8601") from None


def _list(value: Any, kind: Any) -> tuple[Any, ...]:
    if type(value) is not list:
        raise Unfit("must be a list")
    (of, _) = get_args(kind)
    items, faults = [], []
    for index, item in enumerate(value):
        try:
            items.append(_converter.structure(item, of))
        except Exception as error:
            faults += [Fault(f"[{index}]{dotted(f.path)}", f.problem) for f in _faults(error)]
    if faults:
        raise InvalidFields(tuple(faults))
    return tuple(items)


def _is_list(kind: Any) -> bool:
    return getattr(kind, "__origin__", None) is tuple


def _mapping(value: Any, kind: Any) -> dict[str, Any]:
    if type(value) is not dict:
        raise Unfit("must be an object")
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


def _structure_extra(cls: type) -> Callable[[Any, Any], Any]:
    known = frozenset(a.name for a in attrs.fields(cls) if a.name != "extra")
    fill: Any = make_dict_structure_fn(cls, _converter, _cattrs_detailed_validation=True)

    def structure(value: Any, kind: Any) -> Any:
        if type(value) is not dict:
            raise Unfit("must be an object")
        # a null is the same as nothing said: every field that may lack a value has a default
        made = fill({k: v for k, v in value.items() if v is not None and k in known}, kind)
        extra = {k: v for k, v in value.items() if k not in known}
        return attrs.evolve(made, extra=extra) if extra else made

    return structure


def _unstructure_extra(cls: type) -> Callable[[Any], dict[str, Any]]:
    # what a class adds to the resource that it is made of, such as the client that it acts by, is no data
    resource = next(base for base in reversed(cls.__mro__) if _keeps_extra(base))
    plain: Callable[[Any], dict[str, Any]] = make_dict_unstructure_fn(resource, _converter)

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
            found += [Fault(f"{name}{dotted(f.path)}" if name else f.path, f.problem) for f in _faults(inner)]
        return found
    if isinstance(error, KeyError):
        return [Fault("", "is required")]
    return [Fault("", str(error) if isinstance(error, Unfit) else "is malformed")]


def structured(data: Any, kind: Any) -> Any:
    """The value in decoded JSON, as a reader makes it.

    Raises:
        InvalidFields: something is missing or of the wrong type; every fault with its path.
    """
    try:
        return _converter.structure(data, kind)
    except Exception as error:
        raise InvalidFields(tuple(_faults(error))) from None


def unstructure(value: Any) -> Any:
    """The JSON form of a resource: fields without a value are left out, unknown ones are kept."""
    return _converter.unstructure(value)
