"""Grants that are enough for a row of the contract, and grants that come close."""

from __future__ import annotations

from collections.abc import Iterator

from ecompute.contract.problems import Code
from ecompute.contract.scopes import SERVICES

from .lab import Lab
from .rows import EVERYTHING, MINE, Place, Row
from .wire import Answer


def scope_for(row: Row, place: Place) -> str:
    """The scope that a row needs, but for the user's id."""
    return (row.scope or "").replace("<id>", place.container)


def above(row: Row) -> Iterator[str]:
    """The scopes that cover the row's, itself not counted."""
    parts = (row.scope or "").split(".")
    for length in range(2, len(parts)):
        yield ".".join(parts[:length])


def beside(row: Row, place: Place) -> Iterator[str]:
    """Scopes that have nothing in common with the row's, however much they look like it."""
    _, _, *rest = (row.scope or "").split(".")
    if not rest:
        return
    others = sorted(SERVICES["compute"] - {rest[0]})
    yield from (f"{MINE}.{resource}" for resource in others)
    if len(rest) == 2:
        id_ = place.container
        yield from (f"{MINE}.{resource}.{id_}" for resource in others)
        last = "a" if id_[-1] != "a" else "b"
        yield from (f"{MINE}.{rest[0]}.{near}" for near in (f"{id_[:-1]}{last}", id_[:-1], f"{id_}x"))


def below(row: Row, place: Place) -> Iterator[str]:
    """Scopes that are a part of the row's."""
    _, _, *rest = (row.scope or "").split(".")
    if not rest:
        yield from (f"{MINE}.{resource}" for resource in sorted(SERVICES["compute"]))
        yield f"{MINE}.containers.{place.container}"
    if rest == ["containers"]:
        yield f"{MINE}.containers.{place.container}"
    if rest == ["keys"]:
        yield f"{MINE}.keys.{place.key}"


def without(row: Row) -> list[str]:
    """All actions but the one that the row needs."""
    return [action for action in EVERYTHING if action != row.action]


def needed_is_named(lab: Lab, requirement: str, answer: Answer, row: Row, scope: str) -> None:
    """Judge that a 403 tells what would have been enough."""
    wanted = {"scope": scope.replace("<uid>", str(lab.first.user_id)), "action": str(row.action)}
    if answer.code == Code.FORBIDDEN:
        lab.holds(requirement, answer.body.get("needed") == wanted, f"needed: {wanted}", answer)
