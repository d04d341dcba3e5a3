"""A container as the server remembers it: what was asked for, and where it is in its life."""

from __future__ import annotations

from attrs import evolve, field, frozen

from ecompute.contract.catalog import HTTPS_PORT, INSTANCE_TYPES, InstanceType, Status

from .lifecycle import Life

SSH_PORT = 22


@frozen
class Rule:
    """One published port. `id` is unique within its container and never given again."""

    id: int
    port: int
    target_port: int
    created_at: int


@frozen
class ContainerRecord:
    """One row of the store.

    `authorized_keys` are the lines that were injected at creation; a key that its owner deletes later stays
    here. `ingress` is ordered by port; `rules_made` counts the rules that there ever were.
    `created_at` is in whole seconds since the epoch, as precise as the API tells it.
    """

    id: str
    user_id: str
    name: str
    instance_type: str
    memory_mb: int
    storage_gb: int
    mount_paths: tuple[str, ...]
    ssh_enabled: bool
    authorized_keys: tuple[str, ...] = field(repr=False)
    created_at: int
    external_ip: str
    ssh_host_key: str
    image: str
    life: Life = field(factory=Life)
    ingress: tuple[Rule, ...] = ()
    rules_made: int = 0

    @property
    def type(self) -> InstanceType:
        """The catalogue's row of this container's type."""
        return INSTANCE_TYPES[self.instance_type]

    @property
    def is_running(self) -> bool:
        """Whether SSH in the guest answers, as far as is known."""
        return self.life.status is Status.RUNNING

    @property
    def https_enabled(self) -> bool:
        """Whether HTTPS is published."""
        return any(rule.port == HTTPS_PORT for rule in self.ingress)

    @property
    def doors(self) -> dict[int, int]:
        """External port to port in the guest, of all that is to be reachable from outside."""
        ports = {rule.port: rule.target_port for rule in self.ingress}
        return {SSH_PORT: SSH_PORT, **ports} if self.ssh_enabled else ports

    @property
    def sort_key(self) -> tuple[int, str]:
        """Ascending by this, reversed, is the order of lists: newest first, ties by id, highest first."""
        return (self.created_at, self.id)

    def with_life(self, life: Life) -> ContainerRecord:
        """The same container at another point of its life."""
        return evolve(self, life=life)
