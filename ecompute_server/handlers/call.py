"""What a handler is called with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Generic, Protocol, TypeVar

from attrs import field, frozen

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
from ecompute_server.store.interface import ContainerStore, KeyStore, UserStore

R = TypeVar("R")


class Addresses(Protocol):
    """Where new containers get their addresses."""

    def take(self) -> str:
        """An address that no other container has."""

    def give_back(self, address: str) -> None:
        """Free an address for others."""


@frozen
class Services:
    """All that handlers work with. `admit` refuses a type of machine that the host cannot run now."""

    containers: ContainerStore
    users: UserStore
    keys: KeyStore
    credentials: Credentials
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


@frozen
class Call(Generic[R]):
    """One request on its way: who asks, for what, about which container.

    `caller` and `container` are there for the rows that have them; `query` holds the last value of each name.
    """

    services: Services
    request: R
    query: Mapping[str, str] = field(factory=dict)
    caller_or_none: Caller | None = None
    container_or_none: ContainerRecord | None = None

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
            raise not_found()
        return self.container_or_none
