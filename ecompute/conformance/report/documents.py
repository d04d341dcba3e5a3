"""A report for programs: JSON, and JUnit's XML for build servers."""

from __future__ import annotations

import json
import re
from typing import Any
from xml.etree import ElementTree

from ecompute.conformance.registry import AREAS, REQUIREMENTS
from ecompute.conformance.verdict import Outcome, Verdict

from . import Report

# what XML 1.0 cannot hold
_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def to_json(report: Report) -> str:
    """One JSON object; the token is not in it."""
    target = report.target
    data: dict[str, Any] = {
        "url": target.shown,
        "profile": target.profile.value,
        "dialect": target.dialect,
        "seed": target.seed,
        "conforms": report.exit_code == 0,
        "exit_code": report.exit_code,
        "obstacle": report.obstacle or None,
        "seconds": round(report.seconds, 3),
        "requests": report.requests,
        "abilities": dict(report.abilities),
        "left_behind": list(report.left_behind),
        "requirements": [_requirement(verdict) for verdict in report.verdicts],
    }
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def _requirement(verdict: Verdict) -> dict[str, Any]:
    requirement = REQUIREMENTS[verdict.requirement]
    data: dict[str, Any] = {
        "id": requirement.id,
        "level": requirement.level.value,
        "sentence": requirement.sentence,
        "source": requirement.source,
        "outcome": verdict.outcome.value,
        "check": verdict.check,
    }
    if verdict.note:
        data["note"] = verdict.note
    if verdict.outcome is Outcome.DEVIATES:
        data |= {
            "expected": verdict.expected,
            "seen": verdict.seen,
            "python": verdict.python,
            "curl": verdict.curl,
        }
    return data


def to_junit(report: Report) -> str:
    """JUnit's XML: a suite for each area, a case for each requirement."""
    by_id = {verdict.requirement: verdict for verdict in report.verdicts}
    root = ElementTree.Element("testsuites", name="ecompute.conformance", time=f"{report.seconds:.3f}")
    for area in AREAS:
        found = [by_id[r.id] for r in area.requirements if r.id in by_id]
        if not found:
            continue
        suite = ElementTree.SubElement(
            root,
            "testsuite",
            name=area.name,
            tests=str(len(found)),
            failures=str(sum(verdict.outcome is Outcome.DEVIATES for verdict in found)),
            skipped=str(sum(verdict.outcome is Outcome.UNDECIDED for verdict in found)),
            errors="0",
        )
        for verdict in found:
            _case(suite, verdict)
    if report.obstacle:
        suite = ElementTree.SubElement(
            root, "testsuite", name="run", tests="1", failures="0", skipped="0", errors="1"
        )
        case = ElementTree.SubElement(suite, "testcase", classname="run", name="the server can be tested")
        ElementTree.SubElement(case, "error", message=_clean(report.obstacle))
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _case(suite: ElementTree.Element, verdict: Verdict) -> None:
    requirement = REQUIREMENTS[verdict.requirement]
    case = ElementTree.SubElement(
        suite, "testcase", classname=verdict.check, name=f"{requirement.id} {requirement.sentence}"
    )
    if verdict.outcome is Outcome.DEVIATES:
        message = f"expected {verdict.expected}; seen: {verdict.seen}"
        failure = ElementTree.SubElement(case, "failure", message=_clean(message), type=requirement.id)
        failure.text = _clean(f"{verdict.python}\n{verdict.curl}")
    elif verdict.outcome is Outcome.UNDECIDED:
        ElementTree.SubElement(case, "skipped", message=_clean(verdict.note))


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("\ufffd", text)
