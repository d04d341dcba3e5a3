"""Reports: as a table, as JSON, as JUnit's XML, and the histories in them."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

import ecompute_server.core.edits as edits
from ecompute.conformance import Outcome, Report, Target, run
from ecompute.conformance.report import documents, table
from ecompute_server.testing import RunningServer, running_server


@pytest.fixture(scope="module")
def broken() -> Iterator[tuple[RunningServer, Report]]:
    """A server that lists ingress rules by age, and the report of a run against it."""
    with pytest.MonkeyPatch.context() as patch, running_server() as server:
        patch.setattr(edits, "_sorted", lambda *rules: tuple(sorted(rules, key=lambda rule: rule.id)))
        target = Target(server.url, server.token, server.add_user("bob").token, profile="quick", seed=1)
        yield server, run(target, only=["ingress"])


def test_a_deviation_is_told_with_all_that_is_known(broken: tuple[RunningServer, Report]) -> None:
    """The requirement, expected and seen, and the way to see it again."""
    _, report = broken
    assert report.exit_code == 1
    (deviation,) = report.deviations
    text = table.text(report)
    assert f"{deviation.requirement} (" in text
    assert f"expected  {deviation.expected}" in text
    assert f"seen      {deviation.seen[:40]}" in text
    assert "from ecompute.conformance.replay import Replay" in text
    assert '-X POST "$URL"/compute/containers' in text
    assert "deviates from 1 requirement (profile quick, seed 1, " in text


def test_no_report_holds_a_token(broken: tuple[RunningServer, Report]) -> None:
    """Histories name tokens by the variables that hold them."""
    server, report = broken
    for text in (table.text(report), documents.to_json(report), documents.to_junit(report), repr(report)):
        assert server.token not in text
        assert "ecloud_" not in text


def test_json_is_for_programs(broken: tuple[RunningServer, Report]) -> None:
    """Every requirement that the run looked at, with its outcome."""
    _, report = broken
    data = json.loads(documents.to_json(report))
    assert (data["exit_code"], data["conforms"], data["seed"]) == (1, False, 1)
    assert len(data["requirements"]) == len(report.verdicts)
    (deviation,) = (each for each in data["requirements"] if each["outcome"] == "deviates")
    assert deviation["python"]
    assert deviation["curl"]


def test_junit_is_for_build_servers(broken: tuple[RunningServer, Report]) -> None:
    """A case for each requirement; a deviation is a failure, what is undecided is skipped."""
    _, report = broken
    root = ElementTree.fromstring(documents.to_junit(report))
    assert len(root.findall(".//testcase")) == len(report.verdicts)
    assert len(root.findall(".//failure")) == 1
    assert len(root.findall(".//skipped")) == len(report.of(Outcome.UNDECIDED))


def _environment(server: RunningServer) -> dict[str, str]:
    # of a user who has nothing yet
    token = server.add_user(secrets.token_hex(8)).token
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "ECOMPUTE_TOKEN": token}


def test_the_python_of_a_deviation_shows_it_again(
    broken: tuple[RunningServer, Report], tmp_path: Path
) -> None:
    """The script makes its own things and ends with what was seen."""
    server, report = broken
    script = tmp_path / "again.py"
    script.write_text(report.deviations[0].python)
    done = subprocess.run(
        [sys.executable, script],
        env=_environment(server),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    rules = done.stdout.splitlines()[-1].partition("200 ")[2]
    ports = [rule["port"] for rule in json.loads(rules)["rules"]]
    assert ports != sorted(ports)


def test_the_curl_lines_of_a_deviation_show_it_again(broken: tuple[RunningServer, Report]) -> None:
    """The same in a shell."""
    server, report = broken
    done = subprocess.run(
        ["bash", "-eu", "-c", report.deviations[0].curl],
        env=_environment(server),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    ports = [rule["port"] for rule in json.loads(done.stdout.splitlines()[-1])["rules"]]
    assert ports != sorted(ports)


def test_what_a_server_says_cannot_play_with_a_terminal() -> None:
    """Control characters in an answer are shown as escapes."""
    from ecompute.conformance.check import Check
    from ecompute.conformance.dialect import Dialect
    from ecompute.conformance.judge import Judge
    from ecompute.conformance.verdict import Deviation

    judge = Judge(Check("a.b", "a", ("KEY-001",), (), False, lambda lab: None), Dialect("none", "", {}))
    with pytest.raises(Deviation) as caught:
        judge.holds("KEY-001", False, "a clean terminal", "\x1b[2Jgone\r\n")
    assert caught.value.seen == "\\x1b[2Jgone\\r\\n"
