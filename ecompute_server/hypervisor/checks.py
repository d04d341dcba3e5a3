"""What every hypervisor driver must do: one check per promise of the interface, run against each driver.

A driver's tests make a `Bench` and run each of `CHECKS` on it, for example

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
    def test_keeps_its_promises(check, bench): asyncio.run(check(bench))

A check fails by `AssertionError` or by the error that it did not expect. It waits for facts, never for a time
to pass, and leaves no machine behind, unless it fails.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

from attrs import frozen

from ecompute_server.hypervisor.interface import (
    Fact,
    FactKind,
    Hypervisor,
    HypervisorError,
    Machine,
    MachineSpec,
    NoSuchMachine,
    Severity,
    Usage,
)

FIRST = "first001"
SECOND = "second02"
BETWEEN_LOOKS = 0.05


@frozen
class Bench:
    """What a driver brings to its checks."""

    make: Callable[[], Hypervisor]
    """A new driver object, not yet open; all of one bench have the same machines."""
    spec: Callable[[str, int], MachineSpec]
    """A machine that the driver can run, for a container id and a generation; `/root` is a mount path."""
    write: Callable[[Hypervisor, str, str, int], Coroutine[Any, Any, None]]
    """Writes a file of so many bytes, none of them zero, in a container's guest that is ready."""
    deadline: float = 10.0
    """Seconds within which a boot, or its failure, is told even on a busy host."""


Check = Callable[[Bench], Coroutine[Any, Any, None]]


class Facts:
    """The facts told so far, and a way to wait for more."""

    def __init__(self, deadline: float) -> None:
        self.told: list[Fact] = []
        self._deadline = deadline
        self._news = asyncio.Event()

    def __call__(self, fact: Fact) -> None:
        self.told.append(fact)
        self._news.set()

    def kinds(self, container_id: str, generation: int) -> list[FactKind]:
        return [f.kind for f in self.told if (f.container_id, f.generation) == (container_id, generation)]

    async def include(self, container_id: str, generation: int, kind: FactKind) -> None:
        """Return when this was told of that machine, whatever else was.

        Raises:
            AssertionError: the deadline passed.
        """
        try:
            async with asyncio.timeout(self._deadline):
                while kind not in self.kinds(container_id, generation):
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"never told {kind}") from None

    async def until(self, container_id: str, generation: int, *kinds: FactKind) -> None:
        """Return when exactly these were told of that machine, in that order.

        Raises:
            AssertionError: something else was told, or the deadline passed.
        """
        try:
            async with asyncio.timeout(self._deadline):
                while (seen := self.kinds(container_id, generation)) != list(kinds):
                    assert seen == list(kinds)[: len(seen)], f"told {seen}, expected {kinds}"
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"told {seen}, still expecting {kinds[len(seen) :]}") from None


@asynccontextmanager
async def opened(bench: Bench) -> AsyncIterator[tuple[Hypervisor, Facts]]:
    """An open driver with the facts that it tells; closed at the end."""
    hypervisor, facts = bench.make(), Facts(bench.deadline)
    await hypervisor.open(facts)
    try:
        yield hypervisor, facts
    finally:
        await hypervisor.close()


@asynccontextmanager
async def started(bench: Bench) -> AsyncIterator[tuple[Hypervisor, Facts]]:
    """An open driver with one machine that is ready; deleted at the end."""
    async with opened(bench) as (hypervisor, facts):
        await hypervisor.start(bench.spec(FIRST, 1))
        await facts.until(FIRST, 1, FactKind.STARTED, FactKind.READY)
        try:
            yield hypervisor, facts
        finally:
            await hypervisor.delete(FIRST)


async def check_a_start_tells_started_before_it_returns_and_then_ready(bench: Bench) -> None:
    async with opened(bench) as (hypervisor, facts):
        await hypervisor.start(bench.spec(FIRST, 1))
        assert facts.kinds(FIRST, 1)[:1] == [FactKind.STARTED]
        assert list(await hypervisor.machines()) == [Machine(FIRST, 1)]
        await facts.until(FIRST, 1, FactKind.STARTED, FactKind.READY)
        await hypervisor.delete(FIRST)


