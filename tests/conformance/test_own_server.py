"""The reference server keeps its own contract: the quick profile on the simulated host, with a restart."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ecompute.conformance import Outcome, Profile, Target, run
from ecompute.conformance.report import table
from ecompute_server.testing import RunningServer
from tests.faults.process import serving

ROOT = Path(__file__).parents[2]


def test_the_simulated_server_conforms() -> None:
    """Everything that can be decided without real guests is, and nothing is left behind."""
    with serving() as server:
        report = run(server.target(Profile.QUICK))
    assert report.exit_code == 0, table.text(report)
    assert report.left_behind == ()
    undecided = {verdict.requirement for verdict in report.of(Outcome.UNDECIDED)}
    # a run cannot end its own session, and knows no password for another
    assert undecided == {"SES-012"}, table.text(report)


def test_a_user_keeps_what_was_there(server: RunningServer) -> None:
    """Containers, keys and tokens of other making are as before."""
    with server.client() as client:
        key = client.ssh_keys.add(
            "own", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIw4MMLcdHldkzU4zV+PTyjxEW76OFXj6mMww2EamFgm"
        )
        client.containers.create("own", key, wait=True)
        client.tokens.create("own", {"compute.<uid>": ["read"]})
        before = (client.containers.list(), client.ssh_keys.list(), client.tokens.list())
        report = run(
            Target(server.url, server.token, profile=Profile.QUICK), only=["containers", "keys", "tokens"]
        )
        assert report.deviations == ()
        assert (client.containers.list(), client.ssh_keys.list(), client.tokens.list()) == before


def test_the_same_seed_does_the_same(server: RunningServer) -> None:
    """Two runs with one seed make as many requests and come to the same verdicts; a rate is kept to."""
    tokens = (server.add_user("one").token, server.add_user("two").token)
    reports = [
        run(Target(server.url, token, profile=Profile.QUICK, seed=3), only=["creation", "keys"])
        for token in tokens
    ]
    assert reports[0].requests == reports[1].requests
    assert [v.outcome for v in reports[0].verdicts] == [v.outcome for v in reports[1].verdicts]


def test_a_rate_is_kept(server: RunningServer) -> None:
    """No more requests in a second than were allowed."""
    report = run(Target(server.url, server.token, profile=Profile.QUICK, rate=50), only=["KEY-004"])
    assert report.exit_code == 0
    assert (report.requests - 1) / report.seconds <= 50


def plugin(server: RunningServer, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """pytest with the kit's plugin, as elsewhere than in this project."""
    command = [sys.executable, "-m", "pytest", "--pyargs", "ecompute.conformance", "-p", "no:cacheprovider"]
    options = ["--ecompute-url", server.url, "--ecompute-profile", "quick", *arguments]
    return subprocess.run(
        [*command, *options], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )


def test_the_plugin_runs_a_test_for_each_check(server: RunningServer, tmp_path: Path) -> None:
    """It passes on a right server, and skips with the reason what cannot be decided."""
    done = plugin(server, tmp_path, "--ecompute-token", server.token, "-k", "keys or persistence", "-rs")
    assert done.returncode == 0, done.stdout
    assert "--restart-command" in done.stdout
    assert " passed" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--ecompute-token", "nonsense"), "expired, revoked, or of another server"),
        ((), "set ECOMPUTE_TOKEN or give --ecompute-token"),
    ],
)
def test_the_plugin_says_what_is_missing(
    server: RunningServer,
    tmp_path: Path,
    arguments: tuple[str, ...],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A sentence, the exit code 2, and no test."""
    monkeypatch.delenv("ECOMPUTE_TOKEN", raising=False)
    done = plugin(server, tmp_path, *arguments)
    assert done.returncode == 2, done.stdout
    assert words in done.stdout + done.stderr


def command(
    server: RunningServer, *arguments: str, token: str | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ecompute.cli", "conformance", *arguments],
        env={"ECOMPUTE_URL": server.url, "ECOMPUTE_TOKEN": token or server.token, "HOME": "/nonexistent"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_command_reports_in_three_forms(server: RunningServer, tmp_path: Path) -> None:
    """A table, JSON and JUnit's XML, with the exit code of the verdict."""
    file = tmp_path / "report.xml"
    done = command(server, "run", "--profile", "quick", "--only", "keys", "--junit", str(file))
    assert done.returncode == 0, done.stderr
    assert "conforms: " in done.stdout
    assert "<testsuite " in file.read_text()
    done = command(server, "run", "--profile", "quick", "--only", "KEY-001", "--json")
    assert '"conforms": true' in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--only", "nothing"), "There is no check, area or requirement nothing."),
        (("--only", "ING-020", "--profile", "quick"), "The profile quick leaves out ING-020: take standard."),
        (("--only", "persistence"), "Nothing could be decided: The server lacks, or the run was not given"),
        (("--dialect", "klingon"), "There is no dialect 'klingon': there are hosted, reference"),
        (("--url", "http://127.0.0.1:9"), "Is the server running, and the URL right?"),
        (("--ca-file", "/nonexistent", "--url", "https://127.0.0.1:9"), "cannot be used"),
    ],
)
def test_the_command_says_why_it_could_not_test(
    server: RunningServer, arguments: tuple[str, ...], words: str
) -> None:
    """One sentence on standard error, and the exit code 2."""
    done = command(server, "run", *arguments)
    assert done.returncode == 2, done
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_command_lists_what_is_asked(server: RunningServer) -> None:
    """Requirements and dialects, without a server."""
    assert "KEY-001" in command(server, "requirements").stdout
    assert "hosted" in command(server, "dialects").stdout


def test_the_restart_of_the_fault_server_is_a_shell_line() -> None:
    """What an operator would give as --restart-command."""
    with serving() as server:
        assert subprocess.run(server.restart_command, shell=True, check=False).returncode == 0
