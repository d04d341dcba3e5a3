"""What a run has found: as an object here, as text, JSON and JUnit XML in the modules beside."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from attrs import field, frozen

from ecompute.conformance.check import Check
from ecompute.conformance.target import Target
from ecompute.conformance.verdict import Outcome, Verdict, worst

CONFORMS, DEVIATES, COULD_NOT_TEST = 0, 1, 2


@frozen
class CheckReport:
    """One check: its verdicts, one for each requirement that it decides, and the seconds that it took."""

    check: Check
    verdicts: tuple[Verdict, ...]
    seconds: float

    @property
    def deviates(self) -> bool:
        """Whether it has found a deviation."""
        return any(verdict.outcome is Outcome.DEVIATES for verdict in self.verdicts)


@frozen(slots=False)
class Report:
    """A whole run. `obstacle` says why it could not begin or go on; empty when it was whole. `left_behind`
    are the paths of what could not be deleted. `abilities` tells what was asked for, and whether the server
    has it.
    """

    target: Target
    checks: tuple[CheckReport, ...]
    seconds: float
    requests: int
    abilities: Mapping[str, bool] = field(factory=dict)
    obstacle: str = ""
    left_behind: tuple[str, ...] = ()

    @cached_property
    def verdicts(self) -> tuple[Verdict, ...]:
        """One for each requirement that the run looked at, in the order of the registry."""
        from ecompute.conformance.registry import REQUIREMENTS

        found: dict[str, list[Verdict]] = {}
        for check in self.checks:
            for verdict in check.verdicts:
                found.setdefault(verdict.requirement, []).append(verdict)
        return tuple(worst(found[id_]) for id_ in REQUIREMENTS if id_ in found)

    def of(self, outcome: Outcome) -> tuple[Verdict, ...]:
        """The verdicts with one outcome."""
        return tuple(verdict for verdict in self.verdicts if verdict.outcome is outcome)

    @property
    def deviations(self) -> tuple[Verdict, ...]:
        """What the server does otherwise than the contract says."""
        return self.of(Outcome.DEVIATES)

    @property
    def exit_code(self) -> int:
        """0: it conforms; 1: it deviates; 2: it could not be tested."""
        if self.deviations:
            return DEVIATES
        return COULD_NOT_TEST if self.obstacle else CONFORMS
