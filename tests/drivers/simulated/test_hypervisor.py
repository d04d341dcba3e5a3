"""What the simulated hypervisor does beyond the common promises: outliving its process, and its levers."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from ecompute_server.hypervisor.checks import Facts, raises
from ecompute_server.hypervisor.interface import (
    Fact,
    FactKind,
    HypervisorError,
    Machine,
    MachineSpec,
    NoSuchMachine,
    NotReady,
    Severity,
)
from ecompute_server.hypervisor.simulated import SimulatedHypervisor

STARTED, READY, STOPPED, LOST, REFUSED = FactKind

MakeSpec = Callable[..., MachineSpec]
NAME = "abcd1234"


@asynccontextmanager
async def opened(folder: Path, **parts: Any) -> AsyncIterator[tuple[SimulatedHypervisor, Facts]]:
    hypervisor, facts = SimulatedHypervisor(folder, **({"boot_time": 0} | parts)), Facts(deadline=10)
    await hypervisor.open(facts)
    try:
        yield hypervisor, facts
    finally:
        await hypervisor.close()


def scenario(
    act: Callable[[SimulatedHypervisor, Facts], Awaitable[None]], folder: Path, spec: MachineSpec
) -> Facts:
    """Run `act` on a machine that is ready."""

    async def main() -> Facts:
        async with opened(folder) as (hypervisor, facts):
            await hypervisor.start(spec)
            await facts.until(NAME, spec.generation, STARTED, READY)
            await act(hypervisor, facts)
            return facts

    return asyncio.run(main())


def test_a_guest_that_refuses_its_identity_says_why(tmp_path: Path, make_spec: MakeSpec) -> None:
    """Told instead of READY; the machine runs on, and a repeated start and a new process hear it again."""

    async def main() -> None:
        async with opened(tmp_path) as (hypervisor, facts):
            hypervisor.fail_next_boot("no such volume")
            await hypervisor.start(make_spec())
            await facts.until(NAME, 1, STARTED, REFUSED)
            assert facts.told[-1] == Fact(NAME, 1, REFUSED, "no such volume")
            assert list(await hypervisor.machines()) == [Machine(NAME, 1)]
            with raises(ConnectionRefusedError):
                await hypervisor.connect(NAME, 22)
            await hypervisor.start(make_spec())
            await facts.until(NAME, 1, STARTED, REFUSED, STARTED, REFUSED)
        async with opened(tmp_path) as (hypervisor, facts):
            await facts.until(NAME, 1, REFUSED)
            await hypervisor.start(make_spec(generation=2))
            await facts.until(NAME, 2, STARTED, READY)

    asyncio.run(main())


def test_a_guest_that_hangs_is_never_ready(tmp_path: Path, make_spec: MakeSpec) -> None:
    """While another one, started later, is; also after a change of process."""

    async def main() -> None:
        async with opened(tmp_path) as (hypervisor, facts):
            hypervisor.hang_next_boot()
            await hypervisor.start(make_spec())
            await hypervisor.start(make_spec("other"))
            await facts.until("other", 1, STARTED, READY)
            assert facts.kinds(NAME, 1) == [STARTED]
        async with opened(tmp_path) as (hypervisor, facts):
            await facts.until("other", 1, READY)
            assert facts.kinds(NAME, 1) == []
            await hypervisor.stop(NAME, grace=1000)
            assert list(await hypervisor.machines()) == [Machine("other", 1)]

    asyncio.run(main())


def test_a_boot_under_way_ends_in_the_next_process(tmp_path: Path, make_spec: MakeSpec) -> None:
    """The next process tells READY, and not before the time."""

    async def main() -> None:
        async with opened(tmp_path) as (hypervisor, facts):
            hypervisor.slow_boot(1000)
            await hypervisor.start(make_spec())
        async with opened(tmp_path) as (hypervisor, facts):
            with raises(ConnectionRefusedError):
                await hypervisor.connect(NAME, 22)
            assert facts.told == []
            hypervisor.slow_boot(0.01)
            await hypervisor.start(make_spec(generation=2))
        async with opened(tmp_path) as (hypervisor, facts):
            await facts.until(NAME, 2, READY)

    asyncio.run(main())


def test_a_refused_start_changes_nothing(tmp_path: Path, make_spec: MakeSpec) -> None:
    """The error is the one given, once; missing images are told with the command that helps."""

    async def main() -> None:
        async with opened(tmp_path) as (hypervisor, facts):
            hypervisor.refuse_next_start(HypervisorError("no room"))
            with pytest.raises(HypervisorError, match="no room"):
                await hypervisor.start(make_spec())
            hypervisor.unavailable = True
            assert [finding.severity for finding in await hypervisor.probe()] == [Severity.ERROR]
            with pytest.raises(NotReady, match="ecompute-server images build"):
                await hypervisor.start(make_spec())
            assert facts.told == []
            assert list(await hypervisor.machines()) == []
            hypervisor.unavailable = False
            await hypervisor.start(make_spec())
            await facts.until(NAME, 1, STARTED, READY)

    asyncio.run(main())


def test_an_earlier_generation_does_not_replace_a_later_one(tmp_path: Path, make_spec: MakeSpec) -> None:
    """A start that comes late is refused."""

    async def act(hypervisor: SimulatedHypervisor, facts: Facts) -> None:
        with raises(HypervisorError):
            await hypervisor.start(make_spec(generation=1))
        assert list(await hypervisor.machines()) == [Machine(NAME, 2)]

    scenario(act, tmp_path, make_spec(generation=2))


def test_a_crash_a_power_off_and_a_reboot_are_told(tmp_path: Path, make_spec: MakeSpec) -> None:
    """Each with its fact; afterwards the machine is there or not."""

    async def act(hypervisor: SimulatedHypervisor, facts: Facts) -> None:
        hypervisor.reboot(NAME)
        await facts.until(NAME, 1, STARTED, READY, READY)
        hypervisor.crash(NAME, "out of memory")
        assert facts.told[-1] == Fact(NAME, 1, LOST, "out of memory")
        assert list(await hypervisor.machines()) == []
        assert "out of memory" in await hypervisor.console_tail(NAME)
        with raises(NoSuchMachine):
            hypervisor.power_off(NAME)
        await hypervisor.start(make_spec(generation=2))
        await facts.until(NAME, 2, STARTED, READY)
        hypervisor.power_off(NAME)
        await facts.until(NAME, 2, STARTED, READY, STOPPED)

    facts = scenario(act, tmp_path, make_spec())
    assert facts.kinds(NAME, 1) == [STARTED, READY, READY, LOST]


def test_a_guest_that_ignores_power_off_takes_the_whole_grace(tmp_path: Path, make_spec: MakeSpec) -> None:
    """It still runs while the stop waits; afterwards it is gone."""

    async def act(hypervisor: SimulatedHypervisor, facts: Facts) -> None:
        hypervisor.ignore_power_off(NAME)
        stopping = asyncio.create_task(hypervisor.stop(NAME, grace=1000))
        await asyncio.sleep(0)
        assert list(await hypervisor.machines()) == [Machine(NAME, 1)]
        stopping.cancel()
        await asyncio.gather(stopping, return_exceptions=True)
        await hypervisor.stop(NAME, grace=0)
        assert list(await hypervisor.machines()) == []

    scenario(act, tmp_path, make_spec())


def test_a_service_of_a_guest_can_be_connected_to(tmp_path: Path, make_spec: MakeSpec) -> None:
    """Each connection is a stream of its own; the machine's end ends them; the port is one container's."""

    async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line.upper())

    async def act(hypervisor: SimulatedHypervisor, facts: Facts) -> None:
        hypervisor.serve(NAME, 8080, shout)
        first, second = [
            await asyncio.open_connection(sock=await hypervisor.connect(NAME, 8080)) for _ in range(2)
        ]
        first[1].write(b"one\n")
        second[1].write(b"two\n")
        async with asyncio.timeout(10):
            assert await second[0].readline() == b"TWO\n"
            assert await first[0].readline() == b"ONE\n"
            second[1].write_eof()
            assert await second[0].read() == b""
            await hypervisor.start(make_spec("other"))
            await facts.until("other", 1, STARTED, READY)
            with raises(ConnectionRefusedError):
                await hypervisor.connect("other", 8080)
            hypervisor.crash(NAME, "test")
            assert await first[0].read() == b""
        for _, writer in (first, second):
            writer.close()

    scenario(act, tmp_path, make_spec())


def test_an_ssh_client_is_told_why_it_gets_no_further(tmp_path: Path, make_spec: MakeSpec) -> None:
    """A client that goes on after the banner gets a well-formed SSH_MSG_DISCONNECT."""

    async def act(hypervisor: SimulatedHypervisor, facts: Facts) -> None:
        reader, writer = await asyncio.open_connection(sock=await hypervisor.connect(NAME, 22))
        async with asyncio.timeout(10):
            assert await reader.readline() == b"SSH-2.0-ecompute_simulated\r\n"
            writer.write(b"SSH-2.0-test\r\n\0\0\0\0")
            packet = await reader.read()
        writer.close()
        length, padding = int.from_bytes(packet[:4], "big"), packet[4]
        assert (len(packet), len(packet) % 8, padding >= 4) == (length + 4, 0, True)
        assert packet[5] == 1
        assert b"use the terminal" in packet

    scenario(act, tmp_path, make_spec())


def test_the_console_shows_the_boot(tmp_path: Path, make_spec: MakeSpec) -> None:
    """The machine's size, its name and how far it came; without its keys."""

    async def act(hypervisor: SimulatedHypervisor, facts: Facts) -> None:
        console = await hypervisor.console_tail(NAME)
        for text in ("aarch64", "2 CPUs", "mounted /root", f"{NAME}.compute.localhost", "agent: ready"):
            assert text in console
        assert "PRIVATE" not in console

    scenario(act, tmp_path, make_spec(vcpus=2))