async def check_a_second_start_of_a_generation_changes_nothing_and_tells_all_again(bench: Bench) -> None:
    async with started(bench) as (hypervisor, facts):
        await hypervisor.start(bench.spec(FIRST, 1))
        await facts.until(FIRST, 1, *[FactKind.STARTED, FactKind.READY] * 2)
        assert list(await hypervisor.machines()) == [Machine(FIRST, 1)]


async def check_a_later_generation_replaces_the_earlier_one_quietly(bench: Bench) -> None:
    async with started(bench) as (hypervisor, facts):
        await hypervisor.start(bench.spec(FIRST, 2))
        await facts.until(FIRST, 2, FactKind.STARTED, FactKind.READY)
        assert list(await hypervisor.machines()) == [Machine(FIRST, 2)]
        assert facts.kinds(FIRST, 1) == [FactKind.STARTED, FactKind.READY]


async def check_machines_of_several_containers_run_side_by_side(bench: Bench) -> None:
    async with started(bench) as (hypervisor, facts):
        await hypervisor.start(bench.spec(SECOND, 5))
        await facts.until(SECOND, 5, FactKind.STARTED, FactKind.READY)
        assert set(await hypervisor.machines()) == {Machine(FIRST, 1), Machine(SECOND, 5)}
        await hypervisor.delete(SECOND)
        assert list(await hypervisor.machines()) == [Machine(FIRST, 1)]


async def check_a_stop_ends_the_machine_and_tells_nothing(bench: Bench) -> None:
    async with started(bench) as (hypervisor, facts):
        await hypervisor.stop(FIRST, grace=bench.deadline)
        assert list(await hypervisor.machines()) == []
        with raises(NoSuchMachine):
            await hypervisor.connect(FIRST, 22)
        await hypervisor.stop(FIRST, grace=bench.deadline)
        assert facts.kinds(FIRST, 1) == [FactKind.STARTED, FactKind.READY]


async def check_a_stop_without_grace_ends_a_machine_that_is_still_booting(bench: Bench) -> None:
    async with opened(bench) as (hypervisor, facts):
        await hypervisor.start(bench.spec(FIRST, 1))
        await hypervisor.stop(FIRST, grace=0)
        assert list(await hypervisor.machines()) == []
        await hypervisor.start(bench.spec(FIRST, 2))
        await facts.until(FIRST, 2, FactKind.STARTED, FactKind.READY)
        assert facts.kinds(FIRST, 1) in ([FactKind.STARTED], [FactKind.STARTED, FactKind.READY])
        await hypervisor.delete(FIRST)


async def check_usage_is_told_while_a_machine_is_ready(bench: Bench) -> None:
    """It follows a file that is written to the volume, and is forgotten with the machine."""
    async with started(bench) as (hypervisor, _):
        before = await told(hypervisor, lambda usage: True, bench.deadline)
        assert 0 < before.memory_available <= bench.spec(FIRST, 1).memory_mb << 20
        await bench.write(hypervisor, FIRST, "/root/file", 8 << 20)
        grown = await told(
            hypervisor, lambda usage: usage.storage_used >= before.storage_used + (8 << 20), bench.deadline
        )
        assert grown.storage_used < before.storage_used + (9 << 20)
        await hypervisor.stop(FIRST, grace=bench.deadline)
        assert hypervisor.usage(FIRST) is None


async def check_nothing_is_known_of_the_usage_of_what_does_not_run(bench: Bench) -> None:
    assert bench.make().usage(FIRST) is None
    async with opened(bench) as (hypervisor, _):
        assert hypervisor.usage(FIRST) is None


async def check_what_does_not_exist_can_be_stopped_and_deleted(bench: Bench) -> None:
    async with opened(bench) as (hypervisor, facts):
        await hypervisor.stop(FIRST, grace=0)
        await hypervisor.delete(FIRST)
        await hypervisor.delete(FIRST)
        assert await hypervisor.console_tail(FIRST) == ""
        assert facts.told == []


