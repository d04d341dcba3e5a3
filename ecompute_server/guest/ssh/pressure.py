"""Back-pressure of the TCP connection, which asyncssh leaves to the channels' windows."""

from __future__ import annotations

import asyncio

import asyncssh


class Pressure:
    """Holds up writers while the connection is full.

    A guest chooses the size of its windows, and so how much of its input would pile up in this process.
    """

    def __init__(self, connection: asyncssh.SSHClientConnection, patience: float) -> None:
        """A connection that takes nothing for `patience` seconds is given up."""
        self._connection = connection
        self._patience = patience
        self._free = asyncio.Event()
        self._free.set()
        self._giving_up: asyncio.TimerHandle | None = None
        # what asyncio calls on every protocol (asyncio.BaseProtocol); asyncssh's do nothing
        connection.pause_writing = self._pause  # type: ignore[method-assign]
        connection.resume_writing = self._resume  # type: ignore[method-assign]

    async def clear(self) -> None:
        """Wait while the connection is full."""
        await self._free.wait()

    def release(self) -> None:
        """The connection is gone; nobody needs to wait."""
        self._resume()

    def _pause(self) -> None:
        self._free.clear()
        loop = asyncio.get_running_loop()
        self._giving_up = loop.call_later(self._patience, self._connection.abort)

    def _resume(self) -> None:
        self._free.set()
        if self._giving_up is not None:
            self._giving_up.cancel()
            self._giving_up = None
