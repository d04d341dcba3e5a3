"""What is only so in the kernel of a notebook."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
from nbformat.v4 import new_code_cell, new_notebook

from ecompute_server.testing import RunningServer

from .children import run


def outputs(server: RunningServer, folder: Path, *cells: str) -> list[list[Any]]:
    """What each cell of a new notebook shows; one may fail whose first line says so."""
    book = new_notebook(  # type: ignore[no-untyped-call]
        cells=[
            new_code_cell(  # type: ignore[no-untyped-call]
                cell, metadata={"tags": ["raises-exception"] if cell.startswith("# fails") else []}
            )
            for cell in cells
        ]
    )
    path, result = folder / "new.ipynb", folder / "done.ipynb"
    nbformat.write(book, path)  # type: ignore[no-untyped-call]
    run(server, folder, "-m", "tests.examples.execute", str(path), str(result))
    done: Any = nbformat.read(result, as_version=4)  # type: ignore[no-untyped-call]
    return [cell.outputs for cell in done.cells]


SCREEN = """
from ecompute import Container
from ecompute.live import screen_here

screen = screen_here()
screen.show([Container(id="aaaaaaaa", name="first", status="pending")])
"""
CHANGE = """
screen.show([Container(id="aaaaaaaa", name="first", status="running")])
screen.close()
"""


def test_a_picture_changes_in_place(server: RunningServer, tmp_path: Path) -> None:
    """Also from a later cell: there is one output, where it was first shown, and it is the last one."""
    first, second = outputs(server, tmp_path, SCREEN, CHANGE)
    (shown,) = first
    assert shown.output_type == "display_data"
    for kind in ("text/html", "text/plain"):
        assert "running" in shown.data[kind]
        assert "pending" not in shown.data[kind]
    assert second == []


BOTH = """
import ecompute

with ecompute.Client() as client, client.watch() as view:
    view.live("running")
async with ecompute.AsyncClient() as client, client.watch() as view:
    await view.live("running")
"""


def test_both_clients_work(server: RunningServer, tmp_path: Path) -> None:
    """The sync one beside the kernel's running event loop, the async one in it, by `await`."""
    (shown,) = outputs(server, tmp_path, BOTH)
    assert [output.data["text/plain"] for output in shown] == ["none", "none"]


FAILING = """# fails
import ecompute

def find(client):
    return client.containers.get("nothing1")

with ecompute.Client() as client:
    find(client)
"""


def test_a_failure_keeps_its_traceback(server: RunningServer, tmp_path: Path) -> None:
    """The caller's own lines are there, and the last one is the sentence."""
    ((shown,),) = outputs(server, tmp_path, FAILING)
    assert shown.ename == "NotFound"
    assert shown.evalue.startswith("containers.get nothing1 was refused: ")
    assert "find" in "".join(shown.traceback)
    assert shown.evalue in shown.traceback[-1]
