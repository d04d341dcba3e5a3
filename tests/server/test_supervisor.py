"""Machines follow records and records follow machines: the whole server below HTTP, on the simulated host."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from ecompute.contract.catalog import Status
from ecompute_server import assembly, supervisor
from ecompute_server.core import edits
from ecompute_server.core.edits import Edited
from ecompute_server.core.lifecycle import Command, Happening, Observation
from ecompute_server.core.record import ContainerRecord
from ecompute_server.gateway.interface import GatewayError
from ecompute_server.gateway.silent import SilentGateway
from ecompute_server.guest.simulated import SimulatedGuests
from ecompute_server.handlers.call import Services
from ecompute_server.hypervisor.interface import HypervisorError
from ecompute_server.hypervisor.simulated import SimulatedHypervisor
from ecompute_server.settings import Settings
from ecompute_server.state import StateDirectory
from ecompute_server.store.interface import Change, StoreUnavailable
from tests.server.records import order, record, user

PATIENCE = 20.0


class Doors(SilentGateway):
    """A gateway that remembers what is published."""

    def __init__(self) -> None:
        self.leads: dict[str, dict[int, int]] = {}
        self.taken: set[int] = set()
        self.refused = 0
        self.news = asyncio.Event()

    @property
    def opened(self) -> set[str]:
        return {id_ for id_, ports in self.leads.items() if ports}

    def published(self, container_id: str) -> set[int]:
        return set(self.leads.get(container_id, {}))

    async def publish(self, container_id: str, address: str, port: int, target_port: int) -> None:
        self.news.set()
        if port in self.taken:
            self.refused += 1
            raise GatewayError("somebody else has it")
        self.leads.setdefault(container_id, {})[port] = target_port

    async def withdraw(self, container_id: str, port: int | None = None) -> None:
        ports = self.leads.get(container_id, {})
        for each in [*ports] if port is None else [port]:
            ports.pop(each, None)
        self.news.set()


class World:
    """One life of a server."""

    def __init__(self, services: Services, hypervisor: SimulatedHypervisor, doors: Doors) -> None:
        self.services = services
        self.hypervisor = hypervisor
        self.doors = doors
        self.history: list[str] = []
        services.containers.listen(self._heard)

    def _heard(self, change: Change) -> None:
        if change.after is None:
            self.history.append("purged")
        elif change.before is None or change.before.life.status is not change.after.life.status:
            self.history.append(str(change.after.life.status))
        self.doors.news.set()

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for a commit, or an open door, after which the condition holds."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self.doors.news.clear()
                await self.doors.news.wait()

    async def create(self, id_: str = "aaaaaaaa", **more: object) -> None:
        await self.services.containers.create(record(id_, **more), limit=9)

    async def apply(self, command: Command, id_: str = "aaaaaaaa") -> ContainerRecord | None:
        return await order(self.services.containers, id_, command)

    async def edit(self, change: Callable[[ContainerRecord], Edited[Any]]) -> Any:
        edited = await self.services.containers.edit("aaaaaaaa", change)
        return edited.result if edited else None

    def status(self, id_: str = "aaaaaaaa") -> Status | None:
        found = self.services.containers.get(id_)
        return found.life.status if found else None

    async def machines(self) -> dict[str, int]:
        return {m.container_id: m.generation for m in await self.hypervisor.machines()}


@asynccontextmanager
async def world(
    state: Path,
    *,
    host_boot: str = "first",
    before: Callable[[SimulatedHypervisor], None] | None = None,
    **more: object,
) -> AsyncIterator[World]:
    hypervisor = SimulatedHypervisor(state, boot_time=0.001, host_boot=host_boot)
    if before is not None:
        before(hypervisor)
    doors = Doors()
    chosen = assembly.Drivers(hypervisor, SimulatedGuests(hypervisor), doors, lambda kind: None)
    settings = Settings(state=state, hypervisor="simulated", **more)  # type: ignore[arg-type]
    async with assembly.open_services(settings, StateDirectory(state), chosen=chosen) as services:
        if services.users.by_id("u1") is None:
            await services.users.add(user())
        yield World(services, hypervisor, doors)


def play(scene: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(scene())  # type: ignore[arg-type]


def test_a_container_boots_step_by_step_and_opens_its_doors(tmp_path: Path) -> None:
    """Pending, initializing, running; each told once, in order."""

    async def scene() -> None:
        async with world(tmp_path) as w:
            await w.create()
            await w.until(lambda: w.doors.opened == {"aaaaaaaa"})
            assert w.history == ["pending", "initializing", "running"]
            assert await w.machines() == {"aaaaaaaa": 1}

    play(scene)


def test_without_ssh_the_doors_stay_closed(tmp_path: Path) -> None:
    """The container runs all the same."""

    async def scene() -> None:
        async with world(tmp_path) as w:
            await w.create("aaaaaaaa", ssh_enabled=False)
            await w.create("bbbbbbbb")
            await w.until(lambda: w.status("aaaaaaaa") is Status.RUNNING and w.doors.opened)
            assert w.doors.opened == {"bbbbbbbb"}

    play(scene)


def test_stop_and_start_are_a_new_boot(tmp_path: Path) -> None:
    """Stopped at once; the old machine ends before the new one begins."""

    async def scene() -> None:
        async with world(tmp_path) as w:
            await w.create()
            await w.until(lambda: w.status() is Status.RUNNING)
            stopped = await w.apply(Command.STOP)
            assert stopped is not None
            assert stopped.life.status is Status.STOPPED
            await w.apply(Command.START)
            await w.until(lambda: w.status() is Status.RUNNING)
            assert await w.machines() == {"aaaaaaaa": 2}
            assert w.history[3:] == ["stopped", "pending", "initializing", "running"]

    play(scene)


def test_a_guest_that_never_answers_fails_with_a_reason(tmp_path: Path) -> None:
    """After its deadline, and its machine is ended."""

    async def scene() -> None:
        async with world(tmp_path, boot_deadline=0.05) as w:
            w.hypervisor.hang_next_boot()
            await w.create()
            await w.until(lambda: w.status() is Status.FAILED)
            failed = w.services.containers.get("aaaaaaaa")
            assert failed is not None
            assert "did not answer within 0.05 seconds" in failed.life.reason
            await _until_no_machine(w)
            await w.apply(Command.START)
            await w.until(lambda: w.status() is Status.RUNNING)

    play(scene)


def test_a_boot_that_is_refused_fails_with_a_reason(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A guest's own words are told; the hypervisor's are the operator's, in the log."""

    async def scene() -> None:
        async with world(tmp_path) as w:
            w.hypervisor.refuse_next_start(HypervisorError("No room for it."))
            await w.create("aaaaaaaa")
            await w.until(lambda: w.status("aaaaaaaa") is Status.FAILED)
            w.hypervisor.fail_next_boot("The volume is damaged.")
            await w.create("bbbbbbbb")
            await w.until(lambda: w.status("bbbbbbbb") is Status.FAILED)
            reasons = [w.services.containers.get(id_) for id_ in ("aaaaaaaa", "bbbbbbbb")]
            host, guest = [r.life.reason for r in reasons if r]
            assert "could not start" in host
            assert "No room" not in host
            assert "No room for it." in caplog.text
            assert guest == "The volume is damaged."

    play(scene)


