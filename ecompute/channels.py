"""What a client has opened and has to close."""

from __future__ import annotations

from typing import TypeVar
from weakref import WeakSet

T = TypeVar("T")


class Channels(WeakSet[T]):
    """Feeds, views, terminals and commands, as long as somebody holds them. What a derived client opens is
    its parent's as well, which may outlive it.
    """

    def __init__(self, parent: Channels[T] | None = None) -> None:
        super().__init__()
        self._parent = parent

    def add(self, item: T) -> None:
        """Keep an eye on this."""
        super().add(item)
        if self._parent is not None:
            self._parent.add(item)
