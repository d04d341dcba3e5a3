"""One connection to libvirt: blocking calls made in worker threads, events told to the event loop.

Speaks of domains by UUID and nothing of containers.

The embedded driver may open a root once in a process's life, closed or not. So its handle stays with the
process, and a later `Connection` to the same root takes it over; that nobody else uses it meanwhile is the
driver's lock to see to.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from typing import Any, TypeVar

from attrs import frozen

from ecompute_server.hypervisor.interface import HypervisorError
from ecompute_server.hypervisor.libvirt import binding, reaper
from ecompute_server.hypervisor.libvirt.domain import METADATA_URI

T = TypeVar("T")

WORKERS = 8
"""A destroy may take two seconds (libvirt looks every 0.2 s whether QEMU is gone), so a few at once."""


class End(Enum):
    """Why a domain ended, from virDomainEventStoppedDetailType."""

    POWERED_OFF = "the guest powered off"
    DESTROYED = "the machine was ended from outside the server"
    CRASHED = "the guest or QEMU crashed"
    FAILED = "QEMU ended by itself or was killed"
    OTHER = "libvirt moved the machine away"


@frozen
class Ended:
    """The domain is gone and its process with it."""

    uuid: str
    end: End


@frozen
class Found:
    """A domain that exists, with our element of its metadata."""

    uuid: str
    metadata: str


OnEnded = Callable[[Ended], None]

_embedded: dict[str, Any] = {}


class Connection:
    """`open` once; then any coroutine from the event loop that opened it.

    Every method may raise `HypervisorError`, with one sentence.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._libvirt: Any = None
        self._connection: Any = None
        self._callback: int | None = None
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="libvirt")
        # of its own, since the workers may all be busy with machines
        self._pings = ThreadPoolExecutor(1, thread_name_prefix="libvirt-ping")

    async def open(self, on_ended: OnEnded) -> None:
        loop = asyncio.get_running_loop()

        def told(connection: Any, domain: Any, event: int, detail: int, opaque: object) -> None:
            # On libvirt's thread. The UUID is part of the object: asking for it calls nobody.
            if event == self._libvirt.VIR_DOMAIN_EVENT_STOPPED:
                ended = Ended(domain.UUIDString(), self._end(detail))
                if not loop.is_closed():
                    loop.call_soon_threadsafe(on_ended, ended)

        def connect() -> None:
            self._libvirt = binding.load()
            binding.run_event_loop()
            with binding.translated("libvirt cannot be opened"):
                self._connection = _embedded.get(self._uri) or self._libvirt.open(self._uri)
                if self._uri.startswith("qemu:///embed"):
                    _embedded[self._uri] = self._connection
                self._callback = self._connection.domainEventRegisterAny(
                    None, self._libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, told, None
                )

        await self.run(connect)

    def _end(self, detail: int) -> End:
        libvirt = self._libvirt
        return {
            libvirt.VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN: End.POWERED_OFF,
            libvirt.VIR_DOMAIN_EVENT_STOPPED_DESTROYED: End.DESTROYED,
            libvirt.VIR_DOMAIN_EVENT_STOPPED_CRASHED: End.CRASHED,
            libvirt.VIR_DOMAIN_EVENT_STOPPED_FAILED: End.FAILED,
        }.get(detail, End.OTHER)

    async def run(self, work: Callable[[], T]) -> T:
        """Blocking work in a thread of this connection's pool.

        What was begun is waited for, also when the caller is cancelled: whoever undoes it must find it done.
        """
        begun = self._begin(work)
        try:
            return await asyncio.shield(begun)
        except asyncio.CancelledError:
            await asyncio.wait([begun])
            raise

    def _begin(self, work: Callable[[], T]) -> asyncio.Future[T]:
        def working() -> T:
            with reaper.SWEEPER.working():
                return work()

        return asyncio.get_running_loop().run_in_executor(self._pool, working)

    async def create_paused(self, xml: str) -> None:
        """virDomainCreateXML, with the processors held: sockets can be connected before the first byte."""

        def create() -> None:
            with binding.translated("libvirt did not start the machine"):
                self._connection.createXML(xml, self._libvirt.VIR_DOMAIN_START_PAUSED)

        await self.run(create)

    async def resume(self, uuid: str) -> None:
        def resume() -> None:
            with binding.translated("libvirt did not let the machine run"):
                self._connection.lookupByUUIDString(uuid).resume()

        await self.run(resume)

    async def destroy(self, uuid: str) -> None:
        """virDomainDestroy: the process is gone when it returns. Nothing happens when no such domain is."""

        def destroy() -> None:
            try:
                self._connection.lookupByUUIDString(uuid).destroy()
            except self._libvirt.libvirtError as error:
                gone = (self._libvirt.VIR_ERR_NO_DOMAIN, self._libvirt.VIR_ERR_OPERATION_INVALID)
                if error.get_error_code() not in gone:
                    raise HypervisorError(
                        f"libvirt did not end the machine: {binding.sentence(str(error))}"
                    ) from error

        await self.run(destroy)

    async def shutdown(self, uuid: str) -> None:
        """virDomainShutdown: presses the power button; the guest may ignore it."""

        def shutdown() -> None:
            with binding.translated("libvirt did not press the power button"):
                self._connection.lookupByUUIDString(uuid).shutdown()

        await self.run(shutdown)

    async def monitor(self, uuid: str, command: str) -> str:
        """One command of QEMU's human monitor, its answer as text: errors are texts too.

        Source: virDomainQemuMonitorCommand. libvirt marks the domain as tainted in its log, and that is all.
        """

        def ask() -> str:
            qemu = binding.load_qemu()
            with binding.translated("QEMU's monitor did not answer"):
                handle = self._connection.lookupByUUIDString(uuid)
                answer: str = qemu.qemuMonitorCommand(
                    handle, command, qemu.VIR_DOMAIN_QEMU_MONITOR_COMMAND_HMP
                )
                return answer

        return await self.run(ask)

    async def ping(self) -> None:
        """virConnectIsAlive and virConnectNumOfDomains: both the way to the driver and the driver work."""

        def ask() -> None:
            connection = self._connection
            if connection is None:
                raise HypervisorError("The connection to libvirt is closed.")
            with binding.translated("libvirt does not answer"):
                alive = connection.isAlive()
                connection.numOfDomains()
            if not alive:
                raise HypervisorError("The connection to libvirt is dead.")

        await asyncio.get_running_loop().run_in_executor(self._pings, ask)

    async def domains(self) -> list[Found]:
        """All running or paused domains that carry our metadata.

        Asking for the state waits until libvirt has settled with a QEMU that it found after a restart.
        """

        def list_all() -> list[Found]:
            with binding.translated("libvirt does not list its machines"):
                found = (self._found(domain) for domain in self._connection.listAllDomains())
                return [each for each in found if each is not None]

        return await self.run(list_all)

    def _found(self, domain: Any) -> Found | None:
        try:
            state, _ = domain.state()
            metadata = domain.metadata(self._libvirt.VIR_DOMAIN_METADATA_ELEMENT, METADATA_URI)
        except self._libvirt.libvirtError:
            return None  # gone meanwhile, or nobody's of ours
        alive = (
            self._libvirt.VIR_DOMAIN_RUNNING,
            self._libvirt.VIR_DOMAIN_BLOCKED,
            self._libvirt.VIR_DOMAIN_PAUSED,
            self._libvirt.VIR_DOMAIN_PMSUSPENDED,
        )
        return Found(domain.UUIDString(), metadata) if state in alive else None

    async def warm(self, emulator: str, qemu: str, machine: str, kind: str) -> None:
        """virConnectGetDomainCapabilities, which makes libvirt look at a QEMU now and not at the first
        create: two seconds once for each, then read from its cache.
        """

        def ask() -> None:
            with binding.translated(f"libvirt cannot use {emulator}"):
                self._connection.getDomainCapabilities(emulator, qemu, machine, kind)

        # Not waited for at the end: it leaves nothing to undo.
        await self._begin(ask)

    async def close(self) -> None:
        """Guests run on. Safe to call twice and after a failed `open`."""

        def close() -> None:
            connection, self._connection = self._connection, None
            if connection is None:
                return
            try:
                if self._callback is not None:
                    connection.domainEventDeregisterAny(self._callback)
                if self._uri not in _embedded:
                    connection.close()
            except self._libvirt.libvirtError:
                pass  # the process lets go of it anyway

        await asyncio.get_running_loop().run_in_executor(None, close)
        self._pool.shutdown(wait=False)
        self._pings.shutdown(wait=False)