def test_what_a_machine_does_by_itself_is_followed(tmp_path: Path) -> None:
    """A power-off is a stop, a crash a failure, a reboot nothing; and the doors follow."""

    async def scene() -> None:
        async with world(tmp_path) as w:
            for id_ in ("aaaaaaaa", "bbbbbbbb", "cccccccc"):
                await w.create(id_)
            await w.until(lambda: len(w.doors.opened) == 3)
            w.hypervisor.power_off("aaaaaaaa")
            w.hypervisor.crash("bbbbbbbb", "The processor caught fire.")
            w.hypervisor.reboot("cccccccc")
            await w.until(lambda: w.doors.opened == {"cccccccc"})
            assert w.status("aaaaaaaa") is Status.STOPPED
            assert w.status("bbbbbbbb") is Status.FAILED
            assert w.status("cccccccc") is Status.RUNNING
            failed = w.services.containers.get("bbbbbbbb")
            assert failed is not None
            assert failed.life.reason == "The processor caught fire."

    play(scene)


def test_a_delete_takes_effect_at_once_and_cleans_up_in_the_end(tmp_path: Path) -> None:
    """The record goes when nothing is left, and the address is free again."""

    async def scene() -> None:
        async with world(tmp_path) as w:
            await w.create()
            await w.until(lambda: w.status() is Status.RUNNING)
            await w.apply(Command.DELETE)
            assert w.services.containers.of_user("u1") == []
            await w.until(lambda: w.status() is None)
            assert await w.machines() == {}
            assert w.doors.opened == set()

    play(scene)


