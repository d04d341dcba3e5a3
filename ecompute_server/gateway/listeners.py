"""`ListeningGateway`: the published ports of all containers.

Three steps are kept apart: a `Listener` accepts, a front end talks with the visitor, a passage leads into the
guest. Port 443 has HTTPS in front, all others plain TCP. Sites are also reached by their names through one
listener that all containers share.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Coroutine, Iterable
from contextlib import AbstractAsyncContextManager
from typing import Any

from attrs import define, field, frozen

from ecompute.contract.catalog import HTTPS_PORT
from ecompute_server.gateway.https.front import HttpsFront, Site
from ecompute_server.gateway.interface import GatewayError
from ecompute_server.gateway.limits import Limits
from ecompute_server.gateway.listener import Listener
from ecompute_server.gateway.passage import Connect, Passage, Passages
from ecompute_server.gateway.relay import PassThrough
from ecompute_server.gateway.sockets import reset
from ecompute_server.gateway.tls.certificates import Certificates
from ecompute_server.logs import get_logger

_log = get_logger(__name__)

_Visits = set[asyncio.Task[None]]


@frozen
class SharedListener:
    """Where all sites are reached by their names. One that is not `required` may be missing."""

    host: str
    port: int
    required: bool


@define(eq=False)
class _Door:
    """One published port. Without a listener it is reached through the shared one alone."""

    passages: Passages
    target_port: int
    address: str
    site: Site | None = None
    listener: Listener | None = None
    visits: _Visits = field(factory=set)

    def passage(self) -> AbstractAsyncContextManager[Passage]:
        """A passage to wherever the port leads now."""
        return self.passages.open(self.target_port)


@define(eq=False)
class _House:
    """One container: its doors by their ports, and the ways inside."""

    passages: Passages
    doors: dict[int, _Door] = field(factory=dict)

    @property
    def visits(self) -> int:
        return sum(len(door.visits) for door in self.doors.values())


class ListeningGateway:
    """An `ecompute_server.gateway.interface.Gateway`. Lives on one event loop.

    A connection whose guest port refuses, or whose guest cannot be reached, is reset at once; one that the
    guest resets is reset too, one that it ends is ended. A connection over the container's limit is reset.
    Visitors of HTTPS get an answer of 502 where others would be reset.
    """

    def __init__(
        self,
        connect: Connect,
        *,
        certificates: Certificates,
        domain: str,
        port_offset: int = 0,
        shared: SharedListener | None = None,
        limits: Limits | None = None,
    ) -> None:
        """Ports on containers' addresses are listened on at `port + port_offset`; sites are named
        `<container id>.<domain>`.
        """
        self._connect = connect
        self._domain = domain
        self._port_offset = port_offset
        self._shared = shared
        self._limits = limits or Limits()
        self._houses: dict[str, _House] = {}
        self._sites: dict[str, tuple[_House, _Door]] = {}
        self._https = HttpsFront(certificates, self._limits)
        self._pass_through = PassThrough(self._limits)
        self._entrance: Listener | None = None
        self._unnamed: _Visits = set()

    async def open(self) -> None:
        shared = self._shared
        if shared is None:
            return
        try:
            self._entrance = Listener(
                shared.host,
                shared.port,
                self._receive_unnamed,
                pause=self._limits.accept_pause,
                remedy="serve with another --https-port",
            )
        except GatewayError as error:
            if shared.required:
                raise
            _log.warning("sites are not reached by their names", reason=str(error))
        else:
            _log.info(
                "sites are reached by their names",
                sites=f"https://<id>.{self._domain}:{self._entrance.port}/",
                address=shared.host,
            )

    @property
    def shared_port(self) -> int | None:
        """Where the shared listener is, None when there is none."""
        return self._entrance.port if self._entrance else None

    def published(self, container_id: str) -> set[int]:
        house = self._houses.get(container_id)
        return set(house.doors) if house else set()

    async def publish(self, container_id: str, address: str, port: int, target_port: int) -> None:
        house = self._houses.get(container_id)
        door = house.doors.get(port) if house else None
        if door is not None and door.address != address:
            await self.withdraw(container_id, port)
            door = None
        house = self._houses.setdefault(
            container_id, _House(Passages(container_id, self._connect, self._limits))
        )
        if door is None:
            door = _Door(house.passages, target_port, address)
            if port == HTTPS_PORT:
                door.site = Site(f"{container_id}.{self._domain}", address)
        door.target_port = target_port
        if door.listener is None:
            await self._open(house, door, port)

    async def withdraw(self, container_id: str, port: int | None = None) -> None:
        house = self._houses.get(container_id)
        if house is None:
            return
        ports = list(house.doors) if port is None else [port]
        doors = [house.doors.pop(each) for each in ports if each in house.doors]
        self._forget(doors)
        self._tidy(container_id)
        await _shut(doors)

    async def close(self) -> None:
        doors = [door for house in self._houses.values() for door in house.doors.values()]
        self._houses.clear()
        self._sites.clear()
        if self._entrance is not None:
            self._entrance.close()
        await _shut(doors)
        await _end(self._unnamed)

    def _forget(self, doors: Iterable[_Door]) -> None:
        for door in doors:
            if door.site is not None:
                self._sites.pop(door.site.hostname, None)

    def _tidy(self, container_id: str) -> None:
        house = self._houses.get(container_id)
        if house is not None and not house.doors:
            del self._houses[container_id]

    async def _open(self, house: _House, door: _Door, port: int) -> None:
        def accepted(visitor: socket.socket) -> None:
            self._receive(house, door, visitor)

        if door.site is not None and self._entrance is not None:
            # reached by its name even where its own port cannot be had
            house.doors[port] = door
            self._sites[door.site.hostname] = (house, door)
        try:
            door.listener = Listener(
                door.address, port + self._port_offset, accepted, pause=self._limits.accept_pause
            )
        except GatewayError:
            self._tidy(house.passages.container_id)
            raise
        house.doors[port] = door
        if door.site is not None:
            await self._https.prepare(door.site)

    # Visitors

    def _receive(self, house: _House, door: _Door, visitor: socket.socket) -> None:
        if house.visits >= self._limits.connections:
            reset(visitor)
            return
        _begin(self._serve(door, visitor), visitor, door.visits)

    async def _serve(self, door: _Door, visitor: socket.socket) -> None:
        site = door.site
        if site is None:
            return await self._pass_through(visitor, door.passage)
        greeted = await self._https.greet(
            visitor, lambda name: site if name in (None, site.hostname) else None
        )
        await self._https.converse(greeted, door.passage)

    def _receive_unnamed(self, visitor: socket.socket) -> None:
        if len(self._unnamed) >= self._limits.unnamed:
            reset(visitor)
            return
        _begin(self._serve_unnamed(visitor), visitor, self._unnamed)

    async def _serve_unnamed(self, visitor: socket.socket) -> None:
        greeted = await self._https.greet(visitor, self._named)
        house, door = self._sites.get(greeted.site.hostname, (None, None))
        if house is None or door is None or house.visits >= self._limits.connections:
            greeted.stream.detach()
            raise ConnectionAbortedError("The site is gone, or full.")
        visit = asyncio.current_task()
        assert visit is not None
        self._unnamed.discard(visit)
        door.visits.add(visit)
        visit.add_done_callback(door.visits.discard)
        del visit  # it would hold its own error, and all that hangs on that
        await self._https.converse(greeted, door.passage)

    def _named(self, name: str | None) -> Site | None:
        found = self._sites.get(name) if name else None
        return found[1].site if found else None


def _begin(serving: Coroutine[Any, Any, None], visitor: socket.socket, visits: _Visits) -> None:
    visit = asyncio.get_running_loop().create_task(serving)
    visits.add(visit)

    def ended(visit: asyncio.Task[None]) -> None:
        # here and not in the visit itself: a task that is cancelled before its first step never runs
        visits.discard(visit)
        error = None if visit.cancelled() else visit.exception()
        if not visit.cancelled() and error is None:
            visitor.close()
            return
        reset(visitor)
        if error is not None and not isinstance(error, OSError):
            _log.error("a connection failed", exc_info=error)

    visit.add_done_callback(ended)


async def _shut(doors: Iterable[_Door]) -> None:
    """Stop listening everywhere first, then end what is open."""
    visits: _Visits = set()
    for door in doors:
        if door.listener is not None:
            door.listener.close()
        visits |= door.visits
    await _end(visits)


async def _end(visits: _Visits) -> None:
    for visit in list(visits):
        visit.cancel()
    await asyncio.gather(*list(visits), return_exceptions=True)
