"""What simulated machines tell of their usage, and what it costs."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

from ecompute_server.hypervisor.checks import Facts
from ecompute_server.hypervisor.interface import FactKind, MachineSpec
from ecompute_server.hypervisor.simulated import SimulatedHypervisor
from ecompute_server.hypervisor.simulated.files import Files
from ecompute_server.hypervisor.simulated.gauge import BETWEEN_MEASURES, MOST_OF_THE_TIME, Gauge
from ecompute_server.hypervisor.simulated.state import State

MakeSpec = Callable[..., MachineSpec]
MIB = 1 << 20


def put(files: Files, path: str, size: int) -> None:
    with files.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) as file:
        file.write(b"x" * size)


def test_files_take_storage_on_mount_paths_and_memory_elsewhere(tmp_path: Path, make_spec: MakeSpec) -> None:
    """To the byte; what is on the volume is still there for the next machine of the container."""
    state, spec = State(tmp_path, boot_id=""), make_spec()
    clock = Clock()
    gauge = Gauge(state, spec, clock=clock)
    assert gauge.read().storage_used == 0
    files = Files(state, spec, capacity=8 * MIB)
    put(files, f"{spec.identity.mount_paths[0]}/kept", 3 * MIB)
    put(files, "/tmp/lost", MIB)
    clock.now += BETWEEN_MEASURES
    usage = gauge.read()
    assert usage.storage_used == 3 * MIB
    assert usage.memory_available == (spec.memory_mb - 1) * MIB
    state.forget(spec.container_id)
    later = Gauge(state, spec).read()
    assert later.storage_used == 3 * MIB
    assert later.memory_available == spec.memory_mb * MIB
    state.close()


class Clock:
    """A clock that goes on by `step` each time it is read."""

    def __init__(self) -> None:
        self.now = 100.0
        self.step = 0.0

    def __call__(self) -> float:
        self.now += self.step
        return self.now


def test_reading_often_measures_seldom(tmp_path: Path, make_spec: MakeSpec) -> None:
    """Once a second, and less often when a measure takes long."""
    state, spec = State(tmp_path, boot_id=""), make_spec()
    files = Files(state, spec, capacity=8 * MIB)
    clock = Clock()
    gauge = Gauge(state, spec, clock=clock)
    path = f"{spec.identity.mount_paths[0]}/file"
    first = gauge.read()
    put(files, path, 1000)
    clock.now += BETWEEN_MEASURES * 0.9
    assert gauge.read() is first
    clock.now += BETWEEN_MEASURES * 0.2
    clock.step = 0.5
    second = gauge.read()
    assert second.storage_used == 1000
    clock.step = 0.0
    put(files, path, 2000)
    clock.now += 0.5 / MOST_OF_THE_TIME * 0.9
    assert gauge.read() is second
    clock.now += 0.5 / MOST_OF_THE_TIME * 0.2
    third = gauge.read()
    assert third.storage_used == 2000
    clock.now += BETWEEN_MEASURES
    assert gauge.read() is third, "figures that are the same are the same object"
    state.close()


def test_a_guest_that_is_not_ready_tells_nothing(tmp_path: Path, make_spec: MakeSpec) -> None:
    """While it boots, and again while it reboots."""

    async def main() -> None:
        hypervisor, facts = SimulatedHypervisor(tmp_path, boot_time=0), Facts(deadline=10)
        await hypervisor.open(facts)
        spec = make_spec()
        name = spec.container_id
        await hypervisor.start(spec)
        assert hypervisor.usage(name) is None
        await facts.until(name, 1, FactKind.STARTED, FactKind.READY)
        assert hypervisor.usage(name) is not None
        hypervisor.slow_boot(1000)
        hypervisor.reboot(name)
        assert hypervisor.usage(name) is None
        await hypervisor.close()
        assert hypervisor.usage(name) is None

    asyncio.run(main())
