"""Reading from a guest's Unix sockets: agent and console.

One task per socket. A guest may write without end, so what is above its `Pace` is left in the socket, where
the guest has to wait for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable
from pathlib import Path

CHUNK = 4 * 1024
"""Bytes read at once, and so the most that a guest gets done before its pace is looked at: up to 2000 lines
that are no message but look like one take 8 ms.
"""
MAX_WAITING = 16


class Pace:
    """What a guest may make this process do: `rate` bytes a second for long, `burst` after a silence."""

    def __init__(self, *, rate: int, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._left = float(burst)
        self._last = clock()

    def spend(self, amount: int) -> None:
        """Bytes, or work worth so many."""
        now = self._clock()
        self._left = min(self._burst, self._left + (now - self._last) * self._rate) - amount
        self._last = now

    def pause(self) -> float:
        """Seconds until more may be spent, 0 when it may at once."""
        self.spend(0)
        return max(0.0, -self._left / self._rate)


class Link:
    """A connected socket whose bytes go to `receive` until the other end closes it.

    Each byte is spent from `pace`; `receive` may spend more from it for what the bytes made it do.
    """

    def __init__(self, connection: socket.socket, receive: Callable[[bytes], None], pace: Pace) -> None:
        self._socket = connection
        self._receive = receive
        self._pace = pace
        self._outgoing: asyncio.Queue[bytes] = asyncio.Queue(MAX_WAITING)
        self._tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._write())]

    @classmethod
    async def connect(cls, path: Path, receive: Callable[[bytes], None], pace: Pace) -> Link:
        """Raises:
        OSError: nobody listens there.
        """
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.setblocking(False)
            await asyncio.get_running_loop().sock_connect(connection, str(path))
        except BaseException:
            connection.close()
            raise
        return cls(connection, receive, pace)

    def send(self, data: bytes) -> None:
        """Queued at once, written when the guest takes it; the oldest goes when it takes nothing."""
        if self._outgoing.full():
            self._outgoing.get_nowait()
        self._outgoing.put_nowait(data)

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            while data := await loop.sock_recv(self._socket, CHUNK):
                self._receive(data)
                self._pace.spend(len(data))
                # Also when it is 0: a read of what is there already lets nobody else have a turn.
                await asyncio.sleep(self._pace.pause())

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            while True:
                await loop.sock_sendall(self._socket, await self._outgoing.get())

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._socket.close()
