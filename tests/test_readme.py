"""Everything that the README shows is run as it stands there."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ecompute_server.gateway.ports import can_bind_low_ports

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
SHELL = re.findall(r"```sh\n(.*?)```", README, re.S)
PYTHON = re.findall(r"```python\n(.*?)```", README, re.S)
COMMANDS = re.findall(r"^    make (\w+)", README, re.M)


def test_the_make_targets_are_there() -> None:
    """Those that the README and CONTRIBUTING name."""
    makefile = (ROOT / "Makefile").read_text()
    named = COMMANDS + re.findall(r"^    make (\w+)", (ROOT / "CONTRIBUTING.md").read_text(), re.M)
    assert {"demo", "test"} <= set(named)
    assert {name for name in named if not re.search(rf"^{name}:", makefile, re.M)} == set()


def test_the_places_are_there() -> None:
    """Every file and folder of the table that lies in the repository."""
    table = README.partition("## Where things are")[2].partition("##")[0]
    named = re.findall(r"^\| `([^`~/][^`]*)`", table, re.M)
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A new user's world: a home with a key in it, the commands on the path, a port of one's own.

    Whatever happens in it, no server and no machine is left in the end.
    """
    (tmp_path / ".ssh").mkdir(mode=0o700)
    key = tmp_path / ".ssh" / "id_ed25519"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    with socket.socket() as probe, socket.socket() as other:
        probe.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        port, https_port = probe.getsockname()[1], other.getsockname()[1]
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    world = {
        **os.environ,
        "HOME": str(tmp_path),
        "XDG_CACHE_HOME": cache,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "ECOMPUTE_SERVER_STATE": str(tmp_path / "state"),
        "ECOMPUTE_SERVER_PORT": str(port),
        "ECOMPUTE_SERVER_HTTPS_PORT": str(https_port),
        "ECOMPUTE_SERVER_PORT_OFFSET": "0" if can_bind_low_ports() else "20000",
    }
    yield world
    if not (tmp_path / "state" / "ecompute.db").exists():
        return
    for _ in range(100):
        down = subprocess.run(
            ["ecompute-server", "down"], env=world, capture_output=True, text=True, check=False
        )
        # the lock is held, so the process that is named is the server
        holder = re.search(r"Another server \(process (\d+)\)", down.stderr)
        if holder is None:
            break
        os.kill(int(holder[1]), signal.SIGINT)


def test_a_container_in_ten_lines(environment: dict[str, str], tmp_path: Path) -> None:
    """The shell block and the Python blocks, and the printed lines work as pasted."""
    (shell,) = SHELL
    assert "http://127.0.0.1:7780" in shell
    shell = shell.replace(":7780", f":{environment['ECOMPUTE_SERVER_PORT']}")
    assert "ecompute-server serve &\n" in shell
    # as typed by hand, but waiting for the line by which serve says that it is ready
    ready = tmp_path / "ready"
    os.mkfifo(ready)
    shell = shell.replace("serve &\n", f"serve > {ready} &\nread -r _ < {ready}\n")
    code, page = tmp_path / "ten.py", tmp_path / "page.py"
    code.write_text(PYTHON[0])
    assert ":7443/" in PYTHON[1]
    page.write_text(PYTHON[1].replace(":7443", f":{environment['ECOMPUTE_SERVER_HTTPS_PORT']}"))
    (root,) = re.findall(r"^    (ecompute-server ca show .*)$", README, re.M)
    opened = f"cd $HOME; {root}\nvisit=$(python {page})\nuntil $visit --silent --fail; do :; done\n"
    login = (
        'command=$(grep ^ssh "$HOME/said")\n'
        "set -- $command; shift\n"
        'ssh -F none -i "$HOME/.ssh/id_ed25519" -o BatchMode=yes -o StrictHostKeyChecking=no'
        ' -o UserKnownHostsFile=/dev/null "$@" echo logged-in\n'
    )
    script = f"set -e\n{shell}\npython {code} > $HOME/said\ncat $HOME/said\n{login}{opened}"
    script += "kill -INT $!; wait $! || exit 1; ecompute-server down\n"
    done = subprocess.run(
        ["bash", "-c", script], env=environment, capture_output=True, text=True, check=False, timeout=180
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"^ssh (-p \d+ )?root@127\.77\.", done.stdout, re.M)
    assert re.search(r"^aarch64\s*$", done.stdout, re.M)
    assert re.search(r"^logged-in$", done.stdout, re.M)
    assert re.search(r"^hello$", done.stdout, re.M)
    assert "machine ended" in done.stdout


def said(code: str, environment: dict[str, str]) -> str:
    """What a Python block prints."""
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_commands_tokens_and_throw_away_machines(environment: dict[str, str]) -> None:
    """On the simulated host, with what each line prints."""
    ran, counted, refused = said(PYTHON[2], environment).splitlines()
    assert ran == r"3 b'any \x00 bytes'"
    assert counted == "0 containers"
    assert re.fullmatch(r"Needed\(scope='compute\.\w+\.containers\.abc12345', action='delete'\)", refused)


def test_the_same_without_any_machine(environment: dict[str, str]) -> None:
    """On the simulated host."""
    assert re.search(r"^aarch64\s*$", said(PYTHON[3], environment), re.M)


def test_the_simulated_server_of_its_own(environment: dict[str, str]) -> None:
    """The command that the README names says that it is ready, and ends in order."""
    (line,) = re.findall(r"`(ecompute-server serve --hypervisor simulated)`", README)
    serve = subprocess.Popen(
        shlex.split(line), env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert serve.stdout is not None
        assert serve.stdout.readline().startswith("ready ")
        serve.send_signal(signal.SIGTERM)
        serve.communicate(timeout=30)
        assert serve.returncode == 0
    finally:
        if serve.poll() is None:
            serve.kill()
            serve.communicate()
