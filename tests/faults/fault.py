"""What a fault is, and how it is put on: by replacing a piece of the server before that starts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
from attrs import frozen

from ecompute.contract import endpoint

PutOn = Callable[[], None]


@frozen
class Fault:
    """One mistake: the area of the contract that it breaks, the requirements that are then not kept, and what
    puts it on. Which of the requirements a run names is left to it.
    """

    name: str
    area: str
    requirements: tuple[str, ...]
    sentence: str
    put_on: PutOn


FAULTS: dict[str, Fault] = {}
"""Every fault by its name."""


def fault(*requirements: str, area: str) -> Callable[[PutOn], PutOn]:
    """Make a function a fault; its docstring says what goes wrong."""

    def register(put_on: PutOn) -> PutOn:
        name = put_on.__name__
        if name in FAULTS:
            raise ValueError(f"there are two faults named {name}")
        sentence = " ".join((put_on.__doc__ or "").split())
        FAULTS[name] = Fault(name, area, requirements, sentence, put_on)
        return put_on

    return register


def wrap(place: Any, name: str, around: Callable[..., Any]) -> None:
    """Replace a function, method or entry of a table by one that gets the old one as its first argument."""
    if isinstance(place, dict):
        old = place[name]
        place[name] = lambda *args, **more: around(old, *args, **more)
        return
    old = getattr(place, name)
    if isinstance(old, property):
        setattr(place, name, property(lambda self: around(old.fget, self)))
        return
    setattr(place, name, lambda *args, **more: around(old, *args, **more))


def handler(row: str, around: Callable[..., Any]) -> None:
    """Replace what a row does; `around` is a coroutine function that gets the old handler and the call."""
    from ecompute_server.handlers import CHANNEL_HANDLERS, HANDLERS

    table: Any = HANDLERS if row in HANDLERS else CHANNEL_HANDLERS
    wrap(table, row, around)


def request_field(cls: type, name: str, **changes: Any) -> None:
    """Change what the server knows of a field of a request: its rule, its default, what counts as empty."""
    fields = endpoint.request_fields(cls)
    endpoint._fields_by_class[cls] = tuple(
        attrs.evolve(field, **changes) if field.name == name else field for field in fields
    )


def rule(cls: type, name: str, around: Callable[..., Any]) -> None:
    """Replace the rule of a field of a request; `around` gets the old rule, the value and the bounds."""
    old = next(field.rule for field in endpoint.request_fields(cls) if field.name == name)
    request_field(cls, name, rule=lambda value, bounds: around(old, value, bounds))


def row(name: str, **changes: Any) -> None:
    """Change a row of the contract's table as the server sees it."""
    from ecompute.contract import endpoints

    for table in ("ENDPOINTS", "CHANNELS"):
        rows = tuple(
            attrs.evolve(each, **changes) if each.name == name else each for each in getattr(endpoints, table)
        )
        setattr(endpoints, table, rows)
