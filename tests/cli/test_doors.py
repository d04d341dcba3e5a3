"""Ports, paths, SSH, pages and events of a container."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

from ecompute_server.testing import RunningServer

from .conftest import PATIENCE, User


def test_ports_paths_and_access(user: User, key_file: Path) -> None:
    """Each can be read, changed and read again; programs get the API's own form."""
    id_ = user.ecompute("create", "web").output.strip()
    assert user.ecompute("open", "web", "--print").code == 3
    rule = user.ecompute("ingress", "add", "web", "8080", "3000", "--json").json
    assert (rule["port"], rule["target_port"]) == (8080, 3000)
    assert user.ecompute("ingress", "ls", "web", "--json").json == [rule]
    address = user.ecompute("show", "web", "--json").json["external_ip"]
    assert user.ecompute("open", "web", "--print").output == f"http://{address}:8080/\n"
    assert user.ecompute("ingress", "add", id_, "443").code == 0
    page = user.ecompute("open", "web", "--print")
    assert page.output == f"https://{address}/\n"
    assert "ecompute-server ca show" in page.error
    assert user.ecompute("ingress", "rm", "web", "443", "8080").code == 0
    assert user.ecompute("ingress", "rm", "web", "443").code == 3
    assert user.ecompute("mounts", "set", "web", "/root", "/data", "--json").json["restarted"] is True
    assert user.ecompute("mounts", "ls", "web", "--json").json == {"mount_paths": ["/root", "/data"]}
    assert user.ecompute("access", "web").output == f"SSH to web ({id_}) is off.\n"
    assert user.ecompute("access", "web", "on", "--json").json == {"ssh_enabled": True}


def test_the_page_is_opened_in_the_browser(user: User, key_file: Path, tmp_path: Path) -> None:
    """That of the environment."""
    user.ecompute("create", "web")
    user.ecompute("ingress", "add", "web", "80", "3000")
    browser, visited = tmp_path / "browser", tmp_path / "visited"
    browser.write_text(f'#!/bin/sh\necho "$1" > {visited}\n')
    browser.chmod(0o755)
    opened = user.ecompute("open", "web", BROWSER=f"{browser} %s")
    assert opened.code == 0
    assert visited.read_text() == opened.output


def test_ssh_knows_the_names_once_the_file_is_included(user: User, key_file: Path) -> None:
    """The files are the user's alone; the line that includes them is told, and works as told."""
    key_file.with_suffix("").write_text("secret")
    id_ = user.ecompute("create", "web", "--ssh").output.strip()
    off = user.ecompute("create", "off").output.strip()
    written = user.ecompute("ssh-config", "--write")
    assert written.code == 0
    assert f"off ({off}) is left out" in written.error
    include = next(line for line in written.error.splitlines() if "Include " in line)
    line = include[include.index("Include ") :]
    config = user.home / ".ssh" / "config"
    config.write_text(f"{line}\n\nHost *\n    User somebody\n")
    shown = subprocess.run(
        ["ssh", "-G", "-F", str(config), "web"], capture_output=True, text=True, timeout=PATIENCE, check=True
    ).stdout
    options = dict(line.split(" ", 1) for line in shown.splitlines())
    assert options["hostkeyalias"] == id_
    assert options["user"] == "root"
    known = Path(options["userknownhostsfile"])
    assert known.read_text().startswith(f"{id_} ssh-ed25519 ")
    assert known.stat().st_mode & 0o077 == 0
    assert options["identityfile"] == str(key_file.with_suffix(""))
    printed = user.ecompute("ssh-config")
    assert printed.output == (known.with_suffix(".config")).read_text()
    refused = user.ecompute("ssh", "off")
    assert refused.code == 255
    assert f"ecompute access {off} on" in refused.sentence
    assert user.ecompute("stop", "web").code == 0
    stopped = user.ecompute("ssh", "web")
    assert stopped.code == 255
    assert f"web ({id_}), since it is stopped: `ecompute start {id_}`" in stopped.sentence


def test_ssh_is_called_with_the_key_pinned(user: User, key_file: Path, tmp_path: Path) -> None:
    """Its exit status becomes ours, and a command's words stay words."""
    id_ = user.ecompute("create", "web", "--ssh").output.strip()
    programs = tmp_path / "bin"
    programs.mkdir()
    called = programs / "ssh"
    called.write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\nexit 42\n")
    called.chmod(0o755)
    done = user.ecompute("ssh", "web", "echo", "a  b", PATH=f"{programs}:{os.environ['PATH']}")
    assert done.code == 42
    *options, host, line = done.output.splitlines()
    assert host == id_
    assert line == "echo 'a  b'"
    assert f"HostKeyAlias={id_}" in options
    assert "StrictHostKeyChecking=yes" in options
    (known,) = (user.home / ".config" / "ecompute" / "ssh").glob("*.known_hosts")
    assert known.name.endswith(f".{id_}.known_hosts")
    assert user.ecompute("rm", "web").code == 0
    assert not known.exists()


def test_events_are_followed(user: User, host: RunningServer, key_file: Path) -> None:
    """As messages of the API for programs and as lines for people, until Ctrl-C."""
    with user.begin("events", "--json") as programs, user.begin("events") as people:
        assert programs.stdout is not None
        assert people.stdout is not None
        assert json.loads(programs.stdout.readline()) == {"type": "containers", "data": []}
        id_ = user.ecompute("create", "web").output.strip()
        seen = []
        while "running" not in seen:
            message = json.loads(programs.stdout.readline())
            assert message["type"] == "container_status"
            assert message["data"]["container_id"] == id_
            seen.append(message["data"]["status"])
        user.ecompute("stop", "web")
        line = ""
        while "stopped" not in line:
            line = people.stdout.readline()
        assert f"web ({id_})  running → stopped" in line
        user.ecompute("rm", "web")
        deleted = {"type": "container_deleted", "data": {"container_id": id_}}
        while json.loads(programs.stdout.readline()) != deleted:
            pass
        for child in (programs, people):
            child.send_signal(signal.SIGINT)
            assert child.wait(PATIENCE) == 130
            assert child.stderr is not None
            assert child.stderr.read() == ""
