"""How much of its memory and storage a simulated machine uses."""

from __future__ import annotations

import time
from collections.abc import Callable

from ecompute_server.hypervisor.interface import MachineSpec, Usage

from .state import SYSTEM, VOLUME, State

BETWEEN_MEASURES = 1.0
MOST_OF_THE_TIME = 0.01
"""What measuring may take: a guest with very many files is measured less often."""


class Gauge:
    """One machine's usage, measured only when somebody asks, and not at every time.

    As in the micro guest, files on the mount paths take storage, and those elsewhere lie in memory, which has
    nothing else to hold here: no process of a simulated guest takes any.
    """

    def __init__(
        self, state: State, spec: MachineSpec, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._state = state
        self._spec = spec
        self._clock = clock
        self._known: Usage | None = None
        self._next = float("-inf")

    def read(self) -> Usage:
        """The figures, at most a second old, or a hundred times as old as a measure takes. The same object
        while they are the same.
        """
        begin = self._clock()
        if self._known is None or begin >= self._next:
            measured = self._measure()
            if measured != self._known:
                self._known = measured
            took = self._clock() - begin
            self._next = begin + max(BETWEEN_MEASURES, took / MOST_OF_THE_TIME)
        return self._known

    def _measure(self) -> Usage:
        in_memory, stored = (
            self._state.tree_size(self._spec.container_id, name) for name in (SYSTEM, VOLUME)
        )
        return Usage(
            memory_available=max(0, (self._spec.memory_mb << 20) - in_memory),
            storage_used=stored,
        )
