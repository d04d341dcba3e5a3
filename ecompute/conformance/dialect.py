"""Dialects: what a server may answer instead of what the contract says, and counts as conforming still.

A dialect is a TOML file:

    summary = "One line: which servers speak it."

    [[alternative]]
    requirement = "LIM-001"
    status = [400]
    note = "It answers 400 to a limit."
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from attrs import frozen

from .verdict import CannotTest

_MOST = 256 * 1024


@frozen
class Alternative:
    """Statuses that count as well, and why."""

    statuses: tuple[int, ...]
    note: str


@frozen
class Dialect:
    """A named set of alternatives by requirement."""

    name: str
    summary: str
    alternatives: Mapping[str, Alternative]

    def lets_pass(self, requirement: str, status: int) -> str | None:
        """Why a status is good enough; None when it is not."""
        found = self.alternatives.get(requirement)
        return found.note if found is not None and status in found.statuses else None


def names() -> tuple[str, ...]:
    """The dialects that come with the kit."""
    return tuple(sorted(file.name.removesuffix(".toml") for file in _folder().iterdir() if _is_dialect(file)))


def load(name: str) -> Dialect:
    """A dialect by its name, or from a file by its path.

    Raises:
        CannotTest: there is none, or it is malformed.
    """
    if name in names():
        text = (_folder() / f"{name}.toml").read_text("utf-8")
    elif name.endswith(".toml"):
        try:
            with Path(name).open("rb") as file:
                text = file.read(_MOST).decode()
        except (OSError, ValueError) as error:
            raise CannotTest(f"The dialect {name} cannot be read: {error}.") from None
    else:
        raise CannotTest(
            f"There is no dialect {name!r}: there are {', '.join(names())}, and files that end in .toml."
        )
    return parse(name, text)


def parse(name: str, text: str) -> Dialect:
    """A dialect from its TOML text.

    Raises:
        CannotTest: it is malformed, or names a requirement that is not there.
    """
    from .registry import REQUIREMENTS

    try:
        data = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        raise CannotTest(f"The dialect {name} is no TOML: {error}.") from None
    if unknown := sorted(set(data) - {"summary", "alternative"}):
        raise CannotTest(f"The dialect {name} has unknown keys: {', '.join(unknown)}.")
    listed = data.get("alternative", [])
    if not isinstance(listed, list):
        raise CannotTest(f"The dialect {name}: alternative must be a list of tables, [[alternative]].")
    alternatives: dict[str, Alternative] = {}
    for entry in listed:
        requirement, alternative = _alternative(name, entry)
        if requirement not in REQUIREMENTS:
            raise CannotTest(f"The dialect {name} names {requirement}, which is no requirement.")
        if requirement in alternatives:
            raise CannotTest(f"The dialect {name} names {requirement} twice.")
        alternatives[requirement] = alternative
    return Dialect(name, str(data.get("summary", "")), alternatives)


def _alternative(name: str, entry: Any) -> tuple[str, Alternative]:
    if not isinstance(entry, dict) or set(entry) != {"requirement", "status", "note"}:
        raise CannotTest(f"The dialect {name}: an alternative has requirement, status and note.")
    requirement, status, note = entry["requirement"], entry["status"], entry["note"]
    statuses = status if isinstance(status, list) else [status]
    fits = all(type(number) is int and 100 <= number <= 599 for number in statuses)
    if not (isinstance(requirement, str) and isinstance(note, str) and statuses and fits):
        raise CannotTest(
            f"The dialect {name}: requirement and note are texts, status is one of HTTP or a list of such."
        )
    return requirement, Alternative(tuple(statuses), note)


def _folder() -> Any:
    return resources.files(__name__.rpartition(".")[0]) / "dialects"


def _is_dialect(file: Any) -> bool:
    return bool(file.name.endswith(".toml"))
