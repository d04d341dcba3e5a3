"""Every example runs, shows what is stored with it, and leaves nothing behind."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

from ecompute_server.gateway.ports import can_bind_low_ports
from ecompute_server.testing import RunningServer
from tests.scenarios.conftest import real_server

from .children import EXAMPLES, ROOT, environment, run
from .execute import notebooks

SCRIPTS = {"batch_job.py", "web_app.py"}
ELSEWHERE = {"first_light.py"}
"""What `make demo` runs."""
WITH_A_KEY = [path for path in notebooks() if path.stem != "testing_with_the_kit"]
"""The notebooks that make a key on the server that they are given."""


@pytest.fixture(scope="module")
def machines() -> Iterator[RunningServer]:
    """A server with real machines, without its shared listener's usual port, which may be taken."""
    with real_server(https_port=0) as server:
        yield server


def run_script(name: str, server: RunningServer, folder: Path, *arguments: str) -> str:
    return run(server, folder, str(EXAMPLES / name), *arguments)


def nothing_is_left(server: RunningServer) -> bool:
    with server.client() as client:
        return not [*client.containers.list(), *client.ssh_keys.list(), *client.tokens.list()]


def shapes(path: Path) -> list[list[tuple[str, list[str]]]]:
    """For each cell of a notebook the kinds of what it shows."""
    book: Any = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    return [
        [(output.output_type, sorted(output.get("data", {}))) for output in cell.outputs]
        for cell in book.cells
        if cell.cell_type == "code"
    ]


def test_every_example_is_run() -> None:
    """One that is added needs its test."""
    files = {path.name for path in EXAMPLES.iterdir() if path.is_file()}
    assert files == {path.name for path in notebooks()} | SCRIPTS | ELSEWHERE


@pytest.mark.parametrize("path", WITH_A_KEY, ids=lambda path: path.stem)
def test_a_notebook_can_be_run_again_after_a_failure(
    path: Path, server: RunningServer, tmp_path: Path
) -> None:
    """The key that a run has left behind does not stop the next one, and no notebook has another's."""
    with server.client() as client:
        for other in WITH_A_KEY:
            (line,) = re.findall(r'PUBLIC_KEY = \\"(ssh-ed25519 [\w+/=]+ you@home)', other.read_text())
            client.ssh_keys.add(f"left by {other.stem}", line)
        run(server, tmp_path, "-m", "tests.examples.execute", str(path), str(tmp_path / path.name))
        left = {key.name for key in client.ssh_keys.list()}
        assert left == {f"left by {other.stem}" for other in WITH_A_KEY if other != path}


@pytest.mark.parametrize("path", notebooks(), ids=lambda path: path.stem)
def test_a_notebook_shows_what_is_stored(path: Path, server: RunningServer, tmp_path: Path) -> None:
    """Each cell succeeds, and what it shows is of the stored kinds; at the end nothing is left."""
    result = tmp_path / path.name
    run(server, tmp_path, "-m", "tests.examples.execute", str(path), str(result))
    stored = shapes(path)
    assert shapes(result) == stored
    assert any("text/html" in kinds for cell in stored for _, kinds in cell)
    assert nothing_is_left(server)


@pytest.mark.parametrize("path", notebooks(), ids=lambda path: path.stem)
def test_what_is_stored_gives_nothing_away(path: Path) -> None:
    """No token, and nothing of the machine where it was run."""
    text = path.read_text()
    assert not re.search(r"ecloud_\w|eyJ\w", text)
    for place in (str(ROOT), sys.prefix, "site-packages", socket.gethostname()):
        assert place not in text


def test_a_batch_job(server: RunningServer, tmp_path: Path) -> None:
    """On the simulated host: both architectures, the same results, for a folder of one's own."""
    work = tmp_path / "work"
    work.mkdir()
    (work / "a.txt").write_text("one\ntwo\n")
    told = run_script("batch_job.py", server, tmp_path, str(work))
    assert re.search(r"^nano \(aarch64\): booted in ", told, re.MULTILINE)
    assert re.search(r"^tiny \(x86_64\): booted in ", told, re.MULTILINE)
    assert re.search(r"^[0-9a-f]{64}  a\.txt, 2 lines$", told, re.MULTILINE)
    assert told.endswith("\nthe same on both\n")
    assert nothing_is_left(server)


def test_a_batch_job_on_real_machines(machines: RunningServer, tmp_path: Path) -> None:
    """The same by real guests of both architectures, for the examples themselves."""
    told = run_script("batch_job.py", machines, tmp_path)
    assert "nano (aarch64)" in told
    assert "tiny (x86_64)" in told
    assert re.search(r"^[0-9a-f]{64}  web_app\.py, \d+ lines$", told, re.MULTILINE)
    assert told.endswith("\nthe same on both\n")
    assert nothing_is_left(machines)


def test_a_web_app_without_its_arguments_tells_them(server: RunningServer, tmp_path: Path) -> None:
    """Instead of a traceback, and before anything is made."""
    for arguments in ((), ("root.pem", "https")):
        told = subprocess.run(
            [sys.executable, str(EXAMPLES / "web_app.py"), *arguments],
            env=environment(server, tmp_path),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert (told.returncode, told.stdout) == (2, "")
        assert "python examples/web_app.py root.pem [PORT]" in told.stderr
        assert "Traceback" not in told.stderr


def test_a_web_app_on_a_real_machine(machines: RunningServer, tmp_path: Path) -> None:
    """Its page comes by HTTPS, with the certificate verified."""
    root = tmp_path / "root.pem"
    command = [sys.executable, "-m", "ecompute_server", "ca", "show", "--state", str(machines.state)]
    root.write_text(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    port = 443 if can_bind_low_ports() else 20443
    told = run_script("web_app.py", machines, tmp_path, str(root), str(port))
    assert re.search(r"^hello from [a-z0-9]{8}, x86_64, to you$", told, re.MULTILINE)
    assert nothing_is_left(machines)
