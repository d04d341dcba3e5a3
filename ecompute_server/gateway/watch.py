"""Looks now and then at a connection of two sides: whether anything moves, and whether both are there."""

from __future__ import annotations

import asyncio
from typing import Protocol

from ecompute_server.gateway.limits import Limits


class Watched(Protocol):
    """Two sides and what goes between them."""

    @property
    def moved(self) -> int:
        """How many bytes were taken and given by now; another number means that something moved."""

    def check(self) -> None:
        """See a reset of which the loop tells nothing."""

    def broken(self, sentence: str) -> None:
        """End as failed."""


class Watch:
    """From its making until `stop`. A timer and no task: there is one for each connection."""

    def __init__(self, watched: Watched, limits: Limits) -> None:
        self._watched = watched
        self._idle = limits.idle
        self._pause = min(limits.look, limits.idle)
        self._loop = asyncio.get_running_loop()
        self._seen, self._since = 0, self._loop.time()
        self._timer = self._loop.call_later(self._pause, self._look)

    def stop(self) -> None:
        """Look no more."""
        self._timer.cancel()

    def _look(self) -> None:
        moved, now = self._watched.moved, self._loop.time()
        if moved != self._seen:
            self._seen, self._since = moved, now
        elif now - self._since >= self._idle:
            return self._watched.broken("Nothing moved for too long.")
        self._watched.check()
        self._timer = self._loop.call_later(self._pause, self._look)
