"""What the types promise to users: the files beside this one hold it, and mypy and pyright agree."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
FILES = sorted(path for path in HERE.glob("*.py") if path != Path(__file__))


def pyright(*arguments: str) -> dict[str, Any]:
    """What pyright tells; its JavaScript and its Node.js come with the packages, from no other place."""
    # it looks for the packages of the first Python on the path
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [sys.executable, "-m", "pyright", "--outputjson", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": path},
    )
    assert done.stdout, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


@pytest.fixture(scope="session")
def findings() -> Sequence[str]:
    """What pyright finds in the files here and in the package, each with its place."""
    told = pyright("--project", str(HERE))
    assert told["summary"]["filesAnalyzed"] > len(FILES)
    return [
        f"{Path(one['file']).relative_to(ROOT)}:{one['range']['start']['line'] + 1}: {one['message']}"
        for one in told["generalDiagnostics"]
    ]


def test_pyright_finds_what_users_are_promised(findings: Sequence[str]) -> None:
    """In strict mode: no other type, nothing unknown, and each misuse."""
    assert [one for one in findings if one.startswith("tests")] == []


def test_the_package_is_clean_for_pyright(findings: Sequence[str]) -> None:
    """In strict mode, without the rules that the configuration names."""
    assert [one for one in findings if one.startswith("ecompute")] == []


def test_every_public_type_is_known() -> None:
    """No user's type checker has to guess, however it guesses."""
    completeness = pyright("--verifytypes", "ecompute", "--ignoreexternal")["typeCompleteness"]
    assert completeness["exportedSymbolCounts"]["withKnownType"] > 500
    unknown = [
        symbol["name"]
        for symbol in completeness["symbols"]
        if symbol["isExported"] and (not symbol["isTypeKnown"] or symbol["isTypeAmbiguous"])
    ]
    assert unknown == []


def test_mypy_finds_what_users_are_promised(request: pytest.FixtureRequest) -> None:
    """As users see the package: strict, and silent about what is inside."""
    cache = request.config.cache.mkdir("mypy-of-types")
    options = ["--strict", "--config-file=", "--follow-imports=silent", f"--cache-dir={cache}"]
    command = [sys.executable, "-m", "mypy", *options, *map(str, FILES)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
