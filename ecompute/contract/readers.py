"""Readers of decoded JSON, written once for each class as plain code: as strict as `converter`, and silent
about what is wrong.

A reader gives the value, or raises `TypeError` or `ValueError`; `converter` then says what does not fit, and
where. Readers are there because lists are long: a general converter takes several times as long for a
container as decoding its JSON does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache
from sys import intern
from types import NoneType, UnionType
from typing import Any, get_args, get_origin

import attrs

Reader = Callable[[Any], Any]

REPEATED = frozenset({"status", "instance_type"})
"""Fields with few different texts: of equal ones in a long list, one is kept."""


class Unfit(ValueError):
    """A value is not what its type asks for. Readers do not say why; elsewhere `str()` completes a sentence
    that begins with the field's name.
    """


def is_text(value: str) -> bool:
    """Whether a text can be told in any encoding: JSON can write half of a surrogate pair (RFC 8259 §8.2)."""
    return value.isascii() or not any("\ud800" <= c <= "\udfff" for c in value)


def moment(text: Any) -> datetime:
    """A time in ISO 8601, in UTC; one without an offset counts as such.

    Raises:
        ValueError, TypeError: it is none.
    """
    return in_utc(datetime.fromisoformat(text))


def in_utc(found: datetime) -> datetime:
    """A time in UTC; one without an offset counts as such.

    Raises:
        ValueError: it lies in no year from 1 to 9999 there.
    """
    try:
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except OverflowError:
        raise Unfit from None


# bool is a subclass of int, and JSON's true is no number: hence `type(v) is`
_CHECKS: Mapping[Any, str] = {
    str: "type(v) is str and (v.isascii() or is_text(v))",
    int: "type(v) is int",
    bool: "type(v) is bool",
    float: "type(v) is float or type(v) is int",
}
_TAKEN: Mapping[Any, str] = {float: "float(v)"}


@cache
def reader(kind: Any, into: type | None = None) -> Reader:
    """The reader of a type: a class of the contract, or what their fields are made of. Where the base of
    `into` is asked for, that is made; its own fields have their defaults.
    """
    if kind in _CHECKS:
        return _written([f"if not ({_CHECKS[kind]}): raise Unfit", f"return {_TAKEN.get(kind, 'v')}"], {})
    if kind is datetime:
        return moment
    if isinstance(kind, type) and attrs.has(kind):
        return _class_reader(kind, into)
    if get_origin(kind) is tuple:
        body = ["if type(v) is not list: raise Unfit", "return tuple([item(one) for one in v])"]
        return _written(body, {"item": reader(get_args(kind)[0], into)})
    if get_origin(kind) is Mapping and get_args(kind)[1] is not Any:
        body = [
            "if type(v) is not dict: raise Unfit",
            "return {name(key): item(one) for key, one in v.items()}",
        ]
        return _written(body, {"name": reader(str), "item": reader(get_args(kind)[1], into)})
    if _but_none(kind) is not kind:
        return _written(["return None if v is None else item(v)"], {"item": reader(_but_none(kind), into)})
    return _written(["raise Unfit"], {})


def _class_reader(cls: Any, into: Any) -> Reader:
    attrs.resolve_types(cls)
    made = into if into is not None and issubclass(into, cls) else cls
    fields = [a for a in attrs.fields(cls) if a.name != "extra"]
    keeps_extra = len(fields) < len(attrs.fields(cls))
    names = {
        "new": object.__new__,
        "Open": _open(made),
        "cls": made,
        "intern": intern,
        "time": datetime.fromisoformat,
        "UTC": UTC,
        "in_utc": in_utc,
        "NOTHING": attrs.NOTHING,
    }
    # where unknown fields are kept, a null is the same as nothing said
    nothing = "None" if keeps_extra else "NOTHING"
    body = ["if type(v) is not dict: raise Unfit", "told = v", "get = told.get", "made = new(Open)"]
    body.append(f"unknown = len(told) - {len(fields)}")
    for a in fields:
        kind, default, read = _but_none(a.type), f"default_{a.name}", f"read_{a.name}"
        body += [f"v = get({a.name!r}, {nothing})", f"if v is {nothing}:"]
        if a.default is attrs.NOTHING:
            body.append("  raise Unfit")
        else:
            names[default] = a.default
            body += [f"  made.{a.name} = {default}", f"  unknown += {a.name!r} not in told"]
        if kind in _CHECKS:
            taken = "intern(v)" if kind is str and a.name in REPEATED else _TAKEN.get(kind, "v")
            body += [f"elif {_CHECKS[kind]}: made.{a.name} = {taken}", "else: raise Unfit"]
        elif kind is datetime:
            body += ["else:", "  v = time(v)", f"  made.{a.name} = v if v.tzinfo is UTC else in_utc(v)"]
        else:
            names[read] = reader(kind, into)
            body.append(f"else: made.{a.name} = {read}(v)")
    if keeps_extra:
        names["known"] = frozenset(a.name for a in fields)
        body.append("made.extra = {n: one for n, one in told.items() if n not in known} if unknown else {}")
    for a in attrs.fields(made)[len(attrs.fields(cls)) :]:
        names[f"default_{a.name}"] = a.default
        body.append(f"made.{a.name} = default_{a.name}")
    return _written([*body, "made.__class__ = cls", "return made"], names)


def _open(cls: type) -> type:
    """A class of the same layout whose attributes can be set: filling a frozen one takes three times as long,
    and it may become one afterwards.
    """
    # with one of the two still in Python, each assignment would go through both
    plain = {"__setattr__": object.__setattr__, "__delattr__": object.__delattr__}
    return type(f"Open{cls.__name__}", (cls,), {"__slots__": (), **plain})


def _but_none(kind: Any) -> Any:
    if isinstance(kind, UnionType) and NoneType in get_args(kind):
        (kind,) = (one for one in get_args(kind) if one is not NoneType)
    return kind


def _written(body: list[str], names: Mapping[str, Any]) -> Reader:
    made = {"is_text": is_text, "Unfit": Unfit, **names}
    exec("\n    ".join(["def read(v):", *body]), made)
    read: Reader = made["read"]
    return read
