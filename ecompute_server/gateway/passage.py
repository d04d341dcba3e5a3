"""The ways into one container's guest, with the care that QEMU's forwards need.

A passage is a connection into the guest. Only so many to one guest port are made at the same time: QEMU's
forward accepts at once, but loses connections that come faster than the guest takes them. The first byte from
the guest proves that it took one.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType

from ecompute_server.gateway.limits import Limits
from ecompute_server.gateway.sockets import reset, tune

Connect = Callable[[str, int], Awaitable[socket.socket]]
"""A new connection to a port of a container's guest, as a non-blocking socket that the caller owns."""


class Unreachable(ConnectionError):
    """The guest did not take the connection."""


class Passage:
    """One connection into a guest. `socket` belongs to whoever opened the passage, until its end."""

    def __init__(self, connection: socket.socket, let_next: Callable[[], None]) -> None:
        self.socket = connection
        self._let_next = let_next

    def heard(self) -> None:
        """Say that the guest has spoken, or ended; call it as soon as that is seen. May be called often."""
        self._let_next()


OpenPassage = Callable[[], AbstractAsyncContextManager[Passage]]
"""Opens a passage to wherever the port leads now."""


class Passages:
    """Opens passages into one container."""

    def __init__(self, container_id: str, connect: Connect, limits: Limits) -> None:
        self.container_id = container_id
        self._connect = connect
        self._limits = limits
        self._turns: dict[int, asyncio.Semaphore] = {}

    def open(self, port: int) -> AbstractAsyncContextManager[Passage]:
        """A connection to a port of the guest, closed at the end of the block, reset if the block failed.

        Raises:
            Unreachable: the guest did not take it, or did not in time.
        """
        turns = self._turns.setdefault(port, asyncio.Semaphore(self._limits.entering))
        return _Opening(lambda: self._connect(self.container_id, port), _Turn(turns), self._limits)


class _Opening(AbstractAsyncContextManager[Passage]):
    """What `Passages.open` gives. By hand: a generator costs each connection more."""

    def __init__(self, connect: Callable[[], Awaitable[socket.socket]], turn: _Turn, limits: Limits) -> None:
        self._connect = connect
        self._turn = turn
        self._limits = limits
        self._connection: socket.socket | None = None

    async def __aenter__(self) -> Passage:
        try:
            connection = self._connection = await self._enter()
        except BaseException:
            self._turn.end()
            raise
        self._turn.end_after(self._limits.entering_time)
        return Passage(connection, self._turn.end)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._connection is not None
        if error is not None:
            reset(self._connection)
        self._connection.close()
        self._turn.end()

    async def _enter(self) -> socket.socket:
        try:
            async with asyncio.timeout(self._limits.patience):
                await self._turn.begin()
                connection = await self._connect()
        except TimeoutError as error:
            raise Unreachable("The guest did not take the connection in time.") from error
        except Exception as error:
            # what connects is not ours, and neither are its errors; each means the same here
            raise Unreachable(str(error)) from error
        tune(connection)
        return connection


class _Turn:
    """One's place among those who enter at the same time."""

    def __init__(self, turns: asyncio.Semaphore) -> None:
        self._turns = turns
        self._held = False
        self._timer: asyncio.TimerHandle | None = None

    async def begin(self) -> None:
        await self._turns.acquire()
        self._held = True

    def end_after(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self.end)

    def end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._held:
            self._held = False
            self._turns.release()
