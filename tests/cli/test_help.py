"""What the command tells about itself: help, completion, and the page about it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ecompute.cli.app import COMMANDS, made
from ecompute.cli.exits import MEANINGS
from ecompute.cli.words import CONNECTION, GROUPS

from .conftest import COMMAND, User, surroundings

APP = made()
PAGE = (Path(__file__).parents[2] / "docs" / "command.md").read_text()


def commands_of(group: str) -> list[str]:
    found = APP[group]
    return [name for name in found if not name.startswith("-")]


def test_help_names_every_command_and_loads_none(tmp_path: Path) -> None:
    """Neither the client nor the libraries of the network."""
    code = (
        "import sys; from ecompute.cli.app import run; run(['--help'])\n"
        "print(sorted(m for m in sys.modules if m.split('.')[0] in ('httpx', 'httpcore', 'anyio', 'cattrs')"
        " or m.startswith(('ecompute.client', 'ecompute.cli.')) ), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env=surroundings(tmp_path),
    )
    assert all(re.search(rf"^│ {name} ", done.stdout, re.MULTILINE) for name in COMMANDS)
    assert done.stderr.strip() == "['ecompute.cli.app', 'ecompute.cli.exits', 'ecompute.cli.words']"


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_says_of_itself_what_the_table_says(name: str) -> None:
    """That sentence first, and every command of a group has one as well."""
    own = made(name)[name].help
    assert own.startswith(COMMANDS[name][1].removesuffix("."))
    if name in GROUPS:
        assert all(APP[name][each].help for each in commands_of(name))


def test_help_of_a_command_tells_more_than_the_list(stranger: User) -> None:
    """All that the command says of itself, and nothing is run."""
    told = stranger.ecompute("run", "--help").output
    assert "exit status" in told
    assert "Connection" in told


def test_the_groups_and_the_options_of_the_connection_are_known() -> None:
    """What is looked for before the command line is parsed."""
    assert {name for name in COMMANDS if len(commands_of(name)) > 0} == GROUPS
    names = {name for argument in APP["ls"].assemble_argument_collection() for name in argument.names}
    assert set(CONNECTION) <= names


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script(stranger: User, shell: str) -> None:
    """It names the commands, and bash takes it."""
    script = stranger.ecompute("completion", shell).output
    assert all(name in script for name in COMMANDS)
    if shell == "bash":
        done = subprocess.run(
            ["bash", "-n"], input=script, capture_output=True, text=True, timeout=60, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(("shell", "startup"), [("bash", ".bashrc"), ("zsh", ".zshrc"), ("fish", None)])
def test_installing_tells_every_file(stranger: User, shell: str, startup: str | None) -> None:
    """The script itself, and the one of the home folder that loads it, both where they are said to be."""
    told = stranger.ecompute("completion", shell, "--install")
    assert told.code == 0
    script = stranger.ecompute("completion", shell).output
    files = [file for file in stranger.home.rglob("*") if file.is_file()]
    (place,) = [file for file in files if file.read_text() == script]
    assert str(place) in told.error
    others = {file.name: str(file) for file in files if file != place}
    assert set(others) == ({startup} if startup else set())
    assert all(other in told.error for other in others.values())


def test_names_are_completed(user: User, key_file: Path) -> None:
    """By the server that the environment names; ids stand for names that cannot be typed as they are."""
    user.ecompute("create", "web", "--no-wait")
    id_ = user.ecompute("create", "$(reboot) x", "--no-wait").output.strip()
    told = user.ecompute("__complete", "show", "")
    offered = {line.split("\t")[0] for line in told.output.splitlines()} - {"\x1fbegin"}
    assert {"web", id_} <= offered
    assert "reboot" not in told.output
    nobody = user.ecompute("__complete", "show", "", ECOMPUTE_URL="http://127.0.0.1:1")
    assert (nobody.code, nobody.error) == (0, "")


@pytest.mark.parametrize("name", COMMANDS)
def test_the_page_shows_every_command(name: str) -> None:
    """With an example, also of each command of a group."""
    wanted = (
        [f"ecompute {name} {each}" for each in commands_of(name)] if name in GROUPS else [f"ecompute {name}"]
    )
    lines = [line.strip().removeprefix("$ ") for line in PAGE.splitlines()]
    for example in wanted:
        assert [line for line in lines if line == example or line.startswith(f"{example} ")], example


def test_the_page_has_the_table_of_exit_codes() -> None:
    """Row by row as in the code."""
    rows = re.findall(r"^\| (\d+) \| (.+) \|$", PAGE, re.MULTILINE)
    assert rows == [(str(int(code)), meaning) for code, meaning in MEANINGS.items()]


def test_the_version_is_the_package_s(stranger: User) -> None:
    """And the module answers as the command does."""
    done = stranger.ecompute("--version")
    assert done.output.strip() == __import__("ecompute").__version__
    assert COMMAND[1:] == ["-m", "ecompute.cli"]
