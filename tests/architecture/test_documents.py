"""What the documents name is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "docs/decisions").glob("*.md")]
)


def named_tests(text: str) -> set[tuple[str, str]]:
    """Files below `tests/` and tests in them, as a document names them; `…` is the file named before."""
    found, before = set(), ""
    for file, name in re.findall(r"`(?:tests/)?([\w/]+\.py|…)(?:::(\w+))?(?:\[…\])?`", text):
        if file == "…":
            file = before
        elif not file.startswith(("scenarios/", "drivers/", "server/", "library/", "contract/", "images/")):
            continue
        before = file
        found.add((file, name))
    return found


def test_the_tests_of_the_threat_model_are_there() -> None:
    """Each file, and in it each test."""
    named = named_tests((ROOT / "docs/security.md").read_text())
    assert len(named) > 30
    missing = {
        (file, name)
        for file, name in named
        if not (ROOT / "tests" / file).is_file()
        or (name and f"def {name}(" not in (ROOT / "tests" / file).read_text())
    }
    assert missing == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    """Those to files of the repository, and nothing is left to be filled in."""
    text = document.read_text()
    links = re.findall(r"\]\((?!https?:)([^)#\s]*)[^)]*\)", text)
    assert [link for link in links if link and not (document.parent / link).exists()] == []
    assert "@@" not in text