async def check_a_delete_ends_the_machine_and_removes_its_console(bench: Bench) -> None:
    async with started(bench) as (hypervisor, facts):
        await hypervisor.delete(FIRST)
        assert list(await hypervisor.machines()) == []
        assert await hypervisor.console_tail(FIRST) == ""
        assert facts.kinds(FIRST, 1) == [FactKind.STARTED, FactKind.READY]


async def check_the_console_is_kept_after_a_stop_and_cut_at_the_front(bench: Bench) -> None:
    async with started(bench) as (hypervisor, _):
        whole = await hypervisor.console_tail(FIRST)
        assert whole
        await hypervisor.stop(FIRST, grace=bench.deadline)
        kept = await hypervisor.console_tail(FIRST)
        assert kept
        tail = await hypervisor.console_tail(FIRST, max_bytes=20)
        assert len(tail.encode()) <= 20
        assert kept.endswith(tail)


async def check_machines_outlive_the_driver(bench: Bench) -> None:
    """Closed while one machine is ready and one boots; the next driver finds both and hears both."""
    async with opened(bench) as (hypervisor, facts):
        await hypervisor.start(bench.spec(FIRST, 3))
        await facts.until(FIRST, 3, FactKind.STARTED, FactKind.READY)
        await hypervisor.start(bench.spec(SECOND, 4))
    async with opened(bench) as (hypervisor, facts):
        assert set(await hypervisor.machines()) == {Machine(FIRST, 3), Machine(SECOND, 4)}
        await facts.until(FIRST, 3, FactKind.READY)
        # a driver that keeps no identities needs to be told it again for a guest that has none yet
        await hypervisor.start(bench.spec(SECOND, 4))
        await facts.include(SECOND, 4, FactKind.READY)
        await banner(hypervisor, FIRST, bench.deadline)
        await hypervisor.delete(FIRST)
        await hypervisor.delete(SECOND)
    async with opened(bench) as (hypervisor, facts):
        assert list(await hypervisor.machines()) == []


async def check_connections_reach_the_ssh_server(bench: Bench) -> None:
    """Several at once, each with a stream of its own."""
    async with started(bench) as (hypervisor, _):
        await asyncio.gather(*(banner(hypervisor, FIRST, bench.deadline) for _ in range(3)))


async def check_a_port_where_nothing_listens_refuses(bench: Bench) -> None:
    """The refusal comes at once or, where the way into the guest hides it, as the end of the stream."""
    async with started(bench) as (hypervisor, _):
        try:
            client = await hypervisor.connect(FIRST, 4)
        except OSError:
            return
        with client:
            async with asyncio.timeout(bench.deadline):
                with suppress(OSError):
                    assert await asyncio.get_running_loop().sock_recv(client, 1) == b""


async def check_a_container_without_a_machine_cannot_be_connected_to(bench: Bench) -> None:
    async with opened(bench) as (hypervisor, _):
        with raises(NoSuchMachine):
            await hypervisor.connect(FIRST, 22)


async def check_the_end_of_the_machine_ends_its_connections(bench: Bench) -> None:
    async with started(bench) as (hypervisor, _):
        loop = asyncio.get_running_loop()
        with await hypervisor.connect(FIRST, 22) as client:
            async with asyncio.timeout(bench.deadline):
                assert await loop.sock_recv(client, 4) == b"SSH-"
                await hypervisor.stop(FIRST, grace=0)
                with suppress(OSError):
                    while await loop.sock_recv(client, 4096):
                        pass


async def check_a_second_driver_is_kept_from_the_machines(bench: Bench) -> None:
    async with opened(bench) as (hypervisor, _):
        other = bench.make()
        with raises(HypervisorError):
            await other.open(Facts(bench.deadline))
        await other.close()
        assert list(await hypervisor.machines()) == []


