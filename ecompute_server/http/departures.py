"""Notices that peers hang up while nothing is read from them.

asyncio looks at a connection's other end only where it reads or writes. `EPOLLRDHUP` (epoll_ctl(2)) tells
the end also of one whose reading is paused; the descriptor of an epoll can itself be watched by an event
loop.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable


class Departures:
    """Watches connections of one event loop; holds a descriptor only while there are some."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._epoll: select.epoll | None = None
        self._callbacks: dict[int, Callable[[], None]] = {}

    @classmethod
    def of(cls, loop: asyncio.AbstractEventLoop) -> Departures:
        """The one of this loop, made when it is first asked for."""
        found = _by_loop.get(loop)
        if found is None:
            found = _by_loop[loop] = cls(loop)
        return found

    def watch(self, descriptor: int, callback: Callable[[], None]) -> None:
        """Have `callback` called once, when the peer has sent its last byte or the connection has broken."""
        if self._epoll is None:
            self._epoll = select.epoll()
            self._loop.add_reader(self._epoll.fileno(), self._tell)
        self._epoll.register(descriptor, select.EPOLLRDHUP | select.EPOLLONESHOT)
        self._callbacks[descriptor] = callback

    def forget(self, descriptor: int) -> None:
        """Watch no longer; to be called before the descriptor is closed."""
        if self._epoll is None or self._callbacks.pop(descriptor, None) is None:
            return
        self._epoll.unregister(descriptor)
        if not self._callbacks:
            self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()
            self._epoll = None
            _by_loop.pop(self._loop, None)

    def _tell(self) -> None:
        assert self._epoll is not None
        for descriptor, _ in self._epoll.poll(0):
            callback = self._callbacks.get(descriptor)
            if callback is not None:
                callback()


_by_loop: dict[asyncio.AbstractEventLoop, Departures] = {}
