"""Runs notebooks, in a kernel of this interpreter and with this checkout.

    python -m tests.examples.execute                   all examples, and stores in them what they show
    python -m tests.examples.execute NOTEBOOK RESULT   one, with the server of `ECOMPUTE_URL`

The first gives each a simulated host of its own.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from traitlets.config import Config

from ecompute_server.testing import running_server

from .children import EXAMPLES, ROOT, environment

CELL_SECONDS = 60


def notebooks() -> list[Path]:
    return sorted(EXAMPLES.glob("*.ipynb"))


def execute(path: Path, result: Path, environment: Mapping[str, str]) -> None:
    """Write the notebook with what it shows now.

    Raises:
        CellExecutionError: a cell has failed.
    """
    book: Any = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    # its name is short, since the kernel's sockets are in it
    with tempfile.TemporaryDirectory() as folder:
        runner = NotebookClient(
            book,
            kernel_name="python3",
            timeout=CELL_SECONDS,
            startup_timeout=CELL_SECONDS,
            record_timing=False,
            coalesce_streams=True,
            resources={"metadata": {"path": folder}},
            config=Config({"KernelManager": {"transport": "ipc", "ip": f"{folder}/kernel"}}),
        )
        runner.execute(env=environment)
    # what else a kernel tells of itself is this machine's
    book.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    nbformat.write(book, result)  # type: ignore[no-untyped-call]


def main() -> None:
    if sys.argv[1:]:
        notebook, result = map(Path, sys.argv[1:])
        execute(notebook, result, os.environ)
        return
    for path in notebooks():
        with running_server() as server, tempfile.TemporaryDirectory() as folder:
            execute(path, path, environment(server, Path(folder)))
        print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
