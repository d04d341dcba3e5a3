"""The process of a server with a fault, and how it is restarted."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import frozen

from ecompute.conformance import Profile, Target

ROOT = Path(__file__).parents[2]
END_SECONDS = 60.0


class NoServer(Exception):
    """The process did not come to serve."""


@frozen
class FaultyServer:
    """Where it is, and the sessions of two users."""

    url: str
    token: str
    second_token: str
    control: str

    @property
    def restart_command(self) -> str:
        """A shell line that restarts it."""
        line = shlex.join([sys.executable, "-m", "tests.faults.restart", self.control])
        return f"cd {shlex.quote(str(ROOT))} && {line}"

    def target(self, profile: Profile, **more: Any) -> Target:
        """What the kit is told of it, with everything that it can be given."""
        return Target(
            self.url,
            self.token,
            self.second_token,
            profile=profile,
            restart_command=self.restart_command,
            **more,
        )


@contextmanager
def serving(fault: str = "-", hypervisor: str = "simulated") -> Iterator[FaultyServer]:
    """A server in a process of its own until the block ends.

    Raises:
        NoServer: it does not start.
    """
    with subprocess.Popen(
        [sys.executable, "-m", "tests.faults.server", fault, hypervisor],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            if not line:
                raise NoServer(f"the server with the fault {fault} did not start")
            yield FaultyServer(**json.loads(line))
        finally:
            process.stdin.close()
            process.wait(END_SECONDS)
