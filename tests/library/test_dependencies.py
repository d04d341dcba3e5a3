"""The base install needs five libraries, and the package imports no other without having asked first."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import requires
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "ecompute"

BASE = {"anyio", "attrs", "cattrs", "httpx", "wsproto"}
OPTIONAL = ("cli", "conformance")
"""Parts that come with an extra of their own."""

ASKED_FOR = {"async_waiters.py": {"trio"}, "live.py": {"IPython", "rich"}}
"""What is imported only where the program runs on it, or where it was found before."""


def modules() -> list[Path]:
    """The files of the base install."""
    return [
        path for path in sorted(PACKAGE.rglob("*.py")) if path.relative_to(PACKAGE).parts[0] not in OPTIONAL
    ]


def name_of(requirement: str) -> str:
    """The package in a requirement."""
    return re.split(r"[^\w.-]", requirement)[0].lower()


def needed(tree: ast.AST) -> Iterator[str]:
    """What is imported without a guard: neither for type checkers only, nor with an answer to its absence."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            yield from needed(ast.Module(node.orelse, []))
        elif isinstance(node, ast.Try) and any("ImportError" in ast.unparse(h) for h in node.handlers):
            yield from needed(ast.Module([*node.orelse, *node.finalbody], []))
        elif isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield (node.module or "").partition(".")[0]
        else:
            yield from needed(node)


def test_the_base_install_has_five_dependencies() -> None:
    """No more, so that the library fits beside everything."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {name_of(requirement) for requirement in project["dependencies"]} == BASE


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_what_the_base_install_has(path: Path) -> None:
    """The standard library, the five, and what the HTTP library is made of."""
    brought = {
        name_of(requirement) for requirement in requires("httpx") or () if "extra ==" not in requirement
    }
    asked_for = ASKED_FOR.get(str(path.relative_to(PACKAGE)), set())
    allowed = {*sys.stdlib_module_names, *BASE, *brought, *asked_for, "ecompute"}
    assert {name for name in needed(ast.parse(path.read_text())) if name not in allowed} == set()
