"""SSH from outside: what the guest's server agrees to, and what turning access off ends."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import ecompute
from ecompute_server.testing import RunningServer
from examples.first_light import Person
from tests.server.http.wire import EXEC, TERMINAL, Wire

from .conftest import KINDS, PATIENCE, both_kinds, until


@pytest.fixture(scope="module")
def boxes(client: ecompute.Client, person: Person) -> Iterator[dict[str, ecompute.Container]]:
    """A machine of each architecture that SSH reaches from outside."""
    key = client.ssh_keys.add("laptop", person.public_key("ed25519")).id
    with both_kinds(client, key, memory_mb=192, ssh_enabled=True) as running:
        yield running


@pytest.fixture(params=KINDS)
def box(request: pytest.FixtureRequest, boxes: dict[str, ecompute.Container]) -> ecompute.Container:
    return boxes[request.param]


def place(box: ecompute.Container) -> tuple[str, int]:
    assert box.ssh_command is not None
    port = re.search(r"-p (\d+)", box.ssh_command)
    return box.external_ip or "", int(port[1]) if port else 22


def stock(
    person: Person, box: ecompute.Container, command: str, user: str = "root", **options: str
) -> list[str]:
    """The command line of the stock client; `options` are those of ssh_config(5)."""
    known = person.folder / f"known-by-name-{box.id}"
    known.write_text(f"guest {box.ssh_host_key}\n")
    chosen: Mapping[str, str] = {
        "BatchMode": "yes",
        "ConnectTimeout": "20",
        "HostKeyAlias": "guest",
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": str(known),
        **options,
    }
    flags = [text for name, value in chosen.items() for text in ("-o", f"{name}={value}")]
    host, port = place(box)
    return [
        *("ssh", "-F", "none", "-i", str(person.folder / "ed25519"), *flags),
        *("-p", str(port), f"{user}@{host}", command),
    ]


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
    )


def test_no_algorithm_fails_the_audit(box: ecompute.Container) -> None:
    """ssh-audit, against the guest through its gateway."""
    host, port = place(box)
    audit = Path(sys.executable).with_name("ssh-audit")
    done = run([str(audit), "--json", "--skip-rate-test", "--timeout", "20", "--port", str(port), host])
    report = json.loads(done.stdout)
    assert report["banner"]["raw"].startswith("SSH-2.0-OpenSSH")
    for kind in ("kex", "key", "enc", "mac"):
        assert report[kind]
        assert [each["algorithm"] for each in report[kind] if "fail" in each["notes"]] == []
    assert "critical" not in report["recommendations"]
    assert report["cves"] == []


@pytest.mark.parametrize(
    ("user", "options"),
    [
        ("root", {"PreferredAuthentications": "password"}),
        ("root", {"PreferredAuthentications": "keyboard-interactive"}),
        ("root", {"PubkeyAuthentication": "no"}),
        ("nobody", {}),
        ("daemon", {}),
    ],
    ids=["password", "interactive", "no key", "nobody", "daemon"],
)
def test_only_root_comes_in_and_only_by_key(
    box: ecompute.Container, person: Person, user: str, options: dict[str, str]
) -> None:
    """Nothing else is even offered."""
    refused = run(stock(person, box, "true", user=user, **options))
    assert refused.returncode == 255
    assert "Permission denied (publickey)" in refused.stderr


def test_a_session_brings_nothing_with_it(box: ecompute.Container, person: Person) -> None:
    """No agent, no display, no variables but those of the language; a tunnel leads into the guest itself, and
    opens no port of the guest to others.
    """
    shown = run(stock(person, box, "env", SetEnv="LC_TEST=1 LD_PRELOAD=/x"))
    assert shown.returncode == 0, shown.stderr
    names = {line.split("=")[0] for line in shown.stdout.splitlines()}
    assert "LC_TEST" in names
    assert not names & {"SSH_AUTH_SOCK", "DISPLAY", "LD_PRELOAD"}
    settings = dict(
        line.split(" ", 1) for line in run(stock(person, box, "/usr/sbin/sshd -T")).stdout.splitlines()
    )
    for name in ("x11forwarding", "permittunnel", "gatewayports", "permituserenvironment"):
        assert settings[name] == "no"
    assert settings["permitrootlogin"] == "without-password"
    assert settings["authenticationmethods"] == "any"
    program, *rest, _ = stock(person, box, "")
    assert run([program, "-W", "127.0.0.1:22", *rest]).stdout.startswith("SSH-2.0-OpenSSH")


def test_turning_it_off_ends_what_came_from_outside_and_nothing_else(
    machines: RunningServer, client: ecompute.Client, box: ecompute.Container, person: Person
) -> None:
    """The stock client ends by itself; an open terminal and a running command do not notice. Turned on again
    it works at once.
    """
    address = place(box)
    path = f"/compute/containers/{box.id}/terminal"
    with Wire(machines, path, offer=TERMINAL) as terminal, Wire(machines, path, offer=EXEC) as command:
        command.send({"command": "cat"})
        command.send(b"\0before\n")
        assert command.receive() == b"\x01before\n"
        with subprocess.Popen(
            stock(person, box, "echo begun; cat"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as outside:
            assert outside.stdout is not None
            assert outside.stdout.readline() == "begun\n"
            assert client.ssh_access.set(box.id, False).ssh_enabled is False
            assert outside.wait(PATIENCE) == 255
        until(lambda: refused(address))
        assert client.containers.get(box.id).ssh_command is None
        command.send(b"\0after\n")
        assert command.receive() == b"\x01after\n"
        terminal.send(b"echo still $(echo here)\n")
        shown = b""
        while b"still here" not in shown:
            piece = terminal.receive()
            assert isinstance(piece, bytes)
            shown += piece
    client.ssh_access.set(box.id, True)
    until(lambda: not refused(address))
    assert client.containers.get(box.id).ssh_command == box.ssh_command
    assert person.ask(box, "echo in") == "in"


def refused(address: tuple[str, int]) -> bool:
    with socket.socket() as probe:
        probe.settimeout(PATIENCE)
        try:
            probe.connect(address)
        except ConnectionRefusedError:
            return True
        return False
