"""Whole servers for whole stories: one on each kind of host, shared by the tests of a module."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import ecompute
from ecompute_server.gateway.ports import can_bind_low_ports
from ecompute_server.testing import RunningServer, running_server
from examples.first_light import Person

BOOT_SECONDS = 120.0
KINDS = ("nano", "tiny")
PATIENCE = 30.0


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


@pytest.fixture(scope="module")
def client(machines: RunningServer) -> Iterator[ecompute.Client]:
    """A client of that server."""
    with machines.client() as made:
        yield made


@pytest.fixture(scope="session")
def person(tmp_path_factory: pytest.TempPathFactory) -> Person:
    return Person(tmp_path_factory.mktemp("keys"))


@contextmanager
def both_kinds(
    client: ecompute.Client, key_id: int, **options: Any
) -> Iterator[dict[str, ecompute.Container]]:
    """A running machine of each architecture, by its kind; deleted in the end."""
    made = [client.containers.create(kind, [key_id], instance_type=kind, **options) for kind in KINDS]
    yield {one.name: client.containers.wait(one.id, "running", timeout=BOOT_SECONDS) for one in made}
    for one in made:
        client.containers.delete(one.id)


def ask(client: ecompute.Client, box: ecompute.Container, command: str) -> str:
    """What a command prints that must succeed."""
    return client.run(box.id, command, check=True).text.strip()


def in_terminal(client: ecompute.Client, box: ecompute.Container, line: str) -> str:
    """What the web terminal shows when somebody types `line` and leaves."""
    with client.terminal(box.id) as terminal:
        terminal.write(f"{line}\nexit\n")
        return b"".join(terminal).decode(errors="replace").replace("\r\n", "\n")


def files_of(state: Path, container_id: str) -> list[str]:
    """What below the state directory bears the container's id."""
    return [
        str(Path(folder) / name)
        for folder, folders, files in os.walk(state)
        for name in [*folders, *files]
        if container_id in name
    ]


def until(condition: Callable[[], bool]) -> None:
    """Ask again until it holds: a listener's coming and going is told by nothing else."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)  # asking without a pause would take the processor from the machines
