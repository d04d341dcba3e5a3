"""What the server remembers, as the rest of it sees it.

Containers are read from memory, where every committed change has arrived before anyone hears of it;
people's things are read from the file, since the commands of the operator may write them while a server runs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

from attrs import field, frozen

from ecompute_server.core.lifecycle import EffectKind, Event
from ecompute_server.core.record import ContainerRecord


class LimitReached(Exception):
    """The user has as many of these as allowed."""


class StoreUnavailable(Exception):
    """Nothing can be written at the moment (full disk, locked or read-only file); `str()` is for the
    operator.
    """


class Duplicate(Exception):
    """The same thing is there already."""


@frozen
class Effect:
    """One entry of the journal: to be done once more after a crash, until it is struck off."""

    id: int
    container_id: str
    generation: int
    kind: EffectKind


@frozen
class Change:
    """One committed change of a container; `before` is None for a new one, `after` for one that is purged."""

    before: ContainerRecord | None
    after: ContainerRecord | None
    effects: tuple[Effect, ...] = ()


Listener = Callable[[Change], None]
"""Called on the event loop for each commit, in the order of the commits; must not block or raise."""


class ContainerStore(Protocol):
    """All containers. Reads never wait; a write returns when it is on disk and all listeners have heard of
    it.
    """

    def listen(self, listener: Listener) -> None:
        """Hear of every commit from now on, after the listeners that came earlier."""

    def get(self, container_id: str) -> ContainerRecord | None:
        """The record, deleted or not; None when there is none."""

    def of_user(self, user_id: str) -> Sequence[ContainerRecord]:
        """A user's containers without the deleted ones, newest first."""

    def all(self) -> Collection[ContainerRecord]:
        """Every record, deleted ones included, in no particular order."""

    async def create(self, record: ContainerRecord, *, limit: int) -> None:
        """Store a new container with the effects of its birth.

        Raises:
            LimitReached: the user has `limit` containers.
            Duplicate: the id is taken.
        """

    async def apply(self, container_id: str, event: Event) -> ContainerRecord | None:
        """Take the step that `event` leads to and journal its effects; None when there is no such record."""

    async def strike(self, effect: Effect) -> None:
        """An effect is done."""

    async def purge(self, container_id: str) -> None:
        """Forget a deleted container and what is left of its journal."""

    async def journal(self) -> Sequence[Effect]:
        """The effects that are not done, in the order of their commits."""


@frozen
class User:
    """An account. Limits that are None are the server's."""

    id: str
    username: str
    display_name: str
    password_hash: str = field(repr=False)
    is_admin: bool
    created_at: int
    max_containers: int | None = None
    max_ssh_keys: int | None = None


@frozen
class KeyRecord:
    """A registered public key."""

    id: int
    user_id: str
    name: str
    public_key: str
    created_at: int


@frozen
class TokenRecord:
    """An API token without its secret. Times are epoch seconds; `expires_at` 0 is never."""

    id: int
    user_id: str
    name: str
    scopes: Mapping[str, Sequence[str]]
    created_at: int
    expires_at: int
    last_used_at: int = 0


class UserStore(Protocol):
    """Accounts."""

    def by_id(self, user_id: str) -> User | None:
        """The account with this id."""

    def by_name(self, username: str) -> User | None:
        """The account with this name."""

    def list(self) -> Sequence[User]:
        """All accounts, by name."""

    async def add(self, user: User) -> None:
        """Store a new account.

        Raises:
            Duplicate: the name is taken.
        """

    async def update(self, user: User) -> None:
        """Replace an account's data."""

    async def remove(self, user_id: str) -> None:
        """Forget an account with its keys and tokens."""


class KeyStore(Protocol):
    """Public keys."""

    def of_user(self, user_id: str) -> Sequence[KeyRecord]:
        """A user's keys, newest first."""

    async def add(
        self, *, user_id: str, name: str, public_key: str, fingerprint: str, created_at: int, limit: int
    ) -> KeyRecord:
        """Store a key under a new id.

        Raises:
            LimitReached: the user has `limit` keys.
            Duplicate: the user has this key already, by its fingerprint.
        """

    async def remove(self, user_id: str, key_id: int) -> bool:
        """Forget a key; False when the user has no such key."""


class TokenStore(Protocol):
    """API tokens, found by the hash of their text."""

    def by_hash(self, secret_hash: str) -> TokenRecord | None:
        """The token whose text has this hash."""

    async def add(self, token: TokenRecord, *, secret_hash: str) -> TokenRecord:
        """Store a token under a new id, which the answer carries."""
