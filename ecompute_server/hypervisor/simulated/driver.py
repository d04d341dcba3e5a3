"""The hypervisor interface over machines that are only simulated, and the levers by which tests make them
misbehave.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from attrs import evolve

from ecompute_server.hypervisor.interface import (
    Fact,
    FactKind,
    Finding,
    HypervisorError,
    Machine,
    MachineSpec,
    NoSuchMachine,
    NotReady,
    Observe,
    Severity,
    Usage,
)

from .console import boot_log, ready_log
from .files import Files
from .gauge import Gauge
from .machine import Boot, Phase, Record, SimulatedMachine
from .services import Connections, Service, ssh_banner
from .state import State, host_boot_id

SSH_PORT = 22
DISK_LIMIT = 256 << 20
"""What one machine's files may take on this host, whatever its `storage_gb` says."""


_SAVE_AGAIN_SECONDS = 0.5


class SimulatedHypervisor:
    """Machines without a hypervisor: any number, of any size, on any computer.

    They lie in `simulated/` below the state directory and outlive the process as real ones do: after `close`,
    or after a kill, the next object on the same directory finds them running, and a boot that was under way
    ends when it would have ended. A restart of the host ends them. Mount paths persist until `delete`;
    all other files of a machine live until it stops.

    A boot takes `boot_time` seconds of the event loop's clock. Nothing polls, and there is no thread.

    Everything after the interface's methods is for tests, and must be called on the event loop that called
    `open`. What speaks of the *next* start or boot is used up by it, whichever container's it is; several
    calls are used up one after the other.
    """

    def __init__(
        self,
        state: Path,
        *,
        boot_time: float = 0.05,
        disk_limit: int = DISK_LIMIT,
        host_boot: str | None = None,
    ) -> None:
        self.unavailable = False
        """While true, the guest images are missing: `start` raises `NotReady`."""
        self.gone = False
        """While true, `ping` raises `HypervisorError`."""
        self.choose_boot: Callable[[Boot], Boot] = _as_usual
        """Asked at each boot of which nothing else was said; is given the usual one."""
        self._folder = state / "simulated"
        self._boot_time = boot_time
        self._disk_limit = disk_limit
        self._host_boot = host_boot_id() if host_boot is None else host_boot
        self._state: State | None = None
        self._observe: Observe = _ignore
        self._machines: dict[str, SimulatedMachine] = {}
        self._connections = Connections()
        self._services: dict[tuple[str, int], Service] = {}
        self._next_boots: deque[Boot] = deque()
        self._next_refusals: deque[HypervisorError] = deque()
        self._deaf: set[str] = set()

    # the interface

    async def open(self, observe: Observe) -> None:
        if self._state is not None:
            raise HypervisorError("the hypervisor is open already")
        self._state = State(self._folder, boot_id=self._host_boot)
        self._observe = observe
        now = time.time()
        for record in list(self._state.records()):
            machine = self._adopt(record)
            left = record.ends_at - now if record.phase is Phase.BOOTING else 0.0
            self._tell_later(machine, min(max(left, 0.0), record.boot.seconds))

    async def close(self) -> None:
        state, self._state = self._state, None
        machines, self._machines = self._machines, {}
        for machine in machines.values():
            machine.set_timer(None)
            machine.break_connections()
        await self._connections.close()
        if state is not None:
            state.close()

    async def machines(self) -> Sequence[Machine]:
        self._opened()
        return [Machine(m.spec.container_id, m.spec.generation) for m in self._machines.values()]

    async def start(self, spec: MachineSpec) -> None:
        state = self._opened()
        if self.unavailable:
            raise NotReady(_missing_image(spec))
        if self._next_refusals:
            raise self._next_refusals.popleft()
        running = self._machines.get(spec.container_id)
        if running is not None and running.spec.generation > spec.generation:
            raise HypervisorError("a later generation of the container runs already")
        if running is not None and running.spec.generation == spec.generation:
            self._tell(running, FactKind.STARTED)
            if running.record.phase is not Phase.BOOTING:
                self._tell_phase(running)
            return
        boot = self._next_boot()
        record = Record(spec, Phase.BOOTING, time.time() + boot.seconds, boot)
        with state.transaction():
            if running is not None:
                self._end(running)
            state.save(record)
            state.begin_console(spec.container_id, boot_log(spec))
        machine = self._adopt(record)
        self._tell(machine, FactKind.STARTED)
        self._tell_later(machine, boot.seconds)

    async def stop(self, container_id: str, *, grace: float) -> None:
        self._opened()
        if container_id in self._deaf and container_id in self._machines:
            await asyncio.sleep(grace)
            self._opened()
        machine = self._machines.get(container_id)
        if machine is not None:
            self._opened().print_console(container_id, "agent: powering off\n")
            self._end(machine)

    async def delete(self, container_id: str) -> None:
        state = self._opened()
        machine = self._machines.get(container_id)
        if machine is not None:
            self._end(machine)
        state.erase(container_id)
        for known in [key for key in self._services if key[0] == container_id]:
            del self._services[known]

    async def connect(self, container_id: str, port: int) -> socket.socket:
        machine = self.machine(container_id)
        service = self._services.get((container_id, port), ssh_banner if port == SSH_PORT else None)
        if service is None or not machine.ready:
            raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
        return self._connections.open(machine, service)

    async def console_tail(self, container_id: str, *, max_bytes: int = 4096) -> str:
        text = self._opened().console(container_id).encode()
        return text[-max_bytes:].decode(errors="ignore") if max_bytes > 0 else ""

    def usage(self, container_id: str) -> Usage | None:
        machine = self._machines.get(container_id)
        return machine.gauge.read() if machine is not None and machine.ready else None

    async def ping(self) -> None:
        self._opened()
        if self.gone:
            raise HypervisorError("the simulated hypervisor is gone")

    async def probe(self) -> Sequence[Finding]:
        if self.unavailable:
            return [
                Finding(
                    "guest images", Severity.ERROR, "no guest image is built", "ecompute-server images build"
                )
            ]
        return [Finding("hypervisor", Severity.OK, "machines are simulated; nothing of this host is needed")]

    # looking into machines

    def machine(self, container_id: str) -> SimulatedMachine:
        """The container's running machine.

        Raises:
            NoSuchMachine: there is none.
        """
        self._opened()
        try:
            return self._machines[container_id]
        except KeyError:
            raise NoSuchMachine("the container has no running machine") from None

    def serve(self, container_id: str, port: int, service: Service) -> None:
        """Have `service` listen on a port of the container's guest, whenever that runs and is ready, until
        `delete`. Each connection gets a call of its own, as with `asyncio.start_server`.
        """
        self._services[container_id, port] = service

    # making machines misbehave

    def fail_next_boot(self, reason: str) -> None:
        """The guest of the next boot will not take its identity: `REFUSED` instead of `READY`."""
        self._next_boots.append(Boot(self._boot_time, Phase.REFUSED, reason))

    def hang_next_boot(self) -> None:
        """The guest of the next boot will never say anything. It can be stopped at once all the same."""
        self._next_boots.append(Boot(0.0, Phase.HUNG))

    def slow_boot(self, seconds: float) -> None:
        """The next boot takes so long."""
        self._next_boots.append(Boot(seconds))

    def refuse_next_start(self, error: HypervisorError) -> None:
        """The next `start` raises the error and changes nothing."""
        self._next_refusals.append(error)

    def ignore_power_off(self, container_id: str) -> None:
        """The running guest does not power off when asked to, so that `stop` takes its whole grace."""
        self.machine(container_id)
        self._deaf.add(container_id)

    def crash(self, container_id: str, reason: str) -> None:
        """The machine dies: `LOST`."""
        machine = self.machine(container_id)
        self._opened().print_console(container_id, f"Kernel panic - not syncing: {reason}\n")
        self._end(machine)
        self._tell(machine, FactKind.LOST, reason)

    def power_off(self, container_id: str) -> None:
        """The guest powers itself off: `STOPPED`."""
        machine = self.machine(container_id)
        self._opened().print_console(container_id, "reboot: Power down\n")
        self._end(machine)
        self._tell(machine, FactKind.STOPPED)

    def reboot(self, container_id: str) -> None:
        """The guest restarts itself: its connections break, its files stay, and it is `READY` again after the
        next boot.
        """
        machine = self.machine(container_id)
        state = self._opened()
        boot = self._next_boot()
        machine.record = evolve(
            machine.record, phase=Phase.BOOTING, ends_at=time.time() + boot.seconds, boot=boot
        )
        state.save(machine.record)
        state.print_console(container_id, "reboot: Restarting system\n" + boot_log(machine.spec))
        machine.break_connections()
        self._tell_later(machine, boot.seconds)

    # within

    def _opened(self) -> State:
        if self._state is None:
            raise HypervisorError("the hypervisor is not open")
        return self._state

    def _adopt(self, record: Record) -> SimulatedMachine:
        container_id = record.spec.container_id

        def while_it_runs(act: Callable[[str], None]) -> None:
            if self._machines.get(container_id) is machine:
                act(container_id)

        machine = SimulatedMachine(
            record,
            gauge=Gauge(self._opened(), record.spec),
            files=self._files,
            power_off=lambda: while_it_runs(self.power_off),
            reboot=lambda: while_it_runs(self.reboot),
        )
        self._machines[container_id] = machine
        return machine

    def _files(self, machine: SimulatedMachine) -> Files:
        capacity = min(machine.spec.storage_gb << 30, self._disk_limit)
        return Files(self._opened(), machine.spec, capacity=capacity)

    def _end(self, machine: SimulatedMachine) -> None:
        container_id = machine.spec.container_id
        self._opened().forget(container_id)
        self._machines.pop(container_id, None)
        self._deaf.discard(container_id)
        machine.set_timer(None)
        machine.break_connections()

    def _next_boot(self) -> Boot:
        if self._next_boots:
            return self._next_boots.popleft()
        return self.choose_boot(Boot(self._boot_time))

    def _tell_later(self, machine: SimulatedMachine, seconds: float) -> None:
        machine.set_timer(asyncio.get_running_loop().call_later(seconds, self._boot_ended, machine))

    def _boot_ended(self, machine: SimulatedMachine) -> None:
        record = machine.record
        if record.phase is Phase.BOOTING:
            ended, state = evolve(record, phase=record.boot.outcome), self._opened()
            try:
                state.save(ended)
                if ended.phase is Phase.READY:
                    state.print_console(machine.spec.container_id, ready_log(machine.spec))
            except OSError:
                # a full disk; a real guest would not notice, and its host would tell of it later as well
                self._tell_later(machine, _SAVE_AGAIN_SECONDS)
                return
            machine.record = ended
        self._tell_phase(machine)

    def _tell_phase(self, machine: SimulatedMachine) -> None:
        match machine.record.phase:
            case Phase.READY:
                self._tell(machine, FactKind.READY)
            case Phase.REFUSED:
                self._tell(machine, FactKind.REFUSED, machine.record.boot.reason)
            case Phase.BOOTING | Phase.HUNG:
                pass

    def _tell(self, machine: SimulatedMachine, kind: FactKind, reason: str = "") -> None:
        self._observe(Fact(machine.spec.container_id, machine.spec.generation, kind, reason))


def _ignore(fact: Fact) -> None:
    """Before `open` nobody listens."""


def _as_usual(boot: Boot) -> Boot:
    return boot


def _missing_image(spec: MachineSpec) -> str:
    return f"the guest image {spec.image} for {spec.arch} is not built; run: ecompute-server images build"
