"""What there is on a server, as the model sees it: frozen values, and what a server may tell of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from attrs import evolve, field, frozen

from ecompute.contract.catalog import HTTPS_PORT, Status
from ecompute.contract.scopes import Grants

T = TypeVar("T")

REACH: Mapping[str, frozenset[str]] = {
    Status.PENDING: frozenset({Status.PENDING, Status.INITIALIZING, Status.RUNNING, Status.FAILED}),
    Status.INITIALIZING: frozenset({Status.INITIALIZING, Status.RUNNING, Status.FAILED}),
    Status.RUNNING: frozenset({Status.RUNNING, Status.FAILED}),
    Status.STOPPED: frozenset({Status.STOPPED}),
    Status.FAILED: frozenset({Status.FAILED}),
}
"""What a status may have become by itself, without anybody's order."""

UP = frozenset({Status.PENDING, Status.INITIALIZING, Status.RUNNING})
"""Statuses in which a container runs or is on its way."""

KEPT = ("hostname", "created_at", "external_ip", "ssh_host_key")
"""What a server makes up for a container: once told, always the same."""


def reach(statuses: Iterable[str]) -> frozenset[str]:
    """What each of these may have become by itself."""
    return frozenset().union(*(REACH[status] for status in statuses))


@frozen
class Rule:
    """A published port."""

    id: int
    port: int
    target_port: int


@frozen
class Box:
    """A container. `statuses` are those that it may have now; `fixed` are fields that never change."""

    id: str
    owner: str
    fixed: Mapping[str, Any]
    ssh_enabled: bool
    mount_paths: tuple[str, ...]
    statuses: frozenset[str] = REACH[Status.PENDING]
    rules: tuple[Rule, ...] = ()
    spent_rules: frozenset[int] = frozenset()

    @property
    def fields(self) -> dict[str, Any]:
        """The fields in which a server's word must be the model's."""
        https = any(rule.port == HTTPS_PORT for rule in self.rules)
        return {**self.fixed, "ssh_enabled": self.ssh_enabled, "https_enabled": https}

    def differences(self, told: Mapping[str, Any]) -> dict[str, Any]:
        """The fields in which a server's word is another, with what they should be."""
        return {
            name: value
            for name, value in self.fields.items()
            if told.get(name) != value or type(told.get(name)) is not type(value)
        }

    def seen(self, told: Mapping[str, Any]) -> Box:
        """The same, now that a server has told of it: its status is known, and what a server makes up."""
        made_up = {name: told[name] for name in KEPT if name in told}
        status = told.get("status")
        known = REACH[status] if status in self.statuses else self.statuses
        return evolve(self, statuses=known, fixed={**made_up, **self.fixed})

    def moved(self, *statuses: str) -> Box:
        """The same after an order that leads to one of these."""
        return evolve(self, statuses=reach(statuses))


@frozen
class Key:
    """A registered public key."""

    id: int
    owner: str
    name: str
    public_key: str

    @property
    def fields(self) -> dict[str, Any]:
        """The fields in which a server's word must be the model's."""
        return {"id": self.id, "name": self.name, "public_key": self.public_key}


@frozen
class Pass:
    """A credential by whom it belongs to. `grants` None are all rights of a session."""

    owner: str
    grants: Grants | None = None
    id: str = ""
    revoked: bool = False


@frozen
class Account:
    """A user: the id, what it may have, and how much it has that is no business of the model's."""

    user_id: str
    container_limit: int
    key_limit: int
    other_containers: int = 0
    other_keys: int = 0


@frozen
class World:
    """All that the model knows. Passes are found by their symbols, the rest by ids. `made` is everything that
    there ever was, by kind and id, with its owner.
    """

    accounts: Mapping[str, Account]
    passes: Mapping[str, Pass]
    keys: tuple[Key, ...] = ()
    boxes: tuple[Box, ...] = ()
    made: Mapping[tuple[str, Any], str] = field(factory=dict, repr=False)

    def box(self, id: str, owner: str | None = None) -> Box | None:
        """A container by its id; with an owner, only if it is theirs."""
        return next((b for b in self.boxes if b.id == id and owner in (None, b.owner)), None)

    def boxes_of(self, owner: str) -> tuple[Box, ...]:
        """A user's containers."""
        return tuple(box for box in self.boxes if box.owner == owner)

    def room(self, owner: str) -> int:
        """How many containers more a user may have."""
        account = self.accounts[owner]
        return account.container_limit - account.other_containers - len(self.boxes_of(owner))

    def keys_of(self, owner: str) -> tuple[Key, ...]:
        """A user's keys."""
        return tuple(key for key in self.keys if key.owner == owner)

    def with_box(self, box: Box) -> World:
        """The world with a new container, or with one in the place of its former self."""
        others = tuple(b for b in self.boxes if b.id != box.id)
        return evolve(self, boxes=(*others, box), made={**self.made, ("container", box.id): box.owner})

    def without_box(self, id: str) -> World:
        """The world after the end of a container."""
        return evolve(self, boxes=tuple(box for box in self.boxes if box.id != id))

    def with_key(self, key: Key) -> World:
        """The world with a new key."""
        return evolve(self, keys=(*self.keys, key), made={**self.made, ("key", key.id): key.owner})

    def without_key(self, id: int) -> World:
        """The world without a key; containers that carry it stay as they are."""
        return evolve(self, keys=tuple(key for key in self.keys if key.id != id))

    def with_pass(self, symbol: str, made: Pass) -> World:
        """The world with a new pass, or with one in the place of its former self."""
        return evolve(self, passes={**self.passes, symbol: made})