async def check_a_ping_is_answered_between_open_and_close(bench: Bench) -> None:
    hypervisor = bench.make()
    with raises(HypervisorError):
        await hypervisor.ping()
    await hypervisor.open(Facts(bench.deadline))
    try:
        await hypervisor.ping()
    finally:
        await hypervisor.close()
    with raises(HypervisorError):
        await hypervisor.ping()


async def check_a_ping_is_answered_while_a_machine_starts(bench: Bench) -> None:
    async with opened(bench) as (hypervisor, facts):
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(hypervisor.start(bench.spec(FIRST, 1)))
            async with asyncio.timeout(bench.deadline):
                while FactKind.STARTED not in facts.kinds(FIRST, 1):
                    await hypervisor.ping()
                    await asyncio.sleep(0)
        await hypervisor.delete(FIRST)


async def check_a_close_may_come_twice_and_without_an_open(bench: Bench) -> None:
    await bench.make().close()
    hypervisor = bench.make()
    await hypervisor.open(Facts(bench.deadline))
    await hypervisor.close()
    await hypervisor.close()


async def check_a_probe_before_the_open_finds_nothing_to_mend(bench: Bench) -> None:
    """The checks run where the driver works, so that nothing may be an error there."""
    findings = await bench.make().probe()
    assert findings
    assert all(finding.check and finding.detail for finding in findings)
    assert [finding for finding in findings if finding.severity is Severity.ERROR] == []


CHECKS: tuple[Check, ...] = (
    check_a_probe_before_the_open_finds_nothing_to_mend,
    check_a_close_may_come_twice_and_without_an_open,
    check_a_ping_is_answered_between_open_and_close,
    check_nothing_is_known_of_the_usage_of_what_does_not_run,
    check_what_does_not_exist_can_be_stopped_and_deleted,
    check_a_container_without_a_machine_cannot_be_connected_to,
    check_a_second_driver_is_kept_from_the_machines,
    check_a_start_tells_started_before_it_returns_and_then_ready,
    check_a_ping_is_answered_while_a_machine_starts,
    check_a_second_start_of_a_generation_changes_nothing_and_tells_all_again,
    check_a_later_generation_replaces_the_earlier_one_quietly,
    check_machines_of_several_containers_run_side_by_side,
    check_a_stop_ends_the_machine_and_tells_nothing,
    check_a_stop_without_grace_ends_a_machine_that_is_still_booting,
    check_a_delete_ends_the_machine_and_removes_its_console,
    check_the_console_is_kept_after_a_stop_and_cut_at_the_front,
    check_connections_reach_the_ssh_server,
    check_usage_is_told_while_a_machine_is_ready,
    check_a_port_where_nothing_listens_refuses,
    check_the_end_of_the_machine_ends_its_connections,
    check_machines_outlive_the_driver,
)
"""Every check, the cheap ones first."""


async def banner(hypervisor: Hypervisor, container_id: str, deadline: float) -> None:
    """Hear the guest's SSH server say what it is."""
    with await hypervisor.connect(container_id, 22) as client:
        assert client.gettimeout() == 0, "the socket is to be non-blocking"
        async with asyncio.timeout(deadline):
            heard = b""
            while not heard.endswith(b"\n"):
                more = await asyncio.get_running_loop().sock_recv(client, 256)
                assert more, f"the connection ended after {heard!r}"
                heard += more
        assert heard.startswith(b"SSH-2.0-")


async def told(hypervisor: Hypervisor, wanted: Callable[[Usage], bool], deadline: float) -> Usage:
    """The first container's usage as soon as it is as wanted. Nothing tells of a new figure, so it is asked
    for again and again.
    """
    async with asyncio.timeout(deadline):
        while True:
            usage = hypervisor.usage(FIRST)
            if usage is not None and wanted(usage):
                return usage
            await asyncio.sleep(BETWEEN_LOOKS)


@contextmanager
def raises(expected: type[Exception]) -> Iterator[None]:
    """The block must raise this error."""
    try:
        yield
    except expected:
        return
    raise AssertionError(f"{expected.__name__} was not raised")
