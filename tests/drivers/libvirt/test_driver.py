"""The driver's decisions on machines that an earlier server left, with libvirt and the guest played."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from ecompute_server.hypervisor.interface import Fact, HypervisorError, Machine
from ecompute_server.hypervisor.libvirt import LibvirtHypervisor, LibvirtSettings, host
from ecompute_server.hypervisor.libvirt.connection import Connection, Found
from ecompute_server.hypervisor.libvirt.domain import METADATA_URI, domain_name
from ecompute_server.hypervisor.libvirt.driver import _Opened
from ecompute_server.hypervisor.libvirt.layout import MachineFiles
from ecompute_server.hypervisor.libvirt.network.host import HostNetwork
from ecompute_server.hypervisor.libvirt.network.interface import Mode
from ecompute_server.hypervisor.libvirt.network.restricted import Restricted

FOUND = Found(
    "a-uuid",
    f'<e:machine xmlns:e="{METADATA_URI}" owner="mark" container="box" generation="3" walls="restricted"/>',
)
NAME = domain_name("box", 3)


class PlayedLibvirt:
    """A `Connection` that never tells of an end, as libvirt does of a process that nobody clears away."""

    def __init__(self) -> None:
        self.destroyed: list[str] = []
        self.power_button = asyncio.Event()
        self.fails = False

    async def run(self, work: Callable[[], Any]) -> Any:
        return work()

    async def destroy(self, uuid: str) -> None:
        if self.fails:
            raise HypervisorError("It does not go.")
        self.destroyed.append(uuid)

    async def shutdown(self, uuid: str) -> None:
        self.power_button.set()


class Stage:
    """A driver that is open on a played libvirt; `process` stands for the machine's QEMU."""

    def __init__(self, folder: Path) -> None:
        self.libvirt = PlayedLibvirt()
        self.facts: list[Fact] = []
        self.driver = LibvirtHypervisor(LibvirtSettings(state=folder, find_image=lambda name, arch: None))
        places = host.Places(folder / "pids", folder / "logs")
        places.pids.mkdir()
        kinds = {Mode.RESTRICTED: Restricted()}
        walls = host.GuestWalls(HostNetwork(None, "", "", None), Mode.RESTRICTED, kinds, outbound_fault=None)
        self.opened = _Opened(
            self.facts.append,
            cast(Connection, self.libvirt),
            host.Findings(places, None, walls, "mark", kvm=False, quota=False),
        )
        self.driver._opened = self.opened
        self.driver._layout = cast(Any, type("Played", (), {"machine": lambda *_: self.files})())
        self.files = MachineFiles(folder / "box")
        self.files.folder.mkdir()
        self.files.whole.touch()
        self.process = subprocess.Popen(
            [sys.executable, "-c", "import sys; sys.stdin.read()", f"guest={NAME},"], stdin=subprocess.PIPE
        )
        (places.pids / f"{NAME}.pid").write_text(str(self.process.pid))
        self.listeners: list[socket.socket] = []

    def listen(self) -> None:
        for path in (self.files.agent, self.files.console):
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(str(path))
            listener.listen()
            self.listeners.append(listener)

    def end_process(self) -> None:
        """It ends and is not cleared away: this process has not waited for it."""
        self.process.kill()
        stat = Path(f"/proc/{self.process.pid}/stat")
        while stat.read_text().rpartition(")")[2].split()[0] != "Z":
            time.sleep(0.001)

    def close(self) -> None:
        for listener in self.listeners:
            listener.close()
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.kill()
        self.process.wait()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path)
    yield made
    made.close()


async def adopted(stage: Stage) -> list[Machine]:
    await stage.driver._adopt(stage.opened, FOUND)
    return list(await stage.driver.machines())


def test_a_machine_whose_process_is_dead_is_not_found(stage: Stage) -> None:
    """Its domain is cleared away, and so are the files of its run."""

    async def scene() -> None:
        stage.end_process()
        assert await adopted(stage) == []
        assert stage.libvirt.destroyed == [FOUND.uuid]
        assert not stage.files.whole.exists()
        await stage.driver._let_go()

    asyncio.run(scene())
    assert stage.facts == []


def test_a_dead_machine_that_libvirt_does_not_let_go_neither_fails_the_open_nor_delays_a_stop(
    stage: Stage,
) -> None:
    async def scene() -> None:
        stage.end_process()
        stage.libvirt.fails = True
        assert await adopted(stage) == []
        stage.libvirt.fails = False
        async with asyncio.timeout(5):
            await stage.driver.stop("box", grace=60)
        assert stage.libvirt.destroyed == [FOUND.uuid]
        assert not stage.libvirt.power_button.is_set()
        await stage.driver._let_go()

    asyncio.run(scene())
    assert stage.facts == []


def test_a_stop_ends_with_the_process_when_libvirt_does_not_tell_of_it(stage: Stage) -> None:
    async def scene() -> None:
        stage.listen()
        assert await adopted(stage) == [Machine("box", 3)]
        stopping = asyncio.create_task(stage.driver.stop("box", grace=60))
        await stage.libvirt.power_button.wait()
        assert not stopping.done()
        stage.process.kill()
        async with asyncio.timeout(5):
            await stopping
        assert stage.libvirt.destroyed == [FOUND.uuid]
        assert await stage.driver.machines() == []
        await stage.driver._let_go()

    asyncio.run(scene())


def test_a_machine_that_lives_without_links_is_ended_politely(stage: Stage) -> None:
    """It may have a volume full of unwritten data."""

    async def scene() -> None:
        assert await adopted(stage) == [Machine("box", 3)]
        stopping = asyncio.create_task(stage.driver.stop("box", grace=60))
        await stage.libvirt.power_button.wait()
        assert stage.libvirt.destroyed == []
        stage.process.kill()
        async with asyncio.timeout(5):
            await stopping
        await stage.driver._let_go()

    asyncio.run(scene())
