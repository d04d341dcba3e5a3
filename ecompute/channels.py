"""What a client has opened and has to close."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar
from weakref import WeakSet

T = TypeVar("T")


class Channels(Generic[T]):
    """Feeds, views, terminals, commands and those who wait, as long as somebody holds them. What a derived
    client opens is its parent's as well, which may outlive it. Threads may share it.
    """

    def __init__(self, parent: Channels[T] | None = None) -> None:
        self._open: WeakSet[T] = WeakSet()
        self._lock = threading.Lock()
        self._parent = parent

    def add(self, item: T) -> None:
        """Keep an eye on this."""
        with self._lock:
            self._open.add(item)
        if self._parent is not None:
            self._parent.add(item)

    def all(self) -> list[T]:
        """Those that are there now."""
        with self._lock:
            return [*self._open]