CHILD = """
import asyncio, os, sys
from pathlib import Path
from ecompute_server.hypervisor.interface import Identity, MachineSpec
from ecompute_server.hypervisor.simulated import SimulatedHypervisor

def write(files, path, text):
    with files.open(path, os.O_WRONLY | os.O_CREAT) as file:
        file.write(text)

async def main():
    hypervisor = SimulatedHypervisor(Path(sys.argv[1]), boot_time=0)
    ready = asyncio.Event()
    await hypervisor.open(lambda fact: ready.set() if fact.kind == "ready" else None)
    identity = Identity("name", "0" * 32, "key", ("a", "b"), ("/root", "/data"))
    await hypervisor.start(MachineSpec("abcd1234", 7, "amd64", 2, 1.5, 256, 3, "micro", identity))
    await ready.wait()
    files = hypervisor.machine("abcd1234").files
    write(files, "/data/kept", b"kept")
    write(files, "/tmp/gone", b"still here")
    files.unlink("/etc/os-release")
    hypervisor.slow_boot(0.01)
    await hypervisor.start(MachineSpec("booting0", 1, "amd64", 2, 1.5, 256, 3, "micro", identity))
    print("written", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def read(hypervisor: SimulatedHypervisor, path: str) -> bytes:
    with hypervisor.machine(NAME).files.open(path, os.O_RDONLY) as file:
        return file.read(1000)


def test_a_killed_process_leaves_its_machines_running(tmp_path: Path) -> None:
    """Generation, size, identity, all files and a boot under way; a stop leaves the mount paths."""
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(CHILD), str(tmp_path)], stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"written\n"
        with pytest.raises(HypervisorError, match="another process"):
            asyncio.run(SimulatedHypervisor(tmp_path).open(print))
        child.send_signal(signal.SIGKILL)

    async def main() -> None:
        async with opened(tmp_path) as (hypervisor, facts):
            assert set(await hypervisor.machines()) == {Machine(NAME, 7), Machine("booting0", 1)}
            await facts.until(NAME, 7, READY)
            await facts.until("booting0", 1, READY)
            machine = hypervisor.machine(NAME)
            assert (machine.spec.arch, machine.spec.vcpus, machine.spec.cpu_share) == ("amd64", 2, 1.5)
            assert machine.spec.identity.authorized_keys == ("a", "b")
            assert (read(hypervisor, "/data/kept"), read(hypervisor, "/tmp/gone")) == (b"kept", b"still here")
            assert not machine.files.exists("/etc/os-release")
            spec = machine.spec
            await hypervisor.stop(NAME, grace=0)
            await hypervisor.start(spec)
            await facts.until(NAME, 7, READY, STARTED, READY)
            assert read(hypervisor, "/data/kept") == b"kept"
            assert not hypervisor.machine(NAME).files.exists("/tmp/gone")
            assert hypervisor.machine(NAME).files.exists("/etc/os-release")
            await hypervisor.delete(NAME)
            await hypervisor.start(spec)
            assert not hypervisor.machine(NAME).files.exists("/data/kept")

    asyncio.run(main())


def test_a_restart_of_the_host_ends_machines_and_keeps_volumes(tmp_path: Path, make_spec: MakeSpec) -> None:
    """As with real ones; nothing is told of them."""

    async def main() -> None:
        async with opened(tmp_path, host_boot="one") as (hypervisor, facts):
            await hypervisor.start(make_spec())
            with hypervisor.machine(NAME).files.open("/root/kept", os.O_WRONLY | os.O_CREAT) as file:
                file.write(b"kept")
        async with opened(tmp_path, host_boot="two") as (hypervisor, facts):
            assert list(await hypervisor.machines()) == []
            await hypervisor.start(make_spec(generation=2))
            await facts.until(NAME, 2, STARTED, READY)
            assert read(hypervisor, "/root/kept") == b"kept"
            assert facts.kinds(NAME, 1) == []

    asyncio.run(main())


def test_the_state_is_the_owners_only(tmp_path: Path, make_spec: MakeSpec) -> None:
    """It holds the guests' host keys and files."""

    async def act(hypervisor: SimulatedHypervisor, facts: Facts) -> None:
        assert stat.S_IMODE((tmp_path / "simulated").stat().st_mode) == 0o700

    scenario(act, tmp_path, make_spec())


