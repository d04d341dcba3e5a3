"""What all sequences of a run have in common: who asks, what was there before, and the shortest failure."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from attrs import frozen

from .check import Need
from .credential import Credential, Tenant
from .history import Step
from .lab import Lab
from .verdict import Deviation
from .watching import Patience
from .world import Account, Key, Pass, World

_PATIENCE = 8.0
"""Seconds in which a failure is made simpler."""


@frozen
class Hand:
    """Somebody who asks: a credential, and the symbol of its pass in the model."""

    credential: Credential
    symbol: str


class Setting:
    """What all sequences of a run have in common: the lab, and the world before the first operation.

    Raises:
        NotThere: the server has no room, or cannot be watched.
    """

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.mark: int = lab.history.mark()
        self.tenants: tuple[Tenant, ...] = (lab.first, lab.second) if lab.has_second else (lab.first,)
        self.patience: Patience = Patience(min(lab.target.timeout, 5.0))
        self.makes_tokens: bool = all(tenant.is_session and tenant.user_id for tenant in self.tenants)
        self.tells_ends: bool = lab.abilities.lack(Need.DELETED_EVENTS) is None
        self._undecided()
        self.shared: dict[str, int] = {tenant.symbol: lab.key(tenant) for tenant in self.tenants}
        for tenant in self.tenants:
            lab.make_room(min(2, lab.target.container_limit), tenant)
        accounts, keys = {}, []
        for tenant in self.tenants:
            containers = lab.get("/compute/containers", tenant).body.get("containers", [])
            listed = lab.get("/compute/ssh-keys", tenant).body.get("ssh_keys", [])
            keys += [
                Key(told["id"], tenant.symbol, told["name"], told["public_key"])
                for told in listed
                if told["id"] == self.shared[tenant.symbol]
            ]
            accounts[tenant.symbol] = Account(
                tenant.user_id or tenant.symbol,
                lab.target.container_limit,
                lab.target.key_limit,
                len(containers),
                len(listed) - 1,
            )
        passes = {tenant.symbol: Pass(tenant.symbol) for tenant in self.tenants}
        world = World(accounts, passes)
        for key in keys:
            world = world.with_key(key)
        self.world = world
        # what is read here leads to nothing
        lab.history.rewind(self.mark)
        self._best: tuple[Deviation, tuple[Step, ...]] | None = None
        self._until: float | None = None

    @property
    def hands(self) -> tuple[Hand, ...]:
        """The tenants with their own credentials."""
        return tuple(Hand(tenant.credential, tenant.symbol) for tenant in self.tenants)

    def _undecided(self) -> None:
        if not self.lab.has_second:
            for id_ in ("SEQ-015", "SEQ-017"):
                self.lab.undecided(id_, f"It needs {Need.SECOND_TENANT}.")
        if not self.makes_tokens:
            for id_ in ("SEQ-005", "SEQ-006"):
                self.lab.undecided(id_, f"It needs {Need.SESSION}, of each user.")
        if not self.tells_ends:
            self.lab.undecided("SEQ-014", f"It needs {Need.DELETED_EVENTS}.")

    @contextmanager
    def shortest(self) -> Iterator[None]:
        """Of all deviations inside remember the one with the shortest history."""
        try:
            yield
        except Deviation as found:
            steps = self.lab.history.since(self.mark)
            if self._best is None or len(steps) <= len(self._best[1]):
                self._best = (found, steps)
            if self._until is None:
                self._until = time.monotonic() + self.lab.pick(_PATIENCE, 3 * _PATIENCE)
            raise

    @property
    def is_over(self) -> bool:
        """Whether the time for making a failure simpler is over."""
        return self._until is not None and time.monotonic() > self._until

    def enough(self) -> None:
        """Once the time is over, no sequence is shorter than the one that was found.

        Raises:
            Deviation: that one's.
        """
        if self._best is not None and self.is_over:
            raise self._best[0]

    def recall(self) -> None:
        """Put the shortest history in the place of what was tried last.

        Raises:
            Deviation: the one to which it led.
        """
        if self._best is not None:
            self.lab.history.rewind(self.mark)
            for step in self._best[1]:
                self.lab.history.add(step)
            raise self._best[0] from None
