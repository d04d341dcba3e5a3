"""The registry: every requirement has a check, every check a requirement, and the page shows them all."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from ecompute.conformance import strategies
from ecompute.conformance.description import TABLES
from ecompute.conformance.registry import AREAS, CHECKS, REQUIREMENTS

DOCS = Path(__file__).parents[2] / "docs"


def test_every_requirement_is_decided_by_a_check() -> None:
    """No rule is only written down."""
    decided = {id_ for check in CHECKS for id_ in check.decides}
    assert set(REQUIREMENTS) - decided == set()


def test_every_check_decides_requirements_that_there_are() -> None:
    """No check is for nothing, and none names what is not there."""
    for check in CHECKS:
        assert check.decides, check.name
        assert set(check.decides) <= set(REQUIREMENTS), check.name


def test_ids_and_sentences_are_well_formed() -> None:
    """An id is the area's prefix and a number, once; a sentence is one, and names its source."""
    ids = [requirement.id for area in AREAS for requirement in area.requirements]
    assert len(ids) == len(set(ids))
    prefixes = [{id_.partition("-")[0] for id_ in (r.id for r in area.requirements)} for area in AREAS]
    assert all(len(each) == 1 for each in prefixes)
    assert len(set().union(*prefixes)) == len(AREAS)
    for requirement in REQUIREMENTS.values():
        assert re.fullmatch(r"[A-Z]{3}-\d{3}", requirement.id)
        assert requirement.sentence.endswith("."), requirement
        assert requirement.source, requirement


def test_every_check_says_what_it_does() -> None:
    """Its docstring is what people read."""
    assert [check.name for check in CHECKS if not check.summary.endswith(".")] == []


@pytest.mark.parametrize("page", TABLES)
def test_the_page_has_the_table_of_today(page: str) -> None:
    """The documentation holds what `python -m ecompute.conformance.description docs` writes."""
    assert TABLES[page][1]() in (DOCS / page).read_text("utf-8")


def test_the_page_lists_every_strategy() -> None:
    """Each public strategy is in the table once."""
    rows = re.findall(r"^\| `(\w+)\(", TABLES["library/strategies.md"][1](), re.M)
    made = [name for name in strategies.__all__ if inspect.isfunction(getattr(strategies, name))]
    assert sorted(rows) == sorted(made)
