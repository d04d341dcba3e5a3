"""The generated reference: up to date, whole, and its examples work."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

import ecompute
from ecompute.contract.description import markdown, samples
from ecompute.contract.endpoint import Auth, Channel, Endpoint
from ecompute.contract.endpoints import CHANNELS, ENDPOINTS
from ecompute.contract.problems import PROBLEMS

FOLDER = Path(__file__).parents[2] / "docs" / "reference"
ROWS: list[Endpoint[Any, Any] | Channel[Any, Any]] = [*ENDPOINTS, *CHANNELS]


def test_the_reference_is_not_stale() -> None:
    """`make reference` would change nothing."""
    found = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.md")}
    assert found == markdown.pages()


def test_pages_that_are_no_longer_made_are_removed(tmp_path: Path) -> None:
    """And whatever is no page of the reference stays."""
    for name in ("old.md", "picture.svg"):
        (tmp_path / name).touch()
    markdown.write(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {*markdown.pages(), "picture.svg"}


def test_every_row_and_every_error_is_told() -> None:
    """Each row with its own heading, each error with its line."""
    made = markdown.pages()
    for row in ROWS:
        page = made["websockets.md" if isinstance(row, Channel) else "operations.md"]
        assert f"\n### {row.method} {row.path}\n" in page
        assert f"`{row.method} {row.path}`" in made["scopes.md"]
    assert all(f"| `{code}` |" in made["errors.md"] for code in PROBLEMS)


def test_links_lead_somewhere() -> None:
    """To pages that are there, and to headings in them."""
    made = markdown.pages()
    for page in made.values():
        for name, heading in re.findall(r"\]\(([a-z]+\.md|README\.md)(?:#([a-z]+))?\)", page):
            headings = {line.strip("# ").lower() for line in made[name].splitlines() if line.startswith("#")}
            assert not heading or heading in headings


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_the_python_example_is_a_call_that_the_library_takes(
    row: Endpoint[Any, Any] | Channel[Any, Any],
) -> None:
    """The method is there, and its signature takes these arguments."""
    tree = ast.parse(samples.python(row))
    call = next(node for node in ast.walk(tree) if isinstance(node, ast.Call))
    target: Any = ecompute
    client = ecompute.Client(token="x", base_url="http://127.0.0.1:9")
    for name in ast.unparse(call.func).split("."):
        target = client if name == "client" else target if name == "ecompute" else getattr(target, name)
    positional = [ast.literal_eval(node) for node in call.args]
    named = {str(node.arg): ast.literal_eval(node.value) for node in call.keywords}
    client.close()
    assert inspect.signature(target).bind(*positional, **named)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_the_shell_example_sends_a_credential_where_one_is_needed(
    row: Endpoint[Any, Any] | Channel[Any, Any],
) -> None:
    """And only there."""
    assert ("Authorization: Bearer" in samples.curl(row)) == (row.auth is not Auth.NONE)
