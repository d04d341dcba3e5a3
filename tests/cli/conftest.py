"""The command as a child process, against a server on the simulated host."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pexpect
import pytest
from attrs import frozen

from ecompute_server.testing import OtherUser, RunningServer, running_server

COMMAND = [sys.executable, "-m", "ecompute.cli"]
PATIENCE = 60.0
PASSWORD = "correct horse"


@frozen
class Done:
    """How a command ended."""

    code: int
    output: str
    error: str

    @property
    def json(self) -> Any:
        """What it printed for programs."""
        assert self.code == 0, self
        return json.loads(self.output)

    @property
    def sentence(self) -> str:
        """The one sentence of a command that could not do what was asked."""
        (line,) = self.error.strip().splitlines()
        assert line.startswith("ecompute: "), self
        return line.removeprefix("ecompute: ")


@frozen
class User:
    """Somebody with a home, and an environment that leads to a server."""

    home: Path
    environment: Mapping[str, str]

    def ecompute(self, *arguments: str, stdin: str = "", **environment: str) -> Done:
        """Run the command to its end."""
        done = subprocess.run(
            [*COMMAND, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
            env={**self.environment, **environment},
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Done(done.returncode, done.stdout, done.stderr)

    def begin(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        """Start the command."""
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(
            [*COMMAND, *arguments], text=True, env=dict(self.environment), **{**pipes, **options}
        )

    def at_a_terminal(self, *arguments: str, columns: int = 100, **environment: str) -> pexpect.spawn[str]:
        """Start the command on a terminal of its own."""
        return pexpect.spawn(
            COMMAND[0],
            [*COMMAND[1:], *arguments],
            env={"TERM": "xterm-256color", **self.environment, **environment},
            dimensions=(30, columns),
            timeout=PATIENCE,
            encoding="utf-8",
        )


def ended(terminal: pexpect.spawn[str]) -> Done:
    """What a command showed on a terminal since the last answer, and how it ended."""
    terminal.expect(pexpect.EOF)
    terminal.close()
    return Done(terminal.exitstatus, terminal.before or "", "")


def surroundings(home: Path, **more: str) -> dict[str, str]:
    """An environment without anything of whoever runs the tests."""
    kept = ("PATH", "LANG", "PYTHONPATH", "VIRTUAL_ENV")
    found = {name: os.environ[name] for name in kept if name in os.environ}
    return {**found, "HOME": str(home), "PYTHONWARNINGS": "error", **more}


@pytest.fixture(scope="module")
def host() -> Iterator[RunningServer]:
    """A server that the tests of a module share."""
    with running_server(max_containers_per_user=100) as server:
        yield server


@pytest.fixture(scope="module")
def people(host: RunningServer) -> Callable[[], OtherUser]:
    """Makes somebody new, who has nothing yet and can log in."""
    count = iter(range(1000))
    return lambda: host.add_user(f"user{next(count)}", PASSWORD)


@pytest.fixture
def stranger(tmp_path: Path) -> User:
    """Somebody whom no environment leads anywhere."""
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True)
    return User(home, surroundings(home))


@pytest.fixture
def user(stranger: User, host: RunningServer, people: Callable[[], OtherUser]) -> User:
    """Somebody with a token, a home and nothing else."""
    more = {"ECOMPUTE_URL": host.url, "ECOMPUTE_TOKEN": people().token}
    return User(stranger.home, {**stranger.environment, **more})


@pytest.fixture
def key_file(stranger: User, public_key: str) -> Path:
    """A public key where ssh keeps them."""
    file = stranger.home / ".ssh" / "id_ed25519.pub"
    file.write_text(f"{public_key} me@laptop\n")
    return file
