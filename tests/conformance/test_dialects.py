"""Dialects: what they let pass, and how a malformed one is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from ecompute.conformance import dialect
from ecompute.conformance.registry import REQUIREMENTS
from ecompute.conformance.verdict import CannotTest

ONE = next(iter(REQUIREMENTS))


def test_those_of_the_kit_are_well_formed() -> None:
    """Each loads, and says which servers speak it."""
    assert dialect.names() == ("hosted", "reference")
    for name in dialect.names():
        assert dialect.load(name).summary


def test_an_alternative_lets_its_statuses_pass() -> None:
    """Only for its own requirement."""
    text = f'[[alternative]]\nrequirement = "{ONE}"\nstatus = [400, 422]\nnote = "It is strict."\n'
    spoken = dialect.parse("mine", text)
    assert spoken.lets_pass(ONE, 422) == "It is strict."
    assert spoken.lets_pass(ONE, 409) is None
    assert spoken.lets_pass("no such", 400) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("= 1", "no TOML"),
        ("sumary = 'x'", "unknown keys: sumary"),
        ("alternative = 1", "list of tables"),
        ("[[alternative]]\nrequirement = 'X'", "requirement, status and note"),
        ("[[alternative]]\nrequirement = 'X-1'\nstatus = 400\nnote = ''", "X-1, which is no requirement"),
        (f"[[alternative]]\nrequirement = '{ONE}'\nstatus = 4000\nnote = ''", "status is one of HTTP"),
        (f"[[alternative]]\nrequirement = '{ONE}'\nstatus = true\nnote = ''", "status is one of HTTP"),
        (f"[[alternative]]\nrequirement = '{ONE}'\nstatus = 400\nnote = ''\n" * 2, "twice"),
    ],
)
def test_a_malformed_one_is_refused(text: str, words: str) -> None:
    """With a sentence that names what is wrong."""
    with pytest.raises(CannotTest, match=words):
        dialect.parse("mine", text)


def test_an_unknown_one_is_refused(tmp_path: Path) -> None:
    """By naming those that there are; a file that is not there is told as such."""
    with pytest.raises(CannotTest, match="hosted, reference"):
        dialect.load("klingon")
    with pytest.raises(CannotTest, match="cannot be read"):
        dialect.load(str(tmp_path / "none.toml"))
