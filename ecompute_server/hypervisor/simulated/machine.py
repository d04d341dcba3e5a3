"""One simulated machine: what is kept of it on disk, and what is open to it in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING

from attrs import Factory, define, field, frozen

from ecompute_server.hypervisor.interface import MachineSpec

if TYPE_CHECKING:
    from .files import Files
    from .gauge import Gauge


class Phase(StrEnum):
    """How far a guest has come."""

    BOOTING = "booting"
    READY = "ready"
    REFUSED = "refused"
    """It told that it cannot take its identity; the machine still executes."""
    HUNG = "hung"
    """It will never say anything; the machine still executes."""


@frozen
class Boot:
    """A boot that is to come: how long it takes, and how it ends."""

    seconds: float
    outcome: Phase = Phase.READY
    reason: str = ""


@frozen
class Record:
    """A machine as it lies on disk. Its last boot ends, or ended, at `ends_at` by the wall clock."""

    spec: MachineSpec
    phase: Phase
    ends_at: float
    boot: Boot


@define(eq=False)
class SimulatedMachine:
    """A machine that runs. Simulated guests look into it and act from inside it; all on the event loop that
    opened the hypervisor.
    """

    record: Record
    gauge: Gauge = field(repr=False)
    _files: Callable[[SimulatedMachine], Files] = field(repr=False)
    _power_off: Callable[[], None] = field(repr=False)
    _reboot: Callable[[], None] = field(repr=False)
    _timer: asyncio.Handle | None = field(default=None, init=False, repr=False)
    _opened_files: Files | None = field(default=None, init=False, repr=False)
    _watchers: dict[object, Callable[[], None]] = field(default=Factory(dict), init=False, repr=False)

    @property
    def spec(self) -> MachineSpec:
        return self.record.spec

    @property
    def ready(self) -> bool:
        """Whether the guest's services answer."""
        return self.record.phase is Phase.READY

    @property
    def files(self) -> Files:
        """The guest's files; made when they are first looked at."""
        if self._opened_files is None:
            self._opened_files = self._files(self)
        return self._opened_files

    def power_off(self) -> None:
        """The guest powers itself off."""
        self._power_off()

    def reboot(self) -> None:
        """The guest restarts itself; what is connected to it breaks."""
        self._reboot()

    def watch(self, gone: Callable[[], None]) -> Callable[[], None]:
        """Have `gone` called once, when the guest ends or restarts. The answer takes that back."""
        ticket = object()
        self._watchers[ticket] = gone
        return lambda: void(self._watchers.pop(ticket, None))

    def break_connections(self) -> None:
        """Call everything that watches."""
        watchers, self._watchers = self._watchers, {}
        for gone in watchers.values():
            gone()

    def set_timer(self, timer: asyncio.Handle | None) -> None:
        """What the guest does next; cancels what it was to do before."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = timer


def void(_: object) -> None:
    """Drop a value."""
