"""A run: every check in turn, and what came of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from contextlib import closing

from . import opening
from .check import Check
from .hiding import fit, hidden
from .lab import Lab
from .registry import CHECKS, REQUIREMENTS
from .report import CheckReport, Report
from .retelling import as_curl, as_python
from .target import Profile, Target
from .things import LISTS
from .verdict import CannotTest, Deviation, Foreign, Lost, NotThere, Outcome, Verdict

Progress = Callable[[CheckReport], None]
_BROKEN = 3
"""Exchanges lost in a row after which the server counts as gone."""


def chosen(profile: Profile, only: Collection[str] = ()) -> tuple[Check, ...]:
    """The checks of a profile; `only` are names of checks, areas, or ids of requirements.

    Raises:
        CannotTest: there is no such thing, or the profile leaves it out.
    """
    known = {check.name for check in CHECKS} | {check.area for check in CHECKS} | set(REQUIREMENTS)
    if unknown := sorted(set(only) - known):
        raise CannotTest(f"There is no check, area or requirement {', '.join(unknown)}.")
    asked = [c for c in CHECKS if not only or {c.name, c.area, *c.decides} & set(only)]
    found = tuple(check for check in asked if profile is Profile.STANDARD or not check.standard)
    if not found:
        raise CannotTest(
            f"The profile {profile} leaves out {', '.join(sorted(only))}: take {Profile.STANDARD}."
        )
    return found


def run(
    target: Target,
    *,
    only: str | Collection[str] = (),
    fail_fast: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Test a server, and tidy up. `only` names areas, checks or requirements; `fail_fast` ends the run with
    the first deviation.

    The report says what could not be tested as well: nothing is raised for that.
    """
    started = time.monotonic()
    results: list[CheckReport] = []
    obstacle = ""
    lab: Lab | None = None
    left: tuple[str, ...] = ()
    try:
        checks = chosen(target.profile, (only,) if isinstance(only, str) else only)
        lab = opening.open_lab(target)
        with closing(lab.wire):
            try:
                for check in checks:
                    result = perform(lab, check)
                    results.append(result)
                    if progress is not None:
                        progress(result)
                    if fail_fast and result.deviates:
                        break
            except BaseException as error:
                if left := _cleaned(lab):
                    error.add_note(f"left behind, since it could not be deleted: {', '.join(left)}")
                raise
            left = _cleaned(lab)
        undecided = [verdict for result in results for verdict in result.verdicts]
        if undecided and all(verdict.outcome is Outcome.UNDECIDED for verdict in undecided):
            raise CannotTest(f"Nothing could be decided: {undecided[0].note}")
    except CannotTest as error:
        obstacle = fit(str(error), secrets_of(target, lab))
    return Report(
        target=target,
        checks=tuple(results),
        seconds=time.monotonic() - started,
        requests=lab.wire.count if lab else 0,
        abilities=lab.abilities.seen() if lab else {},
        obstacle=obstacle,
        left_behind=left,
    )


def secrets_of(target: Target, lab: Lab | None = None) -> tuple[str, ...]:
    """What must be in no report."""
    if lab is not None:
        return lab.secrets
    return tuple(token for token in (target.token, target.second_token) if token)


def _cleaned(lab: Lab) -> tuple[str, ...]:
    # who ends a run is often impatient, and means the run
    try:
        return clean(lab)
    except KeyboardInterrupt:
        clean(lab)
        raise


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
        except Foreign as error:
            deviation = Deviation(
                (*judge.open, *check.decides)[0], "ids of what was made, and of nothing else", str(error)
            )
        except Exception as error:
            if not _foreign(error):
                raise
            deviation = Deviation(
                (*judge.open, *check.decides)[0],
                "an answer of the form that the contract describes",
                repr(error),
            )
        secrets = lab.secrets
        verdicts = [
            Verdict(id_, finding.outcome, check.name, note=fit(finding.note, secrets))
            for id_, finding in judge.findings.items()
            if deviation is None or id_ != deviation.requirement
        ]
        if deviation is not None:
            verdicts.append(
                Verdict(
                    deviation.requirement,
                    Outcome.DEVIATES,
                    check.name,
                    fit(deviation.expected, secrets),
                    fit(deviation.seen, secrets),
                    python=hidden(as_python(lab.history, lab.target.url), secrets),
                    curl=hidden(as_curl(lab.history, lab.target.url), secrets),
                )
            )
        verdicts += [
            Verdict(id_, Outcome.UNDECIDED, check.name, note=fit(why, secrets))
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


def _foreign(error: Exception) -> bool:
    """Whether an answer of an unforeseen form is behind it, rather than a mistake of a check."""
    return not isinstance(error, CannotTest | MemoryError) and not str(error).startswith("the check ")


def clean(lab: Lab) -> tuple[str, ...]:
    """Delete all that the run has made, also where it has not seen the answer, and tell the paths of what
    could not be.
    """
    left = list(lab.remove(lab.things.again()))
    lost = ""
    for tenant in (lab.first, *((lab.second,) if lab.has_second else ())):
        for path, name in LISTS.items():
            if lost:
                continue
            try:
                listed = lab.wire.send("GET", path, token=tenant.credential.token)
            except Lost:
                lost = f"{path} (the server does not answer)"
                continue
            found = lab.things.named(lab.prefix, path, tenant.symbol, listed.body.get(name))
            left += lab.remove(tuple(thing for thing in found if thing not in left))
    paths = [thing.path for thing in left] + [lost] * bool(lost)
    return tuple(dict.fromkeys(fit(path, lab.secrets) for path in paths))
