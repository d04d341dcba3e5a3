"""Judging one check: what it has found out about each requirement that it decides."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

from ecompute.contract.problems import PROBLEMS, Code

from .check import Check
from .dialect import Dialect
from .verdict import Deviation, Outcome
from .wire import Answer

_SHOWN = 600


@frozen
class Finding:
    """What is known of a requirement, and a remark on it."""

    outcome: Outcome
    note: str = ""


class Judge:
    """Keeps what a check finds out; the first deviation ends it."""

    def __init__(self, check: Check, dialect: Dialect) -> None:
        self.check = check
        self._dialect = dialect
        self._findings: dict[str, Finding] = {}

    @property
    def findings(self) -> Mapping[str, Finding]:
        """What is known so far, by requirement."""
        return self._findings

    @property
    def open(self) -> tuple[str, ...]:
        """The requirements of which nothing is known yet."""
        return tuple(id_ for id_ in self.check.decides if id_ not in self._findings)

    def holds(self, requirement: str, condition: object, expected: str, seen: object) -> None:
        """The requirement is kept as far as this goes.

        Raises:
            Deviation: the condition is false.
        """
        self._known(requirement)
        if not condition:
            raise Deviation(requirement, expected, _shown(seen))
        self._findings.setdefault(requirement, Finding(Outcome.KEPT))

    def refused(self, requirement: str, answer: Answer, *codes: Code) -> None:
        """The answer is an error with one of these codes and the status that belongs to it, or what the
        dialect lets pass instead.

        Raises:
            Deviation: it is something else.
        """
        self._known(requirement)
        right = any(answer.code == code and answer.status == PROBLEMS[code].status for code in codes)
        if not right and (note := self._dialect.lets_pass(requirement, answer.status)) is not None:
            self._findings[requirement] = Finding(Outcome.ALTERNATIVE, note)
            return
        expected = " or ".join(f"{PROBLEMS[code].status} with the code {code.value!r}" for code in codes)
        self.holds(requirement, right, expected, answer)

    def undecided(self, requirement: str, why: str) -> None:
        """It cannot be found out here; what is known already stays."""
        self._known(requirement)
        self._findings.setdefault(requirement, Finding(Outcome.UNDECIDED, why))

    def _known(self, requirement: str) -> None:
        if requirement not in self.check.decides:
            raise LookupError(f"the check {self.check.name} does not say that it decides {requirement}")


def _shown(seen: object) -> str:
    # what a server says is printed on somebody's terminal
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(seen)[: _SHOWN + 1])
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
