"""What becomes of a requirement in a run, and how a check says that it is not kept."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from attrs import field, frozen


class Outcome(StrEnum):
    """How a requirement fared."""

    KEPT = "kept"
    DEVIATES = "deviates"
    ALTERNATIVE = "alternative"
    """Not what the contract says, but what the chosen dialect lets pass."""
    UNDECIDED = "undecided"


class Deviation(AssertionError):
    """A server does not keep a requirement. `expected` and `seen` each complete a sentence of a report."""

    def __init__(self, requirement: str, expected: str, seen: str) -> None:
        super().__init__(f"{requirement}: expected {expected}; seen: {seen}")
        self.requirement = requirement
        self.expected = expected
        self.seen = seen


class CannotTest(Exception):
    """The server cannot be tested at all; `str()` says why and what to do."""


class Lost(Exception):
    """There was no answer, or a connection broke; `str()` says how. The server may be there still."""


class NotThere(Exception):
    """A check needs something that this server lacks; what it has not judged stays undecided, for `str()`."""


class Foreign(Exception):
    """The server gives things for new that are not, or ids that lead elsewhere; `str()` says which."""


@frozen
class Verdict:
    """The end of one requirement in a run.

    `python` and `curl` are the history that leads to a deviation, from a server without any of the kit's
    things; `note` says why something is undecided, or what a dialect has let pass.
    """

    requirement: str
    outcome: Outcome
    check: str = ""
    expected: str = ""
    seen: str = ""
    note: str = ""
    python: str = field(default="", repr=False)
    curl: str = field(default="", repr=False)


_ORDER = (Outcome.UNDECIDED, Outcome.KEPT, Outcome.ALTERNATIVE, Outcome.DEVIATES)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Of several verdicts on one requirement the one that counts: a deviation anywhere is a deviation, and
    what one check has decided is decided.
    """
    return max(verdicts, key=lambda verdict: _ORDER.index(verdict.outcome))