@pytest.mark.parametrize("damage", [b"nonsense" * 1000, b""])
def test_a_damaged_state_is_an_error_or_a_new_one(tmp_path: Path, damage: bytes) -> None:
    """Nonsense is one sentence, and the directory can be closed; an empty file is like none."""
    (tmp_path / "simulated").mkdir()
    (tmp_path / "simulated" / "machines.db").write_bytes(damage)

    async def main() -> None:
        hypervisor = SimulatedHypervisor(tmp_path)
        if damage:
            with pytest.raises(HypervisorError, match="cannot be read"):
                await hypervisor.open(print)
        else:
            await hypervisor.open(print)
        await hypervisor.close()

    asyncio.run(main())


def census() -> list[int]:
    """How many files and threads this process has."""
    return [len(list(Path(f"/proc/self/{kind}").iterdir())) for kind in ("fd", "task")]


def test_a_thousand_machines_need_no_thread_and_no_file_each(tmp_path: Path, make_spec: MakeSpec) -> None:
    """Any number is admitted."""

    async def main() -> None:
        async with opened(tmp_path) as (hypervisor, facts):
            before = census()
            for number in range(1000):
                await hypervisor.start(make_spec(f"c{number}"))
            await facts.until("c999", 1, STARTED, READY)
            assert census() == before
            assert len(await hypervisor.machines()) == 1000
            assert len(facts.told) == 2000

    asyncio.run(main())


CALLS: dict[str, Callable[[SimulatedHypervisor, MachineSpec], Coroutine[Any, Any, object]]] = {
    "machines": lambda hypervisor, _: hypervisor.machines(),
    "start": lambda hypervisor, spec: hypervisor.start(spec),
    "stop": lambda hypervisor, _: hypervisor.stop(NAME, grace=0),
    "delete": lambda hypervisor, _: hypervisor.delete(NAME),
    "connect": lambda hypervisor, _: hypervisor.connect(NAME, 22),
    "console_tail": lambda hypervisor, _: hypervisor.console_tail(NAME),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_call_before_the_open_or_after_the_close_is_an_error(
    call: str, tmp_path: Path, make_spec: MakeSpec
) -> None:
    """One sentence, for each method."""

    async def main() -> None:
        hypervisor = SimulatedHypervisor(tmp_path)
        with pytest.raises(HypervisorError, match="not open"):
            await CALLS[call](hypervisor, make_spec())
        await hypervisor.open(print)
        await hypervisor.close()
        with pytest.raises(HypervisorError, match="not open"):
            await CALLS[call](hypervisor, make_spec())

    asyncio.run(main())
