"""Which address a container has: the plan of an installation's networks, and the proof that they are its own.

An installation lives in one or more /24 of 127.77.0.0/16. Which one follows from its id; that nobody else on
the host has it is proved by a socket bound in it for as long as the server lives. Choosing and proving are
apart: a simulated host has the same plan without sockets.
"""

from __future__ import annotations

import errno
import hashlib
import socket
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Protocol

from ecompute_server.gateway.interface import GatewayError
from ecompute_server.gateway.ports import bind_sentence

CLAIM_PORT = 27077
"""Bound on the first address of a claimed network, never listened on. Ordinary users may bind it, and it is
no ephemeral port of Linux.
"""

_PREFIX = "127.77"
_NETWORKS = 256
_FIRST_HOST, _LAST_HOST = 2, 254
"""The first address holds the claim, the last is the network's broadcast."""


class Claim(Protocol):
    """The hold on one network."""

    def close(self) -> None:
        """Let others have it."""


Claimer = Callable[[int], Claim | None]
"""Takes hold of the network of that number; None when somebody else has it.

Raises:
    GatewayError: no network can be claimed on this host at all.
"""


def network_text(number: int) -> str:
    """The network of that number, as it is stored and shown."""
    return f"{_PREFIX}.{number}.0/24"


def network_number(text: str) -> int | None:
    """The number of the network that this is, or that this address lies in; None for all foreign ones."""
    address, _, bits = text.partition("/")
    parts = address.split(".")
    if bits not in ("", "24") or len(parts) != 4 or ".".join(parts[:2]) != _PREFIX:
        return None
    third = parts[2]
    if not (third.isascii() and third.isdecimal() and int(third) < _NETWORKS):
        return None
    return int(third)


def draw(installation_id: str) -> Iterator[int]:
    """All networks in the order in which this installation tries them."""
    first = hashlib.sha256(installation_id.encode()).digest()[0]
    return ((first + step) % _NETWORKS for step in range(_NETWORKS))


def addresses_from(number: int, after: int) -> Iterator[str]:
    """All addresses of a network for containers, beginning behind host `after` and going round once."""
    count = _LAST_HOST - _FIRST_HOST + 1
    for step in range(count):
        host = _FIRST_HOST + (after + 1 - _FIRST_HOST + step) % count
        yield f"{_PREFIX}.{number}.{host}"


class AddressPlan:
    """The networks that an installation holds, and the addresses given out of them. Lives in one thread.

    An address that was given back is given again as late as possible, because programs outside remember
    addresses (an SSH client its host key).
    """

    def __init__(
        self,
        installation_id: str,
        claimer: Claimer,
        *,
        stored: Sequence[str] = (),
        taken: Collection[str] = (),
    ) -> None:
        """Claim the networks told by `stored` and those of the `taken` addresses, or draw a first one.

        Raises:
            GatewayError: another server holds a network that has containers of ours, or none can be had.
        """
        self._id = installation_id
        self._claimer = claimer
        self._taken = set(taken)
        self._claims: dict[int, Claim] = {}
        self._last_host = _FIRST_HOST - 1
        try:
            self._reclaim(stored)
            if not self._claims:
                self._draw()
        except BaseException:
            self.close()
            raise

    @property
    def networks(self) -> tuple[str, ...]:
        """What this installation holds now; the caller stores it and tells it at the next start."""
        return tuple(network_text(number) for number in self._claims)

    def take(self) -> str:
        """An address that no other container has. When all networks are full a further one is drawn.

        Raises:
            GatewayError: none is left on this host.
        """
        address = self._next_free()
        self._taken.add(address)
        self._last_host = int(address.rpartition(".")[2])
        return address

    def give_back(self, address: str) -> None:
        """Free an address for others. Nothing happens when it is free."""
        self._taken.discard(address)

    def close(self) -> None:
        """Let go of all networks. Safe to call twice."""
        claims = list(self._claims.values())
        self._claims.clear()
        for claim in claims:
            claim.close()

    def _next_free(self) -> str:
        for number in self._claims:
            for address in addresses_from(number, self._last_host):
                if address not in self._taken:
                    return address
        return next(addresses_from(self._draw(), _FIRST_HOST - 1))

    def _reclaim(self, stored: Sequence[str]) -> None:
        inhabited = {number for address in self._taken if (number := network_number(address)) is not None}
        wanted = [number for text in stored if (number := network_number(text)) is not None]
        for number in dict.fromkeys([*wanted, *sorted(inhabited)]):
            claim = self._claimer(number)
            if claim is not None:
                self._claims[number] = claim
            elif number in inhabited:
                raise GatewayError(
                    f"The network {network_text(number)} of this installation's containers is held by another"
                    " server on this host; stop that server first."
                )

    def _draw(self) -> int:
        for number in draw(self._id):
            if number in self._claims:
                continue
            claim = self._claimer(number)
            if claim is not None:
                self._claims[number] = claim
                return number
        raise GatewayError(
            f"No network of {_PREFIX}.0.0/16 is free for containers: TCP port {CLAIM_PORT} is in use in each"
            " (a program that listens on that port of all addresses counts for each)."
        )


def claim_networks(
    installation_id: str, *, stored: Sequence[str] = (), taken: Collection[str] = ()
) -> AddressPlan:
    """A plan whose networks are held by bound sockets, one each.

    Raises:
        GatewayError: another server holds a network that has containers of ours, or none can be had.
    """
    return AddressPlan(installation_id, _bind, stored=stored, taken=taken)


def told_networks(
    installation_id: str, *, stored: Sequence[str] = (), taken: Collection[str] = ()
) -> AddressPlan:
    """A plan that holds nothing: addresses are told, and nobody listens there."""
    return AddressPlan(installation_id, lambda number: _NOTHING, stored=stored, taken=taken)


class _Nothing:
    def close(self) -> None:
        pass


_NOTHING = _Nothing()


def _bind(number: int) -> socket.socket | None:
    # without SO_REUSEADDR, so that no other socket can share the port; never listening, so nothing lingers
    claim = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        claim.bind((f"{_PREFIX}.{number}.1", CLAIM_PORT))
    except OSError as error:
        claim.close()
        if error.errno == errno.EADDRINUSE:
            return None
        raise GatewayError(bind_sentence(error, f"{_PREFIX}.{number}.1", CLAIM_PORT)) from error
    except BaseException:
        claim.close()
        raise
    return claim
