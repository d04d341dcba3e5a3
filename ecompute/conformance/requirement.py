"""What the contract asks of a server, as data: one row per rule, each with an id that reports name."""

from __future__ import annotations

from enum import StrEnum

from attrs import frozen


class Level(StrEnum):
    """How much a requirement binds."""

    MUST = "must"
    """The contract says so; clients break without it."""
    SHOULD = "should"
    """What users expect of any such server."""
    OURS = "ours"
    """An addition of the reference server; others may do without, and then it cannot be decided."""


@frozen
class Requirement:
    """One rule. `sentence` says what a server does, `source` where that is written: a row of the API by its
    method and path, a section of the contract, an RFC with its section.
    """

    id: str
    level: Level
    sentence: str
    source: str


@frozen
class Rule:
    """A requirement of an area that has not got its area's prefix yet."""

    number: int
    level: Level
    sentence: str
    source: str


def must(number: int, sentence: str, source: str) -> Rule:
    """A rule of the contract."""
    return Rule(number, Level.MUST, sentence, source)


def should(number: int, sentence: str, source: str) -> Rule:
    """A rule that users expect to hold."""
    return Rule(number, Level.SHOULD, sentence, source)


def ours(number: int, sentence: str, source: str) -> Rule:
    """A rule for what the reference server adds."""
    return Rule(number, Level.OURS, sentence, source)


class Area:
    """A part of the contract; the ids of its requirements begin with `prefix`."""

    def __init__(self, name: str, prefix: str, title: str, rules: tuple[Rule, ...]) -> None:
        self.name = name
        self.title = title
        self.requirements: tuple[Requirement, ...] = tuple(
            Requirement(f"{prefix}-{rule.number:03d}", rule.level, rule.sentence, rule.source)
            for rule in rules
        )

    def __repr__(self) -> str:
        return f"<Area {self.name}: {len(self.requirements)} requirements>"
