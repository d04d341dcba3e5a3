"""The tables are whole: nothing in them is forgotten elsewhere."""

from __future__ import annotations

import re

import attrs
import pytest

from ecompute.contract.catalog import INSTANCE_TYPES
from ecompute.contract.endpoint import Channel, Endpoint, path_parameters, request_fields
from ecompute.contract.endpoints import CHANNELS, ENDPOINTS
from ecompute.contract.problems import PROBLEMS, Code

ROWS = [*ENDPOINTS, *CHANNELS]


@pytest.mark.parametrize("row", ENDPOINTS, ids=lambda row: row.name)
def test_a_row_asks_for_the_parameters_of_its_path(row: Endpoint[object, object]) -> None:
    """The request class has exactly the path's parameters as path fields."""
    in_path = {spec.name for spec in request_fields(row.request) if spec.place == "path"}
    assert in_path == set(path_parameters(row.path))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_scope_and_its_action_come_together(
    row: Endpoint[object, object] | Channel[object, object],
) -> None:
    """And a scope with an id belongs to a path with an id."""
    assert (row.scope is None) == (row.action is None)
    if row.scope and "<id>" in row.scope:
        assert "id" in path_parameters(row.path)


def test_rows_have_names_and_places_of_their_own() -> None:
    """No two rows answer the same request."""
    assert len({row.name for row in ROWS}) == len(ROWS)
    assert len({(row.method, row.path) for row in ROWS}) == len(ROWS)


def test_paths_are_plain() -> None:
    """No trailing slash, no upper case."""
    assert all(re.fullmatch(r"(/[a-z-]+|/\{[a-z_]+\})+", row.path) for row in ROWS)


def test_every_error_code_has_its_row() -> None:
    """The error table is total."""
    assert set(PROBLEMS) == set(Code)


def test_classes_at_the_border_are_frozen() -> None:
    """A request or an answer does not change under one's hands."""
    for row in ENDPOINTS:
        for cls in (row.request, row.response):
            assert attrs.has(cls)
            assert cls.__setattr__ is not object.__setattr__


def test_a_fraction_of_a_core_is_one_processor_for_the_guest() -> None:
    """Half a core is a share, not half a processor."""
    assert {name: kind.vcpus for name, kind in INSTANCE_TYPES.items()} == {
        "nano": 1,
        "micro": 1,
        "mini": 2,
        "tiny": 1,
        "small": 2,
        "medium": 4,
    }
