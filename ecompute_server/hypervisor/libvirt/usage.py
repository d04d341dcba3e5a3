"""What a guest told of its memory and storage, for as long as that counts."""

from __future__ import annotations

import time
from collections.abc import Callable

from ecompute_server.hypervisor.interface import Usage

KEPT = 30.0
"""Seconds: six times as long as the agent is silent about it."""


class LastUsage:
    """The last figures; None before the first, after `forget`, and when they are too old."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._usage: Usage | None = None
        self._told_at = 0.0

    def note(self, usage: Usage) -> None:
        self._usage, self._told_at = usage, self._clock()

    def forget(self) -> None:
        self._usage = None

    def get(self) -> Usage | None:
        if self._usage is not None and self._clock() - self._told_at > KEPT:
            self._usage = None
        return self._usage