def test_a_server_that_comes_back_adopts_its_machines(tmp_path: Path) -> None:
    """Same boot, same generation, doors open again, nothing told as changed."""

    async def scene() -> None:
        async with world(tmp_path) as w:
            await w.create()
            await w.until(lambda: w.status() is Status.RUNNING)
        async with world(tmp_path) as w:
            await w.until(lambda: w.doors.opened == {"aaaaaaaa"})
            assert w.history == []
            assert await w.machines() == {"aaaaaaaa": 1}

    play(scene)


def test_after_a_restart_of_the_host_what_was_to_run_runs_again(tmp_path: Path) -> None:
    """What was stopped stays so."""

    async def scene() -> None:
        async with world(tmp_path) as w:
            await w.create("aaaaaaaa")
            await w.create("bbbbbbbb")
            await w.until(lambda: w.status("aaaaaaaa") is w.status("bbbbbbbb") is Status.RUNNING)
            await w.apply(Command.STOP, "bbbbbbbb")
        async with world(tmp_path, host_boot="second") as w:
            await w.until(lambda: w.status("aaaaaaaa") is Status.RUNNING and w.doors.opened)
            assert await w.machines() == {"aaaaaaaa": 2}
            assert w.status("bbbbbbbb") is Status.STOPPED

    play(scene)


@pytest.mark.parametrize("command", [Command.STOP, Command.DELETE])
def test_what_a_dying_server_left_undone_is_done_by_the_next(tmp_path: Path, command: Command) -> None:
    """The command was answered, so it happens: the journal outlives the process."""

    async def scene() -> None:
        async with world(tmp_path) as w:
            await w.create()
            await w.until(lambda: w.status() is Status.RUNNING)
            w.hypervisor.ignore_power_off("aaaaaaaa")
            # the effects begin only after this task has given way, and the server ends before that
            await w.apply(command)
        async with world(tmp_path) as w:
            await _until_no_machine(w)
            expected = Status.STOPPED if command is Command.STOP else None
            await w.until(lambda: w.status() is expected)

    play(scene)


def test_a_machine_without_a_record_is_removed(tmp_path: Path) -> None:
    """It can belong to nobody any more."""

    async def scene() -> None:
        async with world(tmp_path) as w:
            await w.create()
            await w.until(lambda: w.status() is Status.RUNNING)
        (tmp_path / "ecompute.db").unlink()
        for rest in ("-wal", "-shm"):
            (tmp_path / f"ecompute.db{rest}").unlink(missing_ok=True)
        async with world(tmp_path) as w:
            await _until_no_machine(w)

    play(scene)


def test_a_late_fact_of_an_earlier_boot_changes_nothing(tmp_path: Path) -> None:
    """Not even the news that its machine is lost."""

    async def scene() -> None:
        async with world(tmp_path) as w:
            await w.create()
            await w.until(lambda: w.status() is Status.RUNNING)
            await w.apply(Command.STOP)
            await w.apply(Command.START)
            await w.until(lambda: w.status() is Status.RUNNING)
            late = Observation(Happening.MACHINE_LOST, 1, "late")
            await w.services.containers.observe("aaaaaaaa", late)
            assert w.status() is Status.RUNNING

    play(scene)


