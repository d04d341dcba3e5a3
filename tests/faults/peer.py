"""What Schemathesis finds of the same faults: `python -m tests.faults.peer [--only FAULT]...`.

It gets all it can use: every check, stateful testing, our description of the API, and the help of
`tests/server/http/test_schemathesis.py` in naming things that exist. Faults that show on WebSockets alone, or
over a restart, are left out, since it knows neither.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from . import Fault, load
from .run import AT_ONCE

TRIED = (
    "big_numbers_are_a_bug",
    "conflict_is_400",
    "containers_of_others_found",
    "create_needs_no_scope",
    "deleted_container_still_answers",
    "error_without_code",
    "hostname_by_name",
    "key_comment_lost",
    "key_ignored",
    "key_shared_by_paths",
    "key_twice",
    "keys_may_repeat",
    "keys_of_others_used",
    "libraries_mounted",
    "limit_is_forbidden",
    "long_keys_refused",
    "mounts_as_written",
    "nan_is_a_bug",
    "nested_mounts",
    "point_off_its_curve",
    "port_8000_refused",
    "request_id_always_the_same",
    "revoked_token_keeps_its_sockets",
    "rule_time_as_text",
    "start_by_create",
    "start_of_a_running_container_restarts",
    "start_says_initializing",
    "storage_by_default_10",
    "terminal_needs_no_scope",
    "tokens_of_others_revoked",
)
"""Thirty faults, all but two drawn at random from the areas that it knows: no WebSockets, no restarts."""
VARIABLE = "ECOMPUTE_FAULT"
PATIENCE = 900.0

_TEST = "tests/server/http/test_schemathesis.py"


def pytest_configure(config: pytest.Config) -> None:
    """As a plugin of the child process: put the fault on before anything of the server is loaded."""
    load()[os.environ[VARIABLE]].put_on()


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
    parser.add_argument("--only", action="append", choices=TRIED, help="name of a fault")
    given = parser.parse_args(arguments)
    faults = [load()[name] for name in given.only or TRIED]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        trials = list(pool.map(tried, faults))
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
