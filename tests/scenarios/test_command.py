"""The command from end to end: a real machine, the stock ssh client, and no Python."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from ecompute_server.testing import RunningServer
from examples.first_light import Person

PATIENCE = 120.0


def test_a_machine_by_commands_alone(machines: RunningServer, person: Person, tmp_path: Path) -> None:
    """Created by a key's file, entered by its name with the host key pinned, used, copied to and from."""
    person.public_key("ed25519")
    environment = {
        **os.environ,
        "HOME": str(tmp_path),
        "XDG_CONFIG_HOME": str(tmp_path / "settings"),
        "ECOMPUTE_URL": machines.url,
        "ECOMPUTE_TOKEN": machines.token,
        "SSH_AUTH_SOCK": "",
    }

    def said(*command: str, stdin: str = "") -> str:
        done = subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            env=environment,
            timeout=PATIENCE,
        )
        assert done.returncode == 0, (command, done)
        return done.stdout

    def ecompute(*arguments: str, stdin: str = "") -> str:
        return said(sys.executable, "-m", "ecompute.cli", *arguments, stdin=stdin)

    key = person.folder / "ed25519"
    made = ecompute(
        "create", "by-command", "--ssh", "--key", str(key), "--memory-mb", "192", "--type", "nano"
    )
    id_ = made.strip()
    config = tmp_path / "config"
    ecompute("ssh-config", "--output", str(config))
    plain = ["ssh", "-F", str(config), "-i", str(key), "-o", "BatchMode=yes"]
    assert said(*plain, "by-command", "uname -m") == "aarch64\n"
    assert ecompute("ssh", "-i", str(key), "by-command", "hostname").strip()
    assert ecompute("run", "by-command", "cat; uname -m", stdin="given\n") == "given\naarch64\n"
    here = tmp_path / "a file"
    here.write_bytes(os.urandom(100_000))
    ecompute("cp", str(here), "by-command:/root/")
    ecompute("cp", "by-command:/root/a file", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == here.read_bytes()
    ecompute("rm", "by-command")
    assert id_ not in ecompute("ls", "-q").split()
