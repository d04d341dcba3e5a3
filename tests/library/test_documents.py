"""Every Python block of the pages about the library runs as it stands there, and prints what the page says.

The blocks of a page run in their order, in one program, against a server of its own on the simulated host.
Where a block is followed by one of text, that is what it prints; `…` stands for whatever comes there. A block
whose fence says more than `python` is another library's, or needs what is not here: it is only compiled.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
from contextlib import ExitStack
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest
from attrs import frozen

import ecompute
from ecompute_server.testing import running_server

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "library"
PAGES = {page.name: page for page in (*sorted(FOLDER.glob("*.md")), FOLDER.parent / "conformance.md")}

ELSEWHERE = {
    "scopes.md": "tests/library/test_scopes_page.py",
    "testing.md": "tests/library/test_testing_page.py",
}
"""Pages whose blocks another test runs."""
ONLY_COMPILED = ("settings.md",)
"""Pages whose blocks name a user's own servers, files and certificates."""
BEFORE = {
    "notebooks.md": """
from pathlib import Path
key = client.ssh_keys.add("laptop", Path("~/.ssh/id_ed25519.pub"))
display = print
""",
    "terminals.md": """
import ecompute
from pathlib import Path
key = client.ssh_keys.add("laptop", Path("~/.ssh/id_ed25519.pub"))
box = client.containers.create("box", key, wait=True)
""",
}
"""What has happened before the first block of a page, where that is not said on it."""

_BLOCK = re.compile(r"^```python([^\n]*)\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.M | re.S)
_LINK = re.compile(r"\]\((?!\w+:)([^)#]+)?(?:#([^)]*))?\)")


@frozen
class Block:
    """Python on a page; `kind` is what its fence says besides, `output` the text after it, if any."""

    page: str
    line: int
    kind: str
    code: str
    output: str | None

    @property
    def placed(self) -> str:
        """The code, with the lines that it has on its page."""
        return "\n" * self.line + self.code

    @property
    def pattern(self) -> str:
        """What the output has to match."""
        return re.escape(self.output or "").replace("…", ".*?")


def blocks_of(page: Path) -> list[Block]:
    """All Python blocks of a page, in their order."""
    text = page.read_text()
    return [
        Block(page.name, text[: found.start()].count("\n") + 1, found[1].strip(), found[2], found[3])
        for found in _BLOCK.finditer(text)
    ]


def is_run(block: Block) -> bool:
    """Whether a block is run here."""
    return not block.kind and block.page not in (*ELSEWHERE, *ONLY_COMPILED)


BLOCKS = {name: blocks_of(page) for name, page in PAGES.items()}
OURS = [name for name, blocks in BLOCKS.items() if any(map(is_run, blocks))]
OTHERS = [block for blocks in BLOCKS.values() for block in blocks if not is_run(block)]


@pytest.fixture
def home(tmp_path: Path, public_key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's world: an empty folder to work in, and a home with a key in it."""
    keys = tmp_path / "home" / ".ssh"
    keys.mkdir(parents=True)
    (keys / "id_ed25519.pub").write_text(f"{public_key} me@home\n")
    monkeypatch.setenv("HOME", str(keys.parent))
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)


def test_the_other_tests_are_there() -> None:
    """A page that is not run here is named by the test that runs it."""
    assert [name for name in ELSEWHERE if name not in PAGES] == []
    assert [test for name, test in ELSEWHERE.items() if name not in (ROOT / test).read_text()] == []


def test_no_python_is_overlooked() -> None:
    """Each fence that begins Python begins a block that is known here, indented ones included."""
    counted = {
        name: len(re.findall(r"^\s*(?:```|~~~)py", page.read_text(), re.M)) for name, page in PAGES.items()
    }
    assert counted == {name: len(blocks) for name, blocks in BLOCKS.items()}


def run(code: str, name: str, names: dict[str, Any]) -> None:
    """Run a block as a notebook would, where `await` may stand at the top level."""
    compiled = compile(code, name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    if compiled.co_flags & inspect.CO_COROUTINE:
        asyncio.run(FunctionType(compiled, names)())
    else:
        exec(compiled, names)


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("page", OURS)
def test_a_page_does_what_it_says(
    page: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the first block to the last, with `client` and `server` given."""
    with running_server() as server, ExitStack() as stack:
        monkeypatch.setenv("ECOMPUTE_URL", server.url)
        monkeypatch.setenv("ECOMPUTE_TOKEN", server.token)
        client = stack.enter_context(server.client())
        names = {"__name__": "__main__", "client": client, "server": server}
        run(BEFORE.get(page, ""), page, names)
        for block in filter(is_run, BLOCKS[page]):
            run(block.placed, str(PAGES[page]), names)
            # a program that runs to its end need not close them
            for made in names.values():
                if isinstance(made, ecompute.Client):
                    stack.callback(made.close)
            said = capsys.readouterr().out
            assert block.output is None or re.fullmatch(block.pattern, said), f"line {block.line}: {said}"


@pytest.mark.parametrize("block", OTHERS, ids=lambda block: f"{block.page}:{block.line}")
def test_what_is_not_run_is_python_at_least(block: Block) -> None:
    """Other libraries' blocks, and those that need more than there is here."""
    compile(block.code, block.page, "exec")


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    """Every link to a place in the repository, headings included."""
    for target, heading in _LINK.findall(PAGES[page].read_text()):
        place = (PAGES[page].parent / target).resolve() if target else PAGES[page]
        assert place.exists(), target
        if heading:
            assert heading in anchors(place.read_text()), f"{target}#{heading}"


def anchors(text: str) -> set[str]:
    """The names by which headings can be linked to."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}
