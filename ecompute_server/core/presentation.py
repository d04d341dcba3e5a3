"""How records look to the API's users."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from attrs import evolve, field, frozen

from ecompute.contract import codec
from ecompute.contract.catalog import Status
from ecompute.contract.messages import ContainerDeleted, ContainerSnapshot, ContainerStatus, FeedMessage
from ecompute.contract.resources import Container

from .record import SSH_PORT, ContainerRecord
from .usage import Usage

DEFAULT_DOMAIN = "compute.localhost"
_MOST_WRITTEN = 8192


@frozen
class View:
    """What of the installation's settings shows in answers."""

    domain: str = DEFAULT_DOMAIN
    port_offset: int = 0
    reachable: bool = True
    """Whether anything can listen on containers' addresses at all; without that no `ssh_command` is told."""
    usage: Callable[[str], Usage | None] = field(default=lambda container_id: None, eq=False)
    """What is known of a container's machine now. Asked at every answer, so it must be quick."""
    _written: dict[str, tuple[ContainerRecord, Usage | None, bytes]] = field(
        factory=dict, init=False, repr=False, eq=False
    )

    def json(self, record: ContainerRecord) -> bytes:
        """The resource as JSON text. Lists are read far more often than containers change, and writing one
        takes longer than all the rest of an answer, so the text of each record is remembered for as long as
        its usage stays.
        """
        usage = self._usage(record)
        known = self._written.get(record.id)
        if known is not None and known[0] is record and known[1] is usage:
            return known[2]
        if len(self._written) >= _MOST_WRITTEN:
            self._written.clear()
        text = codec.dump_json(codec.unstructure(self._container(record, usage)))
        self._written[record.id] = (record, usage, text)
        return text

    def container(self, record: ContainerRecord) -> Container:
        """The resource as the API tells it."""
        return self._container(record, self._usage(record))

    def _container(self, record: ContainerRecord, usage: Usage | None) -> Container:
        return Container(
            id=record.id,
            name=record.name,
            status=str(record.life.status),
            hostname=self.hostname(record),
            memory_mb=record.memory_mb,
            memory_used_mb=None if usage is None else usage.memory_mb(record),
            storage_gb=record.storage_gb,
            storage_used_gb=None if usage is None else usage.storage_gb(record),
            instance_type=record.instance_type,
            created_at=datetime.fromtimestamp(record.created_at, UTC),
            ssh_enabled=record.ssh_enabled,
            https_enabled=record.https_enabled,
            ssh_command=self._ssh_command(record) if record.ssh_enabled and self.reachable else None,
            external_ip=record.external_ip,
            ssh_host_key=record.ssh_host_key,
            status_reason=_reason(record),
        )

    def as_of_now(self, container_id: str) -> View:
        """The same, with what is known of one container's machine at this moment: for threads from which
        nothing may be measured.
        """
        known = self.usage(container_id)
        return evolve(self, usage=lambda _: known)

    def hostname(self, record: ContainerRecord) -> str:
        """The container's name in the DNS of this installation."""
        return f"{record.id}.{self.domain}"

    def _usage(self, record: ContainerRecord) -> Usage | None:
        # a machine may run longer than its container, or not be ready yet
        return self.usage(record.id) if record.is_running else None

    def _ssh_command(self, record: ContainerRecord) -> str:
        # names below the default domain are known to no resolver, so the address is what works as pasted
        host = record.external_ip if self.domain == DEFAULT_DOMAIN else self.hostname(record)
        port = f" -p {SSH_PORT + self.port_offset}" if self.port_offset else ""
        return f"ssh{port} root@{host}"


def snapshot(view: View, records: list[ContainerRecord]) -> ContainerSnapshot:
    """The feed's first message."""
    return ContainerSnapshot(tuple(view.container(record) for record in records))


def news(before: ContainerRecord | None, after: ContainerRecord | None) -> FeedMessage | None:
    """What a change means to somebody who watches; None when nothing shows."""
    if after is None or (before is not None and before.life.deleted):
        return None
    if after.life.deleted:
        return ContainerDeleted(after.id)
    if before is not None and before.life == after.life:
        return None
    return ContainerStatus(
        container_id=after.id,
        status=str(after.life.status),
        external_ip=after.external_ip,
        status_reason=_reason(after),
    )


def _reason(record: ContainerRecord) -> str | None:
    return record.life.reason if record.life.status is Status.FAILED else None
