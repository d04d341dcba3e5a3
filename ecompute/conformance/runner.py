"""A run: every check in turn, and what came of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable

from . import opening
from .check import Check
from .lab import Lab
from .registry import CHECKS, REQUIREMENTS
from .report import CheckReport, Report
from .retelling import as_curl, as_python
from .target import Profile, Target
from .things import made_by
from .verdict import CannotTest, Deviation, Lost, NotThere, Outcome, Verdict

Progress = Callable[[CheckReport], None]
_BROKEN = 3
"""Exchanges lost in a row after which the server counts as gone."""


def chosen(profile: Profile, only: Collection[str] = ()) -> tuple[Check, ...]:
    """The checks of a profile; `only` are names of checks, areas, or ids of requirements.

    Raises:
        CannotTest: there is no such thing.
    """
    known = {check.name for check in CHECKS} | {check.area for check in CHECKS} | set(REQUIREMENTS)
    if unknown := sorted(set(only) - known):
        raise CannotTest(f"There is no check, area or requirement {', '.join(unknown)}.")
    return tuple(
        check
        for check in CHECKS
        if (profile is Profile.STANDARD or not check.standard)
        and (not only or {check.name, check.area, *check.decides} & set(only))
    )


def run(
    target: Target,
    *,
    only: Collection[str] = (),
    fail_fast: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Test a server, and tidy up. `fail_fast` ends the run with the first deviation.

    The report says what could not be tested as well: nothing is raised for that.
    """
    started = time.monotonic()
    results: list[CheckReport] = []
    obstacle = ""
    lab: Lab | None = None
    left: tuple[str, ...] = ()
    try:
        checks = chosen(target.profile, only)
        lab = opening.open_lab(target)
        try:
            for check in checks:
                result = perform(lab, check)
                results.append(result)
                if progress is not None:
                    progress(result)
                if fail_fast and result.deviates:
                    break
        finally:
            left = clean(lab)
            lab.wire.close()
    except CannotTest as error:
        obstacle = str(error)
    return Report(
        target=target,
        checks=tuple(results),
        seconds=time.monotonic() - started,
        requests=lab.wire.count if lab else 0,
        abilities=lab.abilities.seen() if lab else {},
        obstacle=obstacle,
        left_behind=left,
    )


def perform(lab: Lab, check: Check) -> CheckReport:
    """One check.

    Raises:
        CannotTest: the server is gone.
    """
    started = time.monotonic()
    verdicts: Iterable[Verdict]
    with lab.checking(check) as judge:
        deviation: Deviation | None = None
        why = "The check ended before it came to this."
        try:
            lab.need(*check.needs)
            check.trial(lab)
        except Deviation as error:
            deviation = error
        except NotThere as error:
            why = str(error)
        except Lost as error:
            _there(lab, error)
            deviation = Deviation((*judge.open, *check.decides)[0], "an answer to each request", str(error))
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            if not _foreign(error):
                raise
            deviation = Deviation(
                (*judge.open, *check.decides)[0],
                "an answer of the form that the contract describes",
                repr(error),
            )
        told = (as_python(lab.history, lab.target.url), as_curl(lab.history, lab.target.url))
        verdicts = [
            Verdict(id_, finding.outcome, check.name, note=finding.note)
            for id_, finding in judge.findings.items()
            if deviation is None or id_ != deviation.requirement
        ]
        if deviation is not None:
            verdicts.append(
                Verdict(
                    deviation.requirement,
                    Outcome.DEVIATES,
                    check.name,
                    deviation.expected,
                    deviation.seen,
                    python=told[0],
                    curl=told[1],
                )
            )
        verdicts += [
            Verdict(id_, Outcome.UNDECIDED, check.name, note=why)
            for id_ in judge.open
            if deviation is None or id_ != deviation.requirement
        ]
    return CheckReport(check, tuple(verdicts), time.monotonic() - started)


def _there(lab: Lab, error: Lost) -> None:
    """See whether the server still answers.

    Raises:
        CannotTest: it does not.
    """
    for _ in range(_BROKEN):
        try:
            lab.wire.send("GET", "/compute/containers", token=lab.first.credential.token)
        except Lost:
            continue
        return
    raise CannotTest(
        f"The server went away in the middle: {error} What was made on it may be left there."
    ) from None


def _foreign(error: BaseException) -> bool:
    """Whether an answer of an unforeseen form is behind it, rather than a mistake of a check."""
    return not str(error).startswith("the check ")


def clean(lab: Lab) -> tuple[str, ...]:
    """Delete all that the run has made, and tell the paths of what could not be."""
    left = [thing.path for thing in lab.remove(lab.things.since(0))]
    for tenant in (lab.first, *((lab.second,) if lab.has_second else ())):
        for path, name in (
            ("/compute/containers", "containers"),
            ("/compute/ssh-keys", "ssh_keys"),
            ("/api/tokens", "tokens"),
        ):
            try:
                listed = lab.wire.send("GET", path, token=tenant.credential.token)
                for id_ in made_by(lab.prefix, listed.body.get(name)):
                    gone = lab.wire.send("DELETE", f"{path}/{id_}", token=tenant.credential.token)
                    if gone.status not in (200, 404):
                        left.append(f"{path}/{id_}")
            except Lost:
                left.append(f"{path} (the server does not answer)")
    return tuple(left)
