"""Whole servers for whole stories: one on each kind of host, shared by the tests of a module."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import ecompute
from ecompute_server.gateway.ports import can_bind_low_ports
from ecompute_server.testing import RunningServer, running_server

BOOT_SECONDS = 120.0
KEY_TYPES = {"ed25519": [], "rsa": ["-b", "3072"], "ecdsa": ["-b", "256"]}


def real_server(**settings: Any) -> Any:
    """A server with real machines, its ports moved up where this user may not bind those under 1024."""
    offset = 0 if can_bind_low_ports() else 20000
    return running_server(hypervisor="libvirt", port_offset=offset, **settings)


@pytest.fixture(scope="module", params=["simulated", "libvirt"])
def any_server(request: pytest.FixtureRequest) -> Iterator[RunningServer]:
    """A server on either kind of host; what holds for one must hold for the other."""
    make = real_server if request.param == "libvirt" else running_server
    with make(max_containers_per_user=20) as server:
        yield server


@pytest.fixture(scope="module")
def machines() -> Iterator[RunningServer]:
    """A server with real machines."""
    with real_server(max_containers_per_user=20) as server:
        yield server


class Person:
    """Somebody with SSH keys of all accepted families, and one that nobody registered."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name, options in {**KEY_TYPES, "stranger": []}.items():
            kind = "ed25519" if name == "stranger" else name
            command = [
                "ssh-keygen",
                "-q",
                "-t",
                kind,
                *options,
                "-N",
                "",
                "-C",
                name,
                "-f",
                str(folder / name),
            ]
            subprocess.run(command, check=True)

    def public_key(self, name: str) -> str:
        return (self.folder / f"{name}.pub").read_text()

    def ssh(
        self, box: ecompute.Container, command: str, key: str = "ed25519"
    ) -> subprocess.CompletedProcess[str]:
        """Log in as `ssh_command` says, with the host key pinned to what the API told."""
        assert box.ssh_command is not None
        program, *rest, target = shlex.split(box.ssh_command)
        host = target.split("@")[1]
        port = rest[rest.index("-p") + 1] if "-p" in rest else "22"
        known = self.folder / f"known-{box.id}"
        known.write_text(f"{host if port == '22' else f'[{host}]:{port}'} {box.ssh_host_key}\n")
        options = {
            "BatchMode": "yes",
            "ConnectTimeout": "30",
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "LogLevel": "ERROR",
            "StrictHostKeyChecking": "yes",
            "UserKnownHostsFile": str(known),
        }
        flags = [text for name, value in options.items() for text in ("-o", f"{name}={value}")]
        line = [program, "-F", "none", "-i", str(self.folder / key), *flags, *rest, target, command]
        return subprocess.run(line, capture_output=True, text=True, timeout=90, check=False)

    def ask(self, box: ecompute.Container, command: str, key: str = "ed25519") -> str:
        """What a command prints in the container."""
        done = self.ssh(box, command, key)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


@pytest.fixture(scope="session")
def person(tmp_path_factory: pytest.TempPathFactory) -> Person:
    return Person(tmp_path_factory.mktemp("keys"))


def in_terminal(client: ecompute.Client, box: ecompute.Container, line: str) -> str:
    """What the web terminal shows when somebody types `line` and leaves."""
    with client.terminal(box.id) as terminal:
        terminal.write(f"{line}\nexit\n")
        return b"".join(terminal).decode(errors="replace").replace("\r\n", "\n")


def processes_of(container_id: str) -> list[int]:
    """The machine processes of this host whose command line names the container."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes()
        except OSError:
            continue
        if b"qemu" in words and container_id.encode() in words:
            found.append(int(entry.parent.name))
    return found


def files_of(state: Path, container_id: str) -> list[str]:
    """What below the state directory bears the container's id."""
    return [
        str(Path(folder) / name)
        for folder, folders, files in os.walk(state)
        for name in [*folders, *files]
        if container_id in name
    ]
