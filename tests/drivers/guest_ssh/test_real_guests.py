"""`SSHGuests` keeps the promises of every way into guests, on the micro image of both architectures."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import evolve

from ecompute_server.guest.checks import CHECKS, LAST_CHECKS, Bench, Check
from ecompute_server.guest.interface import Login
from ecompute_server.guest.keys import make_key_pair
from ecompute_server.guest.ssh import SSHGuests
from ecompute_server.images.build import ARCHES, build
from ecompute_server.images.catalogue import default_cache
from tests.images.plain_qemu import DEADLINE, Guest, make_identity, make_volume

from .harness import connection_to

CLIENT, OTHER = make_key_pair("server@box"), make_key_pair("somebody")


class Machine:
    """A guest with its identity, which can be ended and started again."""

    def __init__(self, arch: str, folder: Path) -> None:
        self._image = build(arch, default_cache(), lambda progress: None)
        self._folder = folder
        self._volume = make_volume(folder / "volume")
        self._identity = make_identity(folder, (CLIENT.public,))
        self.host_key = (folder / "host_key.pub").read_text().strip()
        self.start()

    def start(self) -> None:
        self.guest = Guest(self._image, self._folder / "guest", self._volume)
        self.guest.__enter__()
        assert self.guest.configure(self._identity)["type"] == "ready"

    def end(self) -> None:
        self.guest.__exit__()

    def restart(self) -> None:
        self.guest.agent.send({"type": "poweroff", "id": 99})
        self.guest.wait_for_end()
        self.end()
        self.start()

    async def connect(self, container_id: str, port: int) -> socket.socket:
        assert port == 22
        if container_id == "absent":
            raise LookupError(container_id)
        return await connection_to(self.guest.ssh_port)


async def keep(check: Check, machine: Machine) -> None:
    guests = SSHGuests(machine.connect)
    login = Login("box", CLIENT.private, machine.host_key)

    async def halt() -> None:
        await asyncio.to_thread(machine.end)

    async def restart() -> None:
        await asyncio.to_thread(machine.restart)

    try:
        await check(
            Bench(
                guests=guests,
                login=login,
                stranger=evolve(login, client_key=OTHER.private),
                impostor=evolve(login, host_key=OTHER.public),
                absent=evolve(login, container_id="absent"),
                halt=halt,
                restart=restart,
                deadline=DEADLINE,
            )
        )
    finally:
        await guests.close()


@pytest.fixture(scope="module", params=ARCHES)
def machine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A guest for many checks."""
    running = Machine(request.param, tmp_path_factory.mktemp(request.param))
    yield running
    running.end()


@pytest.fixture(params=ARCHES)
def own_machine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Machine]:
    """A guest for one check."""
    running = Machine(request.param, tmp_path)
    yield running
    running.end()


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: str(check.__name__))
def test_a_promise_is_kept(check: Check, machine: Machine) -> None:
    """The public check passes."""
    asyncio.run(keep(check, machine))


@pytest.mark.parametrize("check", LAST_CHECKS, ids=lambda check: str(check.__name__))
def test_a_promise_about_the_end_is_kept(check: Check, own_machine: Machine) -> None:
    """The public check passes."""
    asyncio.run(keep(check, own_machine))
