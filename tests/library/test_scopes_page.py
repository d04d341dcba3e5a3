"""The page about scopes says what happens."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "library" / "scopes.md"
EXAMPLES = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", PAGE.read_text(), re.S)


def test_every_example_tells_what_it_prints() -> None:
    """Each is followed by its output, so none is left out here."""
    assert len(EXAMPLES) == PAGE.read_text().count("```python\n") == 3


@pytest.mark.parametrize(("code", "output"), EXAMPLES, ids=["needed", "recorded", "algebra"])
def test_an_example_prints_what_the_page_says(code: str, output: str) -> None:
    """As it stands there, in a program of its own."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.stdout, done.stderr) == (output, "")