def test_doors_follow_the_record_while_the_container_runs(tmp_path: Path) -> None:
    """Opened, led elsewhere and closed one by one, without touching the others."""

    async def scene() -> None:
        async with world(tmp_path) as w:
            await w.create()
            leads = w.doors.leads
            await w.until(lambda: leads.get("aaaaaaaa") == {22: 22})
            await w.edit(lambda record: edits.put_rule(record, 8080, 3000, now=1))
            await w.until(lambda: leads["aaaaaaaa"] == {22: 22, 8080: 3000})
            await w.edit(lambda record: edits.put_rule(record, 443, 80, now=1))
            await w.edit(lambda record: edits.put_rule(record, 8080, 4000, now=1))
            await w.until(lambda: leads["aaaaaaaa"] == {22: 22, 443: 80, 8080: 4000})
            await w.edit(lambda record: edits.set_ssh_access(record, False))
            await w.until(lambda: leads["aaaaaaaa"] == {443: 80, 8080: 4000})
            await w.edit(lambda record: edits.remove_rule(record, 443))
            await w.edit(lambda record: edits.remove_rule(record, 8080))
            await w.until(lambda: leads["aaaaaaaa"] == {})

    play(scene)


def test_a_port_that_is_taken_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Now and then by itself, and when somebody asks for the same rule again."""

    async def scene() -> None:
        async with world(tmp_path) as w:
            w.doors.taken.add(8080)
            await w.create()
            await w.edit(lambda record: edits.put_rule(record, 8080, 3000, now=1))
            await w.until(lambda: w.doors.refused >= 3)
            assert w.doors.leads["aaaaaaaa"] == {22: 22}
            w.doors.taken.clear()
            await w.until(lambda: w.doors.leads["aaaaaaaa"] == {22: 22, 8080: 3000})
            monkeypatch.setattr(supervisor, "KNOCK_SECONDS", 3600.0)
            w.doors.taken.add(8081)
            seen = w.doors.refused
            for again in range(1, 3):
                await w.edit(lambda record: edits.put_rule(record, 8081, 80, now=1))
                await w.until(lambda again=again: w.doors.refused == seen + again)

    monkeypatch.setattr(supervisor, "KNOCK_SECONDS", 0.01)
    play(scene)


def test_other_mount_paths_are_another_boot(tmp_path: Path) -> None:
    """Through `pending` to `running` with a machine of the next generation; the same paths do nothing."""

    async def scene() -> None:
        async with world(tmp_path) as w:
            await w.create()
            await w.until(lambda: w.status() is Status.RUNNING)
            w.history.clear()
            same = tuple(reversed(record().mount_paths))
            assert await w.edit(lambda found: edits.set_mounts(found, same)) is False
            assert w.history == []
            assert await w.edit(lambda found: edits.set_mounts(found, ("/data",))) is True
            await w.until(lambda: w.history[-1] == "running")
            assert w.history == ["pending", "initializing", "running"]
            assert await w.machines() == {"aaaaaaaa": 2}

    play(scene)


def test_no_fact_is_lost_while_nothing_can_be_written(tmp_path: Path) -> None:
    """A boot that ends while another process holds the database is told once that is over."""

    async def scene() -> None:
        async with world(tmp_path) as w:
            blocked = asyncio.Event()
            observe, tries = w.services.containers.observe, 0

            async def refuse_twice(id_: str, seen: Observation) -> ContainerRecord | None:
                nonlocal tries
                tries += 1
                if tries <= 2:
                    blocked.set()
                    raise StoreUnavailable("database is locked")
                return await observe(id_, seen)

            w.services.containers.observe = refuse_twice  # type: ignore[method-assign]
            await w.create()
            await blocked.wait()
            await w.until(lambda: w.status() is Status.RUNNING)
            assert w.history == ["pending", "initializing", "running"]

    play(scene)


async def _until_no_machine(w: World) -> None:
    async with asyncio.timeout(PATIENCE):
        while await w.machines():  # noqa: ASYNC110 - gives way only, until the machine is gone
            await asyncio.sleep(0)
