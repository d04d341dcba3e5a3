"""`run`, `terminal` and `cp`: what happens inside a container, seen from a shell."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ecompute_server.testing import RunningServer

from .conftest import COMMAND, PATIENCE, User, ended, surroundings


@pytest.fixture(scope="module")
def user(host: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> User:
    """Somebody whose container runs already."""
    home = tmp_path_factory.mktemp("home")
    return User(home, surroundings(home, ECOMPUTE_URL=host.url, ECOMPUTE_TOKEN=host.token))


@pytest.fixture(scope="module", autouse=True)
def box(host: RunningServer) -> Iterator[str]:
    """The id of a running container with the name web."""
    with host.client() as client, client.temporary(name="web") as made:
        yield made.id


def test_streams_and_the_status_are_the_command_s(user: User) -> None:
    """All three, and the exit status; what is an option of the command stays one."""
    done = user.ecompute("run", "web", "cat; echo told; nothing-of-this-name; exit 3", stdin="given\n")
    assert (done.code, done.output) == (3, "given\ntold\n")
    assert "nothing-of-this-name" in done.error
    assert user.ecompute("run", "web", "echo", "--json", "a  b", "*").output == "--json a  b *\n"
    assert user.ecompute("run", "--timeout", "30", "web", "--", "echo", "x").output == "x\n"


def test_bytes_pass_as_they_are(user: User, tmp_path: Path) -> None:
    """From a file and into one, more than any buffer holds."""
    data = os.urandom(3_000_000)
    given, taken = tmp_path / "given", tmp_path / "taken"
    given.write_bytes(data)
    with given.open("rb") as source, taken.open("wb") as target:
        command = [*COMMAND, "run", "web", "cat"]
        done = subprocess.run(
            command, stdin=source, stdout=target, env=dict(user.environment), timeout=PATIENCE, check=False
        )
    assert done.returncode == 0
    assert taken.read_bytes() == data


def test_output_comes_while_input_is_open(user: User) -> None:
    """And the command ends though nobody ever closes its input."""
    with user.begin("run", "web", "echo first; head -c 3; echo last", stdin=subprocess.PIPE) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == "first\n"
        child.stdin.write("abc")
        child.stdin.flush()
        assert child.stdout.readline() == "abclast\n"
        assert child.wait(PATIENCE) == 0


def test_ctrl_c_ends_a_command(user: User) -> None:
    """Cleanly, with the code of an interruption."""
    with user.begin("run", "web", "echo begun; sleep 600") as child:
        assert child.stdout is not None
        assert child.stderr is not None
        assert child.stdout.readline() == "begun\n"
        child.send_signal(signal.SIGINT)
        assert child.wait(PATIENCE) == 130
        assert child.stderr.read() == ""


def test_a_reader_who_leaves_ends_a_command(user: User) -> None:
    """Without a word."""
    with user.begin("run", "web", "cat /dev/zero") as child:
        assert child.stdout is not None
        assert child.stderr is not None
        assert child.stdout.buffer.read(100) == bytes(100)
        child.stdout.close()
        assert child.wait(PATIENCE) == 141
        assert child.stderr.read() == ""


def test_failures_beside_the_command_are_told_apart(user: User) -> None:
    """255, as ssh has it, with one sentence: no statuses of commands are taken for them."""
    for arguments in (
        ["run", "nobody", "true"],
        ["run", "web"],
        ["run", "--url", "http://127.0.0.1:1", "web", "true"],
        ["run", "--timeout", "0.3", "web", "sleep 600"],
        ["ssh", "web", "true"],
        ["terminal", "web"],
    ):
        failed = user.ecompute(*arguments)
        assert failed.code == 255, failed
        assert failed.sentence


def test_a_terminal_is_a_shell_of_the_same_size(user: User) -> None:
    """And ends with its status."""
    shell = user.at_a_terminal("terminal", "web", columns=90)
    shell.expect("[#$] ")
    shell.sendline("stty size; exit 7")
    shown = ended(shell)
    assert "30 90" in shown.output
    assert shown.code == 7


def test_files_and_folders_go_both_ways(user: User, tmp_path: Path) -> None:
    """With names that a shell would take apart."""
    tree = tmp_path / "a tree"
    (tree / "below").mkdir(parents=True)
    (tree / "below" / "it's $HOME").write_bytes(b"\x00\xff")
    single = tmp_path / "12:30"
    single.write_text("noon\n")
    assert user.ecompute("cp", str(tree), str(single), "web:/root").code == 0
    assert user.ecompute("run", "web", "cat", "/root/12:30").output == "noon\n"
    back = tmp_path / "back"
    back.mkdir()
    assert user.ecompute("cp", "web:/root/a tree", "web:12:30", str(back)).code == 0
    assert (back / "a tree" / "below" / "it's $HOME").read_bytes() == b"\x00\xff"
    assert (back / "12:30").read_text() == "noon\n"
    bar = ended(user.at_a_terminal("cp", "web:12:30", str(tmp_path / "again")))
    assert bar.code == 0
    assert "12:30" in bar.output
    assert user.ecompute("cp", "here", "there").code == 2
    assert user.ecompute("cp", "web:/a", "web:/b").code == 2
    assert user.ecompute("cp", "web:/nothing", str(back)).code == 1


def test_what_went_wrong_names_the_container_as_people_do(user: User, box: str) -> None:
    """By its name and its id, whichever of them was typed, and with the same exit codes as ever."""
    for typed in ("web", box):
        missing = user.ecompute("cp", f"{typed}:/none", ".")
        assert (missing.code, missing.sentence) == (1, f"There is no /none in web ({box}).")
    late = user.ecompute("run", "-n", "--timeout", "2", box, "sleep 60")
    assert late.code == 255
    assert f"web ({box})" in late.sentence


def test_a_command_needs_no_extra_to_say_what_it_needs(user: User, tmp_path: Path) -> None:
    """Without cyclopts it names the extra, with a code of its own."""
    hidden = tmp_path / "cyclopts.py"
    hidden.write_text("raise ModuleNotFoundError('No module named cyclopts', name='cyclopts')\n")
    done = subprocess.run(
        [sys.executable, "-m", "ecompute.cli", "ls"],
        env={**user.environment, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 8
    assert "pip install 'ecompute[cli]'" in done.stderr
    assert "Traceback" not in done.stderr
