"""The WebSockets that are open, and what ends them from outside: a revoked credential, the server's end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .sockets import CloseCode, Socket

DRAIN_SECONDS = 5.0


class Conversations:
    """All open WebSockets, by the credential that opened them. Lives on the event loop."""

    def __init__(self, is_valid: Callable[[str], bool]) -> None:
        self._is_valid = is_valid
        self._by_credential: dict[str, set[Socket]] = {}
        self._goodbyes: set[asyncio.Task[None]] = set()

    @contextmanager
    def open(self, socket: Socket, credential: str) -> Iterator[None]:
        """Watch over a WebSocket until the block ends."""
        sockets = self._by_credential.setdefault(credential, set())
        sockets.add(socket)
        try:
            # the credential may have been revoked since it was checked, when nobody watched yet
            self._check(credential)
            yield
        finally:
            sockets.discard(socket)
            if not sockets:
                self._by_credential.pop(credential, None)

    def check(self) -> None:
        """Close what was opened with a credential that is not valid any more."""
        for credential in [*self._by_credential]:
            self._check(credential)

    async def drain(self) -> None:
        """Say goodbye on all of them.

        Takes at most some seconds: who does not read is left to whoever closes the connections then.
        """
        for sockets in self._by_credential.values():
            self._close(sockets, CloseCode.GOING_AWAY)
        if self._goodbyes:
            _, late = await asyncio.wait(self._goodbyes, timeout=DRAIN_SECONDS)
            for goodbye in late:
                goodbye.cancel()

    def _check(self, credential: str) -> None:
        if not self._is_valid(credential):
            self._close(self._by_credential[credential], CloseCode.REVOKED)

    def _close(self, sockets: set[Socket], code: CloseCode) -> None:
        for socket in sockets:
            goodbye = asyncio.create_task(socket.close(code))
            self._goodbyes.add(goodbye)
            goodbye.add_done_callback(self._goodbyes.discard)
