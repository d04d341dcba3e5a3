"""The programs of docs/library/testing.md, run as their reader would."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import ecompute.testing
from ecompute_server.faults import Faults

PAGE = (Path(__file__).parents[2] / "docs" / "library" / "testing.md").read_text()
OTHERS = {"clear", "history", "seed"}
"""What is there besides the faults."""
BLOCKS = re.findall(r"^```python\n# (\S+\.py)\n(.*?)^```$", PAGE, re.M | re.S)


def test_its_tests_pass(tmp_path: Path) -> None:
    """Each block is a file; pytest finds the fixtures, and every test of the page passes."""
    assert len(BLOCKS) == PAGE.count("```python")
    for name, code in BLOCKS:
        (tmp_path / name).write_text(code)
    (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    count = sum(code.count("\ndef test_") for _, code in BLOCKS)
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) >= count


def test_no_fault_is_forgotten() -> None:
    """The tables of the page name each fault that there is, on both sides."""
    named = set(re.findall(r"^\| `(\w+)\(", PAGE, re.M))
    ours = {kind.__name__ for kind in ecompute.testing.Fault.__subclasses__()}
    theirs = {"lose_answer", "refuse", "cut_feed", "slow_boot", "fail_boot"}
    assert named == ours | theirs
    assert theirs == {name for name in vars(Faults) if not name.startswith("_")} - OTHERS
