"""The Tab key, in a real bash."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from ecompute_server.testing import RunningServer

from .conftest import COMMAND, PATIENCE, User, surroundings

LAPTOP = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIzaa/8na28UvdjmnFylx1dNh7bL6NicXsin11lguhE6"
CURSOR = "|"
SHOW = f"{CURSOR}\x01echo '[\x05]'\r"
"""Typed behind the Tab key: marks where the cursor is and has the line printed between brackets."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, host: RunningServer) -> Path:
    """One with two profiles, the default one of a server that is away, and with a file and a folder. At the
    server of the other profile there are a key, a container and a token.
    """
    folder = tmp_path_factory.mktemp("home")
    command = folder / "bin" / "ecompute"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {" ".join(COMMAND)} "$@"\n')
    command.chmod(0o755)
    (folder / "notes.txt").write_text("")
    (folder / "odd $(touch x) name").write_text("")
    (folder / "site").mkdir()
    (folder / "site" / "index.html").write_text("")
    profiles = folder / ".config" / "ecompute" / "config.toml"
    profiles.parent.mkdir(parents=True)
    profiles.write_text(
        'default_profile = "127.0.0.1:1"\n'
        '[profiles."127.0.0.1:1"]\nurl = "http://127.0.0.1:1"\ntoken = "none"\n'
        f'[profiles.work]\nurl = "{host.url}"\ntoken = "{host.token}"\n'
    )
    profiles.chmod(0o600)
    (folder / "token").write_text(host.token)
    with host.client() as client:
        key = client.ssh_keys.add("laptop", LAPTOP)
        client.containers.create("webserver", key)
        client.tokens.create("dashboard", {"compute.<uid>": ["read"]})
    return folder


@pytest.fixture(scope="module")
def bash(home: Path) -> Iterator[pexpect.spawn[str]]:
    """A bash that has read the script."""
    environment = surroundings(home, TERM="dumb")
    environment["PATH"] = f"{home / 'bin'}:{environment['PATH']}"
    script = User(home, environment).ecompute("completion", "bash").output
    start = home / "start"
    start.write_text(
        f"{script}\nPS1='$ '\nbind 'set bell-style none'\nbind 'set enable-bracketed-paste off'\n"
    )
    shell = pexpect.spawn(
        "bash",
        ["--noprofile", "--rcfile", str(start)],
        env=environment,
        cwd=str(home),
        encoding="utf-8",
        dimensions=(30, 200),
        timeout=PATIENCE,
    )
    shell.expect_exact("$ ")
    yield shell
    shell.close(force=True)


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        ("ecompute --profile work ssh ", "ecompute --profile work ssh webserver |"),
        ("ecompute stop --profile=work webs", "ecompute stop --profile=work webserver |"),
        ("ecompute ssh ", "ecompute ssh |"),
        ("ecompute create x --type na", "ecompute create x --type nano |"),
        ("ecompute --url {url} --token-file token show w", "… show webserver |"),
        ("ecompute --token-file od", r"ecompute --token-file odd\ \$\(touch\ x\)\ name |"),
        ("ecompute --token-file si", "ecompute --token-file site/|"),
        ("ecompute --profile w", "ecompute --profile work |"),
        ("ecompute --profile=w", "ecompute --profile=work |"),
        ("ecompute ls --profile 127.0.0.1:", "ecompute ls --profile 127.0.0.1:1 |"),
        ("ecompute profiles use w", "ecompute profiles use work |"),
        ("ecompute --prof", "ecompute --profile |"),
        ("ecompute --profile work keys rm ", "ecompute --profile work keys rm laptop |"),
        ("ecompute --profile work tokens rm ", "ecompute --profile work tokens rm dashboard |"),
        ("ecompute --profile work cp notes.txt w", "ecompute --profile work cp notes.txt webserver:|"),
        ("ecompute --profile work cp w", "ecompute --profile work cp webserver:|"),
        ("ecompute cp webserver:/etc/motd no", "ecompute cp webserver:/etc/motd notes.txt |"),
        ("ecompute cp webserver:no", "ecompute cp webserver:no|"),
        ("ecompute cp si", "ecompute cp site/|"),
        ("ecompute cp ~/site/i", "ecompute cp ~/site/index.html |"),
    ],
)
def test_what_the_tab_key_makes_of_a_line(
    bash: pexpect.spawn[str], host: RunningServer, typed: str, line: str
) -> None:
    """Names of containers, keys, tokens and profiles, wherever the options are; a copy's two ends."""
    start = typed.format(url=host.url)
    bash.send(f"{start}\t{SHOW}")
    bash.expect(r"\r\n\[(.*)\]\r\n\$ ")
    assert bash.match is not None
    assert bash.match[1] == line.replace("…", start.rpartition(" show")[0])
