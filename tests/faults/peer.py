"""What Schemathesis finds of the same faults: `python -m tests.faults.peer [--count 30]`.

It gets all it can use: every check, stateful testing, our description of the API, and the help of
`tests/server/http/test_schemathesis.py` in naming things that exist. Faults that show on WebSockets alone, or
over a restart, are left out, since it knows neither. The faults are drawn by a fixed seed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from . import Fault, load
from .run import AT_ONCE

BEYOND_IT = ("feed", "terminal", "commands", "websockets", "persistence")
SEED = 9
VARIABLE = "ECOMPUTE_FAULT"
PATIENCE = 900.0

_TEST = "tests/server/http/test_schemathesis.py"


def pytest_configure(config: pytest.Config) -> None:
    """As a plugin of the child process: put the fault on before anything of the server is loaded."""
    load()[os.environ[VARIABLE]].put_on()


def drawn(count: int) -> list[Fault]:
    """The faults that are tried."""
    faults = [fault for fault in load().values() if fault.area not in BEYOND_IT]
    return random.Random(SEED).sample(faults, count)


def tried(fault: Fault) -> tuple[str, bool, float]:
    """Whether it is found, and the seconds that took."""
    started = time.monotonic()
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-x",
            "-p",
            "tests.faults.peer",
            "-p",
            "no:cacheprovider",
            _TEST,
        ],
        cwd=Path(__file__).parents[2],
        env={**os.environ, VARIABLE: fault.name},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    seconds = time.monotonic() - started
    killed = done.returncode == 1
    print(
        f"{fault.area:14} {fault.name:40} {'found' if killed else 'not found'} in {seconds:.0f} s", flush=True
    )
    if done.returncode not in (0, 1):
        print(done.stdout[-2000:], done.stderr[-2000:], file=sys.stderr)
    return fault.name, killed, seconds


def main(arguments: Sequence[str]) -> int:
    """Try them, and print what came of it."""
    parser = argparse.ArgumentParser(description="Which seeded faults Schemathesis finds.")
    parser.add_argument("--count", type=int, default=30)
    given = parser.parse_args(arguments)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        trials = list(pool.map(tried, drawn(given.count)))
    print(
        json.dumps(
            {
                "killed": sum(killed for _, killed, _ in trials),
                "total": len(trials),
                "seconds": round(sum(seconds for *_, seconds in trials)),
                "survivors": [name for name, killed, _ in trials if not killed],
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
