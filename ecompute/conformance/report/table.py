"""A report as text for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ecompute.conformance.registry import AREAS, REQUIREMENTS
from ecompute.conformance.verdict import Outcome, Verdict

from . import Report

_COLUMNS = (Outcome.KEPT, Outcome.ALTERNATIVE, Outcome.UNDECIDED, Outcome.DEVIATES)


def text(report: Report, *, replays: bool = True) -> str:
    """The whole of it; without `replays` no histories."""
    return "\n".join(_lines(report, replays)) + "\n"


def _lines(report: Report, replays: bool) -> Iterator[str]:
    yield from _table(report)
    for outcome, title in (
        (Outcome.ALTERNATIVE, f"Let pass by the dialect {report.target.dialect}"),
        (Outcome.UNDECIDED, "Could not be decided"),
    ):
        if verdicts := report.of(outcome):
            yield from ("", f"{title}:")
            yield from _notes(verdicts)
    for verdict in report.deviations:
        yield from ("", *deviation(verdict, replays=replays))
    yield ""
    yield summary(report)
    for path in report.left_behind:
        yield f"Left behind, since it could not be deleted: {path}"


def _table(report: Report) -> Iterator[str]:
    by_id = {verdict.requirement: verdict.outcome for verdict in report.verdicts}
    yield f"{'area':<16}" + "".join(f"{outcome.value:>13}" for outcome in _COLUMNS)
    for area in AREAS:
        found = [by_id[r.id] for r in area.requirements if r.id in by_id]
        if found:
            yield f"{area.name:<16}" + "".join(f"{found.count(outcome) or '-':>13}" for outcome in _COLUMNS)


def _notes(verdicts: Iterable[Verdict]) -> Iterator[str]:
    by_note: dict[str, list[str]] = {}
    for verdict in verdicts:
        by_note.setdefault(verdict.note, []).append(verdict.requirement)
    for note, ids in by_note.items():
        yield f"  {', '.join(ids)}: {note}"


def deviation(verdict: Verdict, *, replays: bool = True) -> Iterator[str]:
    """The lines about one deviation."""
    requirement = REQUIREMENTS[verdict.requirement]
    yield f"{requirement.id} ({requirement.level}) {requirement.sentence}"
    yield f"  source    {requirement.source}"
    yield f"  check     {verdict.check}"
    yield f"  expected  {verdict.expected}"
    yield f"  seen      {verdict.seen}"
    if replays:
        yield "  again, in Python:"
        yield from (f"    {line}" for line in verdict.python.splitlines())
        yield "  again, by curl:"
        yield from (f"    {line}" for line in verdict.curl.splitlines())


def summary(report: Report) -> str:
    """The last line."""
    target = report.target
    how = f"profile {target.profile}, seed {target.seed}, {report.requests} requests, {report.seconds:.1f} s"
    deviations = len(report.deviations)
    if report.obstacle and not deviations:
        return f"Could not test {target.shown}: {report.obstacle}"
    broken_off = f" The run was broken off: {report.obstacle}" if report.obstacle else ""
    if deviations:
        noun = "requirement" if deviations == 1 else "requirements"
        return f"{target.shown} deviates from {deviations} {noun} ({how}).{broken_off}"
    kept, open_ = len(report.of(Outcome.KEPT)), len(report.of(Outcome.UNDECIDED))
    return f"{target.shown} conforms: {kept} requirements kept, {open_} undecided ({how})."
