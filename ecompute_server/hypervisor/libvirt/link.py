"""Reading from a guest's Unix sockets: agent and console.

One task per socket. A guest may write without end, so bytes above a rate are left in the socket, where the
guest has to wait for them.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from pathlib import Path

CHUNK = 16 * 1024
BURST = 512 * 1024
RATE = 128 * 1024
"""Bytes per second that a guest may keep up for long; a boot with all kernel messages has 40 KiB."""
MAX_WAITING = 16


class Link:
    """A connected socket whose bytes go to `receive` until the other end closes it."""

    def __init__(self, connection: socket.socket, receive: Callable[[bytes], None]) -> None:
        self._socket = connection
        self._receive = receive
        self._outgoing: asyncio.Queue[bytes] = asyncio.Queue(MAX_WAITING)
        self._tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._write())]

    @classmethod
    async def connect(cls, path: Path, receive: Callable[[bytes], None]) -> Link:
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
        return cls(connection, receive)

    def send(self, data: bytes) -> None:
        """Queued at once, written when the guest takes it; the oldest goes when it takes nothing."""
        if self._outgoing.full():
            self._outgoing.get_nowait()
        self._outgoing.put_nowait(data)

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        allowance, last = float(BURST), loop.time()
        with contextlib.suppress(OSError):
            while data := await loop.sock_recv(self._socket, CHUNK):
                self._receive(data)
                now = loop.time()
                allowance = min(BURST, allowance + (now - last) * RATE) - len(data)
                last = now
                if allowance < 0:
                    await asyncio.sleep(-allowance / RATE)

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
