"""Checks: functions that put a server to the test, each with the requirements that it decides."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from .lab import Lab

Trial = Callable[["Lab"], None]


class Need(StrEnum):
    """What a check cannot do without; where it is missing, its requirements stay undecided."""

    SECOND_TENANT = "a token of a second user (ECOMPUTE_SECOND_TOKEN)"
    SESSION = "the token of a session, which may make API tokens"
    IDENTITY = "the identity endpoints"
    RUNNING = "a container that reaches the status running"
    COMMANDS = "the subprotocol ecompute.exec.v1"
    TERMINAL_PROTOCOL = "the subprotocol ecompute.terminal.v1"
    IDEMPOTENCY = "the header Idempotency-Supported: true"
    DELETED_EVENTS = "the message container_deleted"
    REAL_GUESTS = "containers that can be reached over the network"
    RESTART = "a command that restarts the server (--restart-command)"


@frozen
class Check:
    """One check. `standard` ones are left out of the quick profile."""

    name: str
    area: str
    decides: tuple[str, ...]
    needs: tuple[Need, ...]
    standard: bool
    trial: Trial

    @property
    def summary(self) -> str:
        """What it does, in one line."""
        return (self.trial.__doc__ or "").strip().partition("\n")[0]


_checks: dict[str, Check] = {}


def check(*decides: str, needs: tuple[Need, ...] = (), standard: bool = False) -> Callable[[Trial], Trial]:
    """Make a function a check that decides the requirements with these ids. Its module is its area, its
    docstring's first line what reports call it.
    """

    def register(trial: Trial) -> Trial:
        area = trial.__module__.rpartition(".")[2]
        name = f"{area}.{trial.__name__}"
        if name in _checks:
            raise ValueError(f"there are two checks named {name}")
        _checks[name] = Check(name, area, decides, needs, standard, trial)
        return trial

    return register


def checks_of(area: str) -> tuple[Check, ...]:
    """The checks of one area, as they are written there."""
    return tuple(check for check in _checks.values() if check.area == area)
