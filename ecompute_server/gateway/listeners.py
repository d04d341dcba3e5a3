"""`TcpGateway`: the published ports of all containers.

Three steps are kept apart: a `Listener` accepts, a front end talks with the visitor, a passage leads into the
guest. Plain TCP is the front end `PassThrough`; others can stand behind the same listeners.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable
from functools import partial

import structlog
from attrs import define, field

from ecompute_server.gateway.interface import GatewayError
from ecompute_server.gateway.limits import Limits
from ecompute_server.gateway.listener import Listener
from ecompute_server.gateway.passage import Connect, OpenPassage, Passages
from ecompute_server.gateway.relay import PassThrough
from ecompute_server.gateway.sockets import reset, tune

_log = structlog.get_logger()

FrontEnd = Callable[[socket.socket, OpenPassage], Awaitable[None]]
"""Serves one visitor until the conversation is over. The loop must have forgotten the socket by then, but the
socket stays open.

Raises:
    OSError: it ended otherwise than in order; the visitor is reset.
"""

_Visit = asyncio.Task[None]


@define(eq=False)
class _Door:
    """One published port."""

    target_port: int
    listener: Listener
    visits: set[_Visit] = field(factory=set)


@define(eq=False)
class _House:
    """One container: its doors by their ports, and the ways inside."""

    passages: Passages
    doors: dict[int, _Door] = field(factory=dict)

    @property
    def visits(self) -> int:
        return sum(len(door.visits) for door in self.doors.values())


class TcpGateway:
    """An `ecompute_server.gateway.interface.Gateway`. Lives on one event loop.

    A connection whose guest port refuses, or whose guest cannot be reached, is reset at once; one that the
    guest resets is reset too, one that it ends is ended. A connection over the container's limit is reset.
    """

    def __init__(self, connect: Connect, *, port_offset: int = 0, limits: Limits | None = None) -> None:
        """Ports are listened on at `port + port_offset`."""
        self._connect = connect
        self._port_offset = port_offset
        self._limits = limits or Limits()
        self._houses: dict[str, _House] = {}
        self._pass_through: FrontEnd = PassThrough(self._limits)

    def published(self, container_id: str) -> set[int]:
        house = self._houses.get(container_id)
        return set(house.doors) if house else set()

    async def publish(self, container_id: str, address: str, port: int, target_port: int) -> None:
        house = self._houses.get(container_id)
        door = house.doors.get(port) if house else None
        if door is not None and door.listener.address == address:
            door.target_port = target_port
            return
        if door is not None:
            await self.withdraw(container_id, port)
        house = self._houses.setdefault(
            container_id, _House(Passages(container_id, self._connect, self._limits))
        )
        try:
            house.doors[port] = self._open(house, address, port, target_port)
        except GatewayError:
            self._tidy(container_id)
            raise

    async def withdraw(self, container_id: str, port: int | None = None) -> None:
        house = self._houses.get(container_id)
        if house is None:
            return
        ports = list(house.doors) if port is None else [port]
        doors = [house.doors.pop(each) for each in ports if each in house.doors]
        self._tidy(container_id)
        await _shut(doors)

    async def close(self) -> None:
        doors = [door for house in self._houses.values() for door in house.doors.values()]
        self._houses.clear()
        await _shut(doors)

    def _tidy(self, container_id: str) -> None:
        if not self._houses[container_id].doors:
            del self._houses[container_id]

    def _open(self, house: _House, address: str, port: int, target_port: int) -> _Door:
        def accepted(visitor: socket.socket) -> None:
            self._receive(house, door, visitor)

        listener = Listener(address, port + self._port_offset, accepted, pause=self._limits.accept_pause)
        door = _Door(target_port, listener)
        return door

    def _receive(self, house: _House, door: _Door, visitor: socket.socket) -> None:
        if house.visits >= self._limits.connections:
            reset(visitor)
            return
        tune(visitor)
        visit = asyncio.get_running_loop().create_task(self._serve(house, door, visitor))
        door.visits.add(visit)
        visit.add_done_callback(partial(_visit_ended, door, visitor))

    async def _serve(self, house: _House, door: _Door, visitor: socket.socket) -> None:
        await self._pass_through(visitor, lambda: house.passages.open(door.target_port))


def _visit_ended(door: _Door, visitor: socket.socket, visit: _Visit) -> None:
    # here and not in the visit itself: a task that is cancelled before its first step never runs
    door.visits.discard(visit)
    error = None if visit.cancelled() else visit.exception()
    if not visit.cancelled() and error is None:
        visitor.close()
        return
    reset(visitor)
    if error is not None and not isinstance(error, OSError):
        _log.error("a connection failed", port=door.listener.port, exc_info=error)


async def _shut(doors: Iterable[_Door]) -> None:
    """Stop listening everywhere first, then end what is open."""
    visits: list[_Visit] = []
    for door in doors:
        door.listener.close()
        visits.extend(door.visits)
    for visit in visits:
        visit.cancel()
    await asyncio.gather(*visits, return_exceptions=True)
