"""What the server remembers, as the rest of it sees it.

Containers are read from memory, where every committed change has arrived before anyone hears of it;
people's things are read from the file, since the commands of the operator may write them while a server runs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

from attrs import field, frozen

from ecompute_server.core.edits import Edited
from ecompute_server.core.lifecycle import EffectKind, Observation
from ecompute_server.core.record import ContainerRecord

T = TypeVar("T")


class LimitReached(Exception):
    """The user has as many of these as allowed."""


class StoreUnavailable(Exception):
    """Nothing can be written at the moment (full disk, locked or read-only file); `str()` is for the
    operator.
    """


class Duplicate(Exception):
    """The same thing is there already."""


class NoSuchUser(Exception):
    """The account is gone."""


class ReceiptTaken(Exception):
    """Another request has used the same idempotency key meanwhile; nothing was changed."""


class TooManyReceipts(Exception):
    """The user has as many live receipts as are kept; nothing was changed."""


@frozen
class Receipt(Generic[T]):
    """The first answer to a request with an idempotency key, to be kept in the transaction of its effect.

    `answer` makes the body from the change's result. It runs on the writer's thread, before the commit.
    """

    user_id: str
    path: str
    key: str
    asked: str
    """A hash of what was asked, by which another request under the same key is recognised."""
    created_at: int
    answer: Callable[[T], bytes]


@frozen
class KeptAnswer:
    """An answer that was given before."""

    asked: str
    body: bytes


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

    async def create(
        self, record: ContainerRecord, *, limit: int, receipt: Receipt[ContainerRecord] | None = None
    ) -> None:
        """Store a new container with the effects of its birth.

        Raises:
            LimitReached: the user has `limit` containers.
            Duplicate: the id is taken.
            NoSuchUser: the account is gone.
            ReceiptTaken, TooManyReceipts: as they say.
        """

    async def observe(self, container_id: str, seen: Observation) -> ContainerRecord | None:
        """Take the step that an observation leads to and journal its effects; None when there is no such
        record.
        """

    async def edit(
        self,
        container_id: str,
        change: Callable[[ContainerRecord], Edited[T]],
        *,
        receipt: Receipt[Edited[T]] | None = None,
    ) -> Edited[T] | None:
        """Make a change and journal its effects; None when there is no such container, or it is deleted.

        `change` runs on the writer's thread, where the record cannot change under it.

        Raises:
            ReceiptTaken, TooManyReceipts: as they say.
        """

    async def strike(self, effect: Effect) -> None:
        """An effect is done."""

    async def purge(self, container_id: str) -> None:
        """Forget a deleted container and what is left of its journal."""

    async def journal(self) -> Sequence[Effect]:
        """The effects that are not done, in the order of their commits."""


@frozen
class User:
    """An account. Limits that are None are the server's.

    Sessions that were opened before `sessions_since` (epoch seconds) are not valid any more.
    """

    id: str
    username: str
    display_name: str
    password_hash: str = field(repr=False)
    is_admin: bool
    created_at: int
    max_containers: int | None = None
    max_ssh_keys: int | None = None
    sessions_since: float = 0.0


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
    """An API token without its secret. Times are epoch seconds; 0 is never."""

    id: str
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

    async def update(self, user_id: str, **columns: Any) -> None:
        """Change these columns of an account, and no others."""

    async def remove(self, user_id: str) -> int:
        """Forget an account with its keys, tokens and receipts; or change nothing, and tell how many
        containers it still has.
        """


class KeyStore(Protocol):
    """Public keys."""

    def of_user(self, user_id: str) -> Sequence[KeyRecord]:
        """A user's keys, newest first."""

    async def add(
        self,
        *,
        user_id: str,
        name: str,
        public_key: str,
        fingerprint: str,
        created_at: int,
        limit: int,
        receipt: Receipt[KeyRecord] | None = None,
    ) -> KeyRecord:
        """Store a key under a new id.

        Raises:
            LimitReached: the user has `limit` keys.
            Duplicate: the user has this key already, by its fingerprint.
            NoSuchUser: the account is gone.
            ReceiptTaken, TooManyReceipts: as they say.
        """

    async def remove(self, user_id: str, key_id: int) -> bool:
        """Forget a key; False when the user has no such key."""


class TokenStore(Protocol):
    """API tokens, found by the hash of their text."""

    def by_hash(self, secret_hash: str) -> TokenRecord | None:
        """The token whose text has this hash."""

    def of_user(self, user_id: str) -> Sequence[TokenRecord]:
        """A user's tokens, newest first, expired ones included."""

    async def add(self, token: TokenRecord, *, secret_hash: str, limit: int) -> None:
        """Store a token.

        Raises:
            LimitReached: the user has `limit` tokens.
            NoSuchUser: the account is gone.
        """

    async def remove(self, user_id: str, token_id: str) -> bool:
        """Revoke a token; False when the user has no such token."""

    async def used(self, times: Mapping[str, int]) -> None:
        """Remember when tokens (by id) were last used; a time never goes back."""


@frozen
class SigningKey:
    """A key that signs session tokens, by its id (`kid`); the key itself is derived, never stored.

    One that is retired signs no more; what it signed is valid until it is forgotten.
    """

    id: str
    created_at: int
    retired_at: int | None


class SessionStore(Protocol):
    """What the server must remember of sessions, which are otherwise all in their tokens."""

    def is_ended(self, session_id: str) -> bool:
        """Whether this session (`jti`) was ended before its time."""

    async def end(self, session_id: str, *, expires_at: int, now: int) -> None:
        """End a session. Ended ones whose time is over as well are forgotten."""

    def signing_keys(self) -> Sequence[SigningKey]:
        """The keys whose sessions are valid, the newest first; that one signs."""

    async def rotate(self, new_id: str, *, now: int, keep_since: int) -> None:
        """Sign with a new key from now on, and forget keys retired before `keep_since`."""


class ReceiptStore(Protocol):
    """Answers kept under idempotency keys. They are written by the changes that they belong to."""

    def find(self, user_id: str, path: str, key: str, *, since: int) -> KeptAnswer | None:
        """The answer that was kept at `since` (epoch seconds) or later."""

    async def forget(self, *, before: int) -> None:
        """Forget the answers kept before."""
