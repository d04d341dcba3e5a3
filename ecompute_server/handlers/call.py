"""What a handler is called with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

from attrs import frozen

from ecompute.contract import codec
from ecompute.contract.catalog import InstanceType
from ecompute.contract.rules import Bounds
from ecompute_server.broadcast import Broadcast
from ecompute_server.clock import Clock
from ecompute_server.core.access import Caller
from ecompute_server.core.presentation import View
from ecompute_server.core.record import ContainerRecord
from ecompute_server.core.refusal import not_found
from ecompute_server.guest.interface import Guests, Login
from ecompute_server.identity.credentials import Credentials
from ecompute_server.identity.keyring import Keyring
from ecompute_server.identity.throttle import Throttle
from ecompute_server.metrics import Metrics
from ecompute_server.store.interface import ContainerStore, KeyStore, Receipt, ReceiptStore, UserStore

R = TypeVar("R")
T = TypeVar("T")


class Addresses(Protocol):
    """Where new containers get their addresses."""

    def take(self) -> str:
        """An address that no other container has."""

    def give_back(self, address: str) -> None:
        """Free an address for others."""


class Pinged(Protocol):
    """What can be asked whether it works."""

    async def ping(self) -> None:
        """Return when it does; raise whatever says why it does not."""


@frozen
class Written:
    """An answer that is JSON text already."""

    body: bytes


@frozen
class Repeatable:
    """What makes a request safe to repeat: its idempotency key, and what was asked under it."""

    path: str
    key: str
    asked: str


@frozen
class Services:
    """All that handlers work with. `admit` refuses a type of machine that the host cannot run now."""

    database: Pinged
    hypervisor: Pinged
    metrics: Metrics
    containers: ContainerStore
    users: UserStore
    keys: KeyStore
    receipts: ReceiptStore
    credentials: Credentials
    throttle: Throttle
    keyring: Keyring
    broadcast: Broadcast
    guests: Guests
    addresses: Addresses
    login: Callable[[ContainerRecord], Login]
    admit: Callable[[InstanceType], None]
    view: View
    clock: Clock
    bounds: Bounds
    default_image: str
    max_containers_per_user: int
    max_ssh_keys_per_user: int
    allowed_origins: frozenset[str]


@frozen
class Call(Generic[R]):
    """One request on its way: who asks, for what, about which container.

    `caller` and `container` are there for the rows that have them. `address` is the peer's, as text;
    `subprotocol` the one that was agreed on, on a WebSocket.
    """

    services: Services
    request: R
    caller_or_none: Caller | None = None
    container_or_none: ContainerRecord | None = None
    repeatable: Repeatable | None = None
    address: str = ""
    subprotocol: str | None = None

    @property
    def caller(self) -> Caller:
        assert self.caller_or_none is not None, "a row without authentication has no caller"
        return self.caller_or_none

    @property
    def container(self) -> ContainerRecord:
        """The caller's container that the path names.

        Raises:
            Refusal: there is none; the same answer for another user's.
        """
        if self.container_or_none is None:
            raise not_found("container")
        return self.container_or_none

    def receipt(self, present: Callable[[T], Any]) -> Receipt[T] | None:
        """What a change must keep with it, for a request that may come again; `present` makes the answer."""
        if self.repeatable is None:
            return None
        return Receipt(
            user_id=self.caller.user_id,
            path=self.repeatable.path,
            key=self.repeatable.key,
            asked=self.repeatable.asked,
            created_at=int(self.services.clock()),
            answer=lambda result: codec.dump_json(codec.unstructure(present(result))),
        )
