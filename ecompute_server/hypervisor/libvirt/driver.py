"""`LibvirtHypervisor`: machines as transient libvirt domains on this host.

The order of things stands here; how each is done stands in the modules beside. A machine found running after
a restart is asked by its agent whether it has its identity (`READY` if so); one that has not gets it as soon
as `start` is called for it again, because only the server's records know it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack
from uuid import uuid4

from attrs import frozen

from ecompute_server.hypervisor.interface import (
    FactKind,
    Finding,
    HypervisorError,
    Machine,
    MachineSpec,
    NoSuchMachine,
    NotReady,
    Observe,
    Usage,
)
from ecompute_server.hypervisor.libvirt import binding, disks, host, kvm, probe
from ecompute_server.hypervisor.libvirt.connection import Connection, End, Ended, Found
from ecompute_server.hypervisor.libvirt.console import tail
from ecompute_server.hypervisor.libvirt.domain import (
    HARDWARE,
    Boot,
    Host,
    domain_xml,
    known_from_metadata,
)
from ecompute_server.hypervisor.libvirt.files import explained, qemu_owner, trim
from ecompute_server.hypervisor.libvirt.layout import MachineFiles, layout_of
from ecompute_server.hypervisor.libvirt.machine import LiveMachine
from ecompute_server.hypervisor.libvirt.network.addresses import Addresses
from ecompute_server.hypervisor.libvirt.network.interface import GuestNetwork, Walls
from ecompute_server.hypervisor.libvirt.reaper import Reaper, alive
from ecompute_server.hypervisor.libvirt.settings import LibvirtSettings
from ecompute_server.images.interface import ImageError

SSH_PORT = 22
BETWEEN_TRIMS = 15.0
LARGEST_LOG = 1 << 20

_log = logging.getLogger(__name__)


@frozen
class _Opened:
    """An open driver: who is told, through what, and what the host is like."""

    observe: Observe
    connection: Connection
    host: host.Findings


class LibvirtHypervisor:
    """An `ecompute_server.hypervisor.interface.Hypervisor`.

    Call `process.prepare_process` first, and have one state directory in one process. What the interface
    leaves open is so here: `connect` reaches QEMU's forward, so a guest port on which nobody listens shows
    as an end of file, not as a refusal.
    """

    def __init__(self, settings: LibvirtSettings) -> None:
        self._settings = settings
        self._layout = layout_of(settings.state)
        self._opened: _Opened | None = None
        self._machines: dict[str, LiveMachine] = {}
        self._domains: dict[str, LiveMachine] = {}
        self._reaper = Reaper()
        self._undo = AsyncExitStack()
        self._adopted = False
        self._deserted = False
        self._background: set[asyncio.Task[None]] = set()

    # Life

    async def open(self, observe: Observe) -> None:
        async with AsyncExitStack() as undo:
            found = await asyncio.to_thread(self._look, undo)
            connection = Connection(host.open_address(self._settings.uri, self._layout))
            undo.push_async_callback(connection.close)
            try:
                await connection.open(self._ended)
            except HypervisorError as error:
                # libvirt has a lock of its own, which a process keeps to its end.
                if "pid file" in str(error):
                    raise HypervisorError(host.held(self._layout)) from error
                raise
            self._opened = _Opened(observe, connection, found)
            undo.push_async_callback(self._let_go)
            self._warn(found)
            with explained("The host's addresses cannot be watched"):
                addresses = Addresses()
            undo.callback(addresses.close)
            for domain in await connection.domains():
                await self._adopt(self._opened, domain)
            self._adopted = True
            self._spawn(self._keep_walls_up(self._opened, addresses))
            for arch in HARDWARE:
                self._spawn(self._warm(self._opened, arch))
            self._spawn(self._keep_logs_small(self._opened))
            self._undo = undo.pop_all()

    def _look(self, undo: AsyncExitStack) -> host.Findings:
        """Everything about this host that must be in order before libvirt is opened. In a worker thread."""
        settings = self._settings
        binding.load()
        owner = qemu_owner(settings.uri)
        host.prepare(settings, self._layout, owner)
        undo.callback(os.close, host.lock(self._layout))
        mark = host.server_mark(self._layout)
        walls = host.walls_of(settings, self._layout, owner, mark)
        walls.of_new.hold()
        # Pushed this early it is done this late: when libvirt can start nothing any more.
        undo.callback(self._release, walls)
        return host.Findings(
            places=host.places_of(settings.uri, self._layout),
            owner=owner,
            walls=walls,
            mark=mark,
            kvm=kvm.decide(settings) is kvm.Kvm.USABLE,
            quota=not host.cpu_quota_fault(settings.uri),
        )

    def _release(self, walls: host.GuestWalls) -> None:
        """Only when every machine of an earlier server was looked at, and none is left."""
        if self._deserted:
            for kind in walls.kinds.values():
                kind.release()

    def _warn(self, found: host.Findings) -> None:
        """What a running server lacks here, once; `probe` says the same with what mends it."""
        if warning := host.walls_warning(found.walls):
            _log.warning("%s", warning)
        if not found.quota:
            _log.warning(
                "shares of processors are not enforced: %s", host.cpu_quota_fault(self._settings.uri)
            )

    async def _adopt(self, opened: _Opened, found: Found) -> None:
        known = known_from_metadata(found.metadata, opened.host.mark)
        if known is None:
            return
        container_id, generation = known.machine.container_id, known.machine.generation
        files = self._layout.machine(container_id)
        if not files.whole.exists():
            # Its server did not live to finish the start: no caller was told that it succeeded.
            await opened.connection.destroy(found.uuid)
            return
        machine = LiveMachine(container_id, generation, found.uuid, files, opened.observe)
        machine.started = True
        self._enter(machine)
        pid = None
        try:
            pid = opened.host.places.pid_of(machine.name)
            walls = opened.host.walls.kinds.get(known.walls)
            if not await self._walled(opened, machine, pid, walls):
                return
            await machine.attach(fresh=False)
        except (OSError, HypervisorError) as error:
            if pid is None or not alive(pid, machine.name):
                await self._clear_away(opened, machine)
                return
            # It can be ended and nothing else; the supervisor sees it silent.
            _log.warning("the machine of %s was found, but does not answer: %s", machine.container_id, error)
            await machine.detach()

    async def _clear_away(self, opened: _Opened, machine: LiveMachine) -> None:
        """A machine whose process ended before libvirt saw it: nobody is told that it was ever found."""
        _log.warning("the machine of %s was found dead", machine.container_id)
        machine.dead.set()
        try:
            await self._end(opened, machine)
        except HypervisorError as error:
            _log.warning("%s", error)

    async def _warm(self, opened: _Opened, arch: str) -> None:
        with contextlib.suppress(HypervisorError):
            facts = await opened.connection.run(lambda: self._host(opened, arch))
            hardware = HARDWARE[arch]
            await opened.connection.warm(
                str(facts.emulator), hardware.qemu, hardware.machine, "kvm" if facts.kvm else "qemu"
            )

    async def _keep_logs_small(self, opened: _Opened) -> None:
        """QEMU and slirp4netns write what a guest makes them write, and nobody else bounds that."""
        while True:
            await asyncio.sleep(BETWEEN_TRIMS)
            logs = [
                log
                for machine in self._machines.values()
                for log in (machine.files.outbound_log, opened.host.places.log_of(machine.name))
            ]
            await asyncio.to_thread(trim, logs, LARGEST_LOG)

    def _host(self, opened: _Opened, arch: str) -> Host:
        return host.host_for(arch, opened.host)

    def _open_network(self, opened: _Opened, machine: LiveMachine, pid: int, walls: Walls) -> GuestNetwork:
        async def ask(command: str) -> str:
            return await opened.connection.monitor(machine.uuid, command)

        self._reaper.watch(pid, machine.dead.set)
        machine.network = walls.enter(pid, machine.files, ask)
        return machine.network

    async def _walled(self, opened: _Opened, machine: LiveMachine, pid: int, walls: Walls | None) -> bool:
        """Whether the walls of a machine that was found hold now. One that is without them is ended: its
        volume stays, and whoever wants it running starts it again.
        """
        try:
            if walls is None:
                raise HypervisorError("Walls of its kind cannot be had any more.")
            await opened.connection.run(walls.hold)
            await opened.connection.run(self._open_network(opened, machine, pid, walls).keep_up)
        except HypervisorError as error:
            if not alive(pid, machine.name):
                raise
            _log.error(
                "the machine of %s was found without walls and is ended: %s", machine.container_id, error
            )
            await self._end(opened, machine)
            return False
        return True

    async def _keep_walls_up(self, opened: _Opened, addresses: Addresses) -> None:
        """What this host is reached by may change while guests run."""
        while True:
            await addresses.changed()
            for machine in list(self._machines.values()):
                if machine.network is None or machine.over:
                    continue
                try:
                    await opened.connection.run(machine.network.keep_up)
                except HypervisorError as error:
                    if not machine.over:
                        _log.error("the machine of %s: %s", machine.container_id, error)

    async def close(self) -> None:
        undo, self._undo = self._undo, AsyncExitStack()
        await undo.aclose()

    async def _let_go(self) -> None:
        self._opened = None
        for task in list(self._background):
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await asyncio.gather(
            *(machine.farewell or machine.detach() for machine in self._machines.values()),
            return_exceptions=True,
        )
        self._deserted = self._adopted and not self._machines
        self._machines.clear()
        self._domains.clear()
        self._reaper.close()

    def _open(self) -> _Opened:
        if self._opened is None:
            raise HypervisorError("The libvirt driver is not open.")
        return self._opened

    # Machines

    async def machines(self) -> Sequence[Machine]:
        self._open()
        return [
            Machine(machine.container_id, machine.generation)
            for machine in self._machines.values()
            if machine.runs
        ]

    async def start(self, spec: MachineSpec) -> None:
        opened = self._open()
        machine = self._machines.get(spec.container_id)
        if machine is not None and machine.generation == spec.generation and machine.runs:
            machine.tell(FactKind.STARTED)
            machine.identify(spec.identity)
            if machine.ready:
                machine.tell(FactKind.READY)
            return
        if machine is not None:
            await self._end(opened, machine)
        await self._start(opened, spec)

    async def _start(self, opened: _Opened, spec: MachineSpec) -> None:
        files = self._layout.machine(spec.container_id)
        async with AsyncExitStack() as undo:
            uuid = str(uuid4())
            xml = await opened.connection.run(lambda: self._prepare(opened, spec, files, uuid, undo))
            machine = LiveMachine(spec.container_id, spec.generation, uuid, files, opened.observe)
            machine.identity = spec.identity
            self._enter(machine)
            undo.push_async_callback(self._end, opened, machine)
            await self._boot(opened, machine, xml)
            undo.pop_all()
        if not machine.gone.is_set():
            self._spawn(machine.warm(SSH_PORT))

    def _prepare(
        self, opened: _Opened, spec: MachineSpec, files: MachineFiles, uuid: str, undo: AsyncExitStack
    ) -> str:
        """The files of a machine about to start, and its XML. In a worker thread."""
        facts = self._host(opened, spec.arch)
        boot = self._find_boot(spec)
        with explained("The machine's files cannot be made"):
            if not files.folder.exists():
                undo.callback(disks.remove, files)
                files.folder.mkdir(mode=0o711)
            if disks.make_volume(files, spec.storage_gb, self._layout, opened.host.owner):
                undo.callback(files.volume.unlink, missing_ok=True)
            files.console_log.unlink(missing_ok=True)
            for stale in files.of_one_run():
                stale.unlink(missing_ok=True)
            if boot.disk is not None:
                disks.make_system(files, boot.disk, opened.host.owner)
            opened.host.walls.of_new.hold()
            opened.host.walls.of_new.prepare(files)
        return domain_xml(spec, boot, files, facts, uuid)

    def _find_boot(self, spec: MachineSpec) -> Boot:
        try:
            image = self._settings.find_image(spec.image, spec.arch)
        except ImageError as error:
            raise HypervisorError(str(error)) from error
        if image is None:
            raise NotReady(
                f"The image {spec.image!r} for {spec.arch} is not built: run"
                f" `ecompute-server images build --image {spec.image} --arch {spec.arch}`."
            )
        return disks.boot_of(image, self._layout)

    async def _boot(self, opened: _Opened, machine: LiveMachine, xml: str) -> None:
        try:
            await opened.connection.create_paused(xml)
        except HypervisorError as error:
            # Of a QEMU that ends at once libvirt sometimes knows only that it is gone.
            words = await self._last_words(opened, machine)
            if not words:
                raise
            raise HypervisorError(f"libvirt did not start the machine: {words}") from error
        with explained("The machine's sockets cannot be reached"):
            await machine.attach(fresh=True)
        await opened.connection.resume(machine.uuid)
        pid = opened.host.places.pid_of(machine.name)
        network = self._open_network(opened, machine, pid, opened.host.walls.of_new)
        if machine.gone.is_set():
            raise HypervisorError("The machine ended as soon as it ran.")
        machine.tell(FactKind.STARTED)
        # The host may have taken addresses since the files were made; nothing leads out until here.
        await opened.connection.run(network.keep_up)
        way_out = await opened.connection.run(network.open_out)
        if way_out is not None:
            self._reaper.watch(way_out)
        machine.files.whole.touch()

    def _enter(self, machine: LiveMachine) -> None:
        self._machines[machine.container_id] = machine
        self._domains[machine.uuid] = machine

    async def stop(self, container_id: str, *, grace: float) -> None:
        opened = self._open()
        machine = self._machines.get(container_id)
        if machine is None:
            return
        machine.ending = True
        if grace > 0 and not machine.over:
            await self._ask_to_end(opened, machine)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace):
                    await machine.wait_until_over()
        await self._end(opened, machine)

    async def _ask_to_end(self, opened: _Opened, machine: LiveMachine) -> None:
        if not machine.ask_poweroff():
            with contextlib.suppress(HypervisorError):
                await opened.connection.shutdown(machine.uuid)

    async def delete(self, container_id: str) -> None:
        opened = self._open()
        files = self._layout.machine(container_id)
        machine = self._machines.get(container_id)
        if machine is not None:
            await self._end(opened, machine)
        await opened.connection.run(lambda: disks.remove(files))

    async def _end(self, opened: _Opened, machine: LiveMachine) -> None:
        """Cuts the machine off, whatever it is doing, and forgets it. Nobody is told."""
        machine.ending = True
        if not machine.gone.is_set():
            await opened.connection.destroy(machine.uuid)
        await self._forget(opened, machine)

    async def _forget(self, opened: _Opened, machine: LiveMachine) -> None:
        """Once per machine, whoever comes first, and done for all who wait: a next generation uses the same
        file names.
        """
        if machine.farewell is None:
            machine.farewell = asyncio.create_task(self._say_farewell(opened, machine))
        await asyncio.shield(machine.farewell)

    async def _say_farewell(self, opened: _Opened, machine: LiveMachine) -> None:
        machine.gone.set()
        await machine.detach()

        def tidy() -> None:
            for path in (*machine.files.of_one_run(), opened.host.places.log_of(machine.name)):
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)

        await opened.connection.run(tidy)
        # Last, so that until then whoever asks for this container waits for all of it.
        if self._machines.get(machine.container_id) is machine:
            del self._machines[machine.container_id]
        self._domains.pop(machine.uuid, None)

    def _ended(self, ended: Ended) -> None:
        """libvirt's word that a domain is gone. Those that are ended here are awaited where they are."""
        machine = self._domains.get(ended.uuid)
        opened = self._opened
        if machine is None or opened is None or machine.gone.is_set():
            return
        machine.gone.set()
        if machine.ending or not machine.started:
            return
        self._spawn(self._tell_end(opened, machine, ended.end))

    async def _tell_end(self, opened: _Opened, machine: LiveMachine, end: End) -> None:
        words = await self._last_words(opened, machine)
        if end is End.POWERED_OFF:
            machine.tell(FactKind.STOPPED)
        else:
            # QEMU's words may name this host's paths; the reason is for the container's owner
            _log.warning("the machine of %s is gone: %s (%s)", machine.container_id, end.value, words or "-")
            machine.tell(FactKind.LOST, f"{end.value[0].upper()}{end.value[1:]}.")
        await self._forget(opened, machine)

    async def _last_words(self, opened: _Opened, machine: LiveMachine) -> str:
        log = opened.host.places.log_of(machine.name)
        printed = await opened.connection.run(lambda: tail(log, 4096))
        return binding.last_words(printed.decode(errors="replace"))

    # The guest

    async def connect(self, container_id: str, port: int) -> socket.socket:
        self._open()
        machine = self._machines.get(container_id)
        if machine is None or not machine.runs:
            raise NoSuchMachine(f"The container {container_id} has no running machine.")
        try:
            return await machine.connect(port)
        except HypervisorError:
            if not machine.runs:
                raise NoSuchMachine(f"The container {container_id} has no running machine.") from None
            raise

    async def console_tail(self, container_id: str, *, max_bytes: int = 4096) -> str:
        log = self._layout.machine(container_id).console_log
        return (await asyncio.to_thread(tail, log, max_bytes)).decode(errors="replace")

    def usage(self, container_id: str) -> Usage | None:
        machine = self._machines.get(container_id)
        return machine.usage if machine is not None else None

    async def ping(self) -> None:
        await self._open().connection.ping()

    async def probe(self) -> Sequence[Finding]:
        return await asyncio.to_thread(probe.look, self._settings)

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
