"""The composition root: the only file that knows which drivers are real.

Everything else is given what it needs, and names interfaces.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from attrs import frozen

from ecompute.contract.catalog import MEMORY_MB, STORAGE_GB, Arch, InstanceType
from ecompute.contract.rules import Bounds

from .broadcast import Broadcast
from .clock import Clock, system_clock
from .core.presentation import View
from .core.record import ContainerRecord
from .core.refusal import unavailable
from .gateway.addresses import AddressPlan, claim_networks, told_networks
from .gateway.interface import Gateway
from .gateway.listeners import ListeningGateway, SharedListener
from .gateway.ports import can_bind_low_ports
from .gateway.tls.certificates import open_certificates
from .gateway.tls.own import OwnFiles
from .guest.interface import Guests, Login
from .guest.ssh import SSHGuests
from .handlers.call import Services
from .housekeeping import Housekeeping
from .hypervisor.interface import Finding, Hypervisor, Identity, MachineSpec, NotReady, Severity
from .identity.keyring import Keyring
from .identity.throttle import Throttle
from .images.catalogue import Catalogue, default_cache
from .logs import get_logger
from .metrics import Metrics, Queues
from .people import people_of
from .settings import DEFAULT_HTTPS_HOST, Settings
from .state import StateDirectory
from .store.containers import SqliteContainers
from .store.database import SqliteFile
from .store.meta import SqliteMeta
from .store.people import SqliteKeys
from .store.receipts import SqliteReceipts
from .supervisor import Supervisor, Timing

_log = get_logger(__name__)

_VERSION = version("ecompute")
_DEFAULT_HTTPS_PORT = 7443
_LEAST_REAL_MEMORY_MB = 128
"""The micro guest of amd64 does not boot with 96 MB, and an API that says 64 would only make it fail."""


@frozen
class Drivers:
    """The concrete pieces for one choice of hypervisor."""

    hypervisor: Hypervisor
    guests: Guests
    gateway: Gateway
    admit: Callable[[InstanceType], None]


def prepare_process(settings: Settings) -> None:
    """What must happen before threads start; called once, first."""
    if settings.hypervisor == "libvirt":
        libvirt = _libvirt()
        libvirt.prepare_process(_libvirt_settings(settings, StateDirectory(settings.state)))


def drivers(settings: Settings, state: StateDirectory) -> Drivers:
    """The drivers that the settings choose, not opened yet.

    Raises:
        NotReady: a Python package is missing.
        HypervisorError: the settings make no sense for the driver.
    """
    if settings.hypervisor == "simulated":
        return _simulated_drivers(settings, state)
    catalogue = Catalogue(default_cache())
    machines = _libvirt().LibvirtHypervisor(_libvirt_settings(settings, state))

    def admit(kind: InstanceType) -> None:
        if catalogue.find(settings.default_image, kind.arch) is None:
            raise unavailable(_missing_image(settings.default_image, kind.arch))

    return Drivers(
        machines,
        SSHGuests(machines.connect),
        ListeningGateway(
            machines.connect,
            certificates=open_certificates(state.path / "tls", settings.domain, own=_own_files(settings)),
            domain=settings.domain,
            port_offset=settings.port_offset,
            shared=_shared_listener(settings),
        ),
        admit,
    )


def _simulated_drivers(settings: Settings, state: StateDirectory) -> Drivers:
    # 4 MB that a server of real machines has no use for
    from .gateway.silent import SilentGateway
    from .guest.simulated import SimulatedGuests
    from .hypervisor.simulated import SimulatedHypervisor

    if settings.https_port is not None or settings.tls_cert is not None:
        _log.warning("a simulated host opens no ports: the settings for HTTPS have no effect")
    machines = SimulatedHypervisor(state.path)
    return Drivers(machines, SimulatedGuests(machines), SilentGateway(), lambda kind: None)


def _libvirt_settings(settings: Settings, state: StateDirectory) -> Any:
    catalogue = Catalogue(default_cache())
    return _libvirt().LibvirtSettings(
        state=state.path,
        find_image=catalogue.find,
        uri=settings.libvirt_uri,
        outbound=settings.outbound,
    )


def _libvirt() -> Any:
    try:
        from .hypervisor import libvirt
    except ModuleNotFoundError as error:
        raise NotReady(
            f"Machines by libvirt need one more package ({error.name}): pip install 'ecompute[libvirt]'"
        ) from error
    return libvirt


def _own_files(settings: Settings) -> OwnFiles | None:
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    return OwnFiles(settings.tls_cert, settings.tls_key)


def _shared_listener(settings: Settings) -> SharedListener:
    asked = settings.https_port is not None or settings.https_host != DEFAULT_HTTPS_HOST
    port = _DEFAULT_HTTPS_PORT if settings.https_port is None else settings.https_port
    return SharedListener(settings.https_host, port, required=asked)


def _missing_image(name: str, arch: Arch | str) -> str:
    return (
        f"There is no {name} image for {arch} on this host yet; its operator can build it:"
        f" ecompute-server images build --image {name} --arch {arch}"
    )


@asynccontextmanager
async def open_services(
    settings: Settings,
    state: StateDirectory,
    *,
    clock: Clock = system_clock,
    chosen: Drivers | None = None,
    durable: bool = True,
) -> AsyncIterator[Services]:
    """Everything that serves the API, open and supervised until the block ends; machines keep running.

    The state outlives a crash of the host if it is to be `durable`.

    Raises:
        HypervisorError, GatewayError, KeyringError, StoreError: one sentence for the operator.
    """
    keyring = Keyring.load(state.secret)
    parts = chosen or drivers(settings, state)
    file = SqliteFile(state.database, durable=durable)
    try:
        containers = SqliteContainers(file)
        addresses = await _addresses(settings, SqliteMeta(file), containers)
        try:
            ports = _port_finding(settings)
            reachable = settings.hypervisor == "simulated" or ports.severity is Severity.OK
            view = View(settings.domain, settings.port_offset, reachable, parts.hypervisor.usage)
            broadcast = Broadcast(view, containers.of_user)
            containers.listen(lambda change: broadcast.publish(change.before, change.after))
            recipes = Recipes(keyring, view)
            supervisor = Supervisor(
                containers=containers,
                hypervisor=parts.hypervisor,
                guests=parts.guests,
                gateway=parts.gateway,
                spec=recipes.spec,
                login=recipes.login,
                timing=Timing(settings.boot_deadline, settings.stop_grace),
                erased=lambda record: addresses.give_back(record.external_ip),
            )
            metrics = Metrics(
                version=_VERSION,
                containers=containers.all,
                queues=Queues(
                    writes=lambda: file.queue_depth,
                    effects=lambda: supervisor.queue_depth,
                    feeds=broadcast.queue_depths,
                ),
            )
            containers.listen(metrics.committed)
            people, receipts = people_of(file, keyring), SqliteReceipts(file)
            housekeeping = Housekeeping(
                credentials=people.credentials,
                receipts=receipts,
                clock=clock,
            )
            try:
                await supervisor.start()
                housekeeping.start()
                if not reachable:
                    _log.warning(f"{ports.check} {ports.detail}")
                yield Services(
                    database=file,
                    hypervisor=parts.hypervisor,
                    metrics=metrics,
                    containers=containers,
                    users=people.users,
                    keys=SqliteKeys(file),
                    receipts=receipts,
                    credentials=people.credentials,
                    throttle=Throttle(time.monotonic),
                    keyring=keyring,
                    broadcast=broadcast,
                    guests=parts.guests,
                    addresses=addresses,
                    login=recipes.login,
                    admit=parts.admit,
                    view=view,
                    clock=clock,
                    bounds=_bounds(settings),
                    default_image=settings.default_image,
                    max_containers_per_user=settings.max_containers_per_user,
                    max_ssh_keys_per_user=settings.max_ssh_keys_per_user,
                    allowed_origins=frozenset(settings.allowed_origins),
                )
            finally:
                await housekeeping.stop()
                await supervisor.stop()
        finally:
            addresses.close()
    finally:
        file.close()


def _bounds(settings: Settings) -> Bounds:
    real = settings.hypervisor == "libvirt"
    least = settings.min_memory_mb or (_LEAST_REAL_MEMORY_MB if real else MEMORY_MB[0])
    return Bounds(range(least, settings.max_memory_mb + 1), range(STORAGE_GB[0], settings.max_storage_gb + 1))


async def _addresses(settings: Settings, meta: SqliteMeta, containers: SqliteContainers) -> AddressPlan:
    known = meta.get("installation_id")
    installation_id = known or secrets.token_hex(8)
    stored = (meta.get("networks") or "").split()
    taken = {record.external_ip for record in containers.all()}
    have = told_networks if settings.hypervisor == "simulated" else claim_networks
    plan = have(installation_id, stored=stored, taken=taken)
    if known is None or list(plan.networks) != stored:
        await meta.set({"installation_id": installation_id, "networks": " ".join(plan.networks)})
    return plan


@frozen
class Recipes:
    """From records to what drivers need of them."""

    keyring: Keyring
    view: View

    def spec(self, record: ContainerRecord) -> MachineSpec:
        """The machine of a container, with the identity of its guest."""
        client = self.keyring.client_key(record.id)
        identity = Identity(
            hostname=record.id,
            machine_id=self.keyring.machine_id(record.id),
            host_key=self.keyring.host_key(record.id).private,
            authorized_keys=(*record.authorized_keys, client.public),
            mount_paths=record.mount_paths,
        )
        return MachineSpec(
            container_id=record.id,
            generation=record.life.generation,
            arch=record.type.arch,
            vcpus=record.type.vcpus,
            cpu_share=record.type.cpu_cores,
            memory_mb=record.memory_mb,
            storage_gb=record.storage_gb,
            image=record.image,
            identity=identity,
        )

    def login(self, record: ContainerRecord) -> Login:
        """The server's own way into the guest."""
        return Login(record.id, self.keyring.client_key(record.id).private, record.ssh_host_key)


async def end_machines(settings: Settings, state: StateDirectory) -> int:
    """End every machine of the state directory and tell how many there were. No server may run on it.

    Raises:
        HypervisorError: one sentence for the operator.
    """
    hypervisor = drivers(settings, state).hypervisor
    try:
        await hypervisor.open(lambda fact: None)
        machines = await hypervisor.machines()
        stops = (hypervisor.stop(machine.container_id, grace=settings.stop_grace) for machine in machines)
        await asyncio.gather(*stops)
        return len(machines)
    finally:
        await hypervisor.close()


async def examine(settings: Settings, state: StateDirectory) -> list[Finding]:
    """What `doctor` tells: the chosen driver's findings, and those of the host around it."""
    try:
        findings = list(await drivers(settings, state).hypervisor.probe())
    except NotReady as error:
        remedy = "pip install 'ecompute[libvirt]'"
        findings = [Finding("hypervisor", Severity.ERROR, str(error), remedy)]
    if settings.hypervisor == "libvirt":
        findings += _image_findings(settings)
        findings.append(_port_finding(settings))
    return findings


def _image_findings(settings: Settings) -> list[Finding]:
    findings = []
    catalogue = Catalogue(default_cache())
    for arch in Arch:
        name = f"image {settings.default_image} for {arch}"
        image = catalogue.find(settings.default_image, arch)
        if image is not None:
            findings.append(Finding(name, Severity.OK, f"version {image.version}"))
            continue
        remedy = f"ecompute-server images build --image {settings.default_image} --arch {arch}"
        findings.append(Finding(name, Severity.ERROR, "not built yet", remedy))
    return findings


def _port_finding(settings: Settings) -> Finding:
    if settings.port_offset or can_bind_low_ports():
        words = f"moved up by {settings.port_offset}" if settings.port_offset else "may be bound"
        return Finding("ports under 1024", Severity.OK, words)
    return Finding(
        "ports under 1024",
        Severity.WARNING,
        "may not be bound: containers' SSH is not reachable; serve with --port-offset 20000",
        "sysctl -w net.ipv4.ip_unprivileged_port_start=0",
    )
