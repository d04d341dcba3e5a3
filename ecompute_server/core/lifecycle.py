"""The life of a container as one table: state and event in, new state and effects out.

Commands come from people and observations from machines. Both may come at any moment, so `step` is total:
there is an answer for every status and every event, and an event that no longer matters changes nothing. An
observation belongs to one generation, that is to one boot; those of earlier boots are ignored.
"""

from __future__ import annotations

from enum import StrEnum

from attrs import evolve, frozen

from ecompute.contract.catalog import Status


@frozen
class Life:
    """Where a container is: `generation` counts its boots, `reason` is there only in `failed`.

    `deleted` ends it: the record then only remembers what is still to be cleaned up.
    """

    status: Status = Status.PENDING
    generation: int = 1
    reason: str = ""
    deleted: bool = False


class EffectKind(StrEnum):
    """What the supervisor does after a commit. Each may be done twice with the effect of once."""

    POWER_ON = "power_on"
    """See to it that the machine of this generation runs."""
    POWER_OFF = "power_off"
    """End the machine in an orderly way."""
    CUT_OFF = "cut_off"
    """End a machine that is of no use any more, without asking its guest."""
    OPEN_DOORS = "open_doors"
    """Publish what the container publishes, and nothing else."""
    CLOSE_DOORS = "close_doors"
    """Publish nothing any more."""
    ERASE = "erase"
    """Remove the machine, its data, and in the end the record."""


class Command(StrEnum):
    """What a person asks for. The table below refuses none; `create` is the record's beginning and has no
    row.
    """

    START = "start"
    STOP = "stop"
    RESTART = "restart"
    DELETE = "delete"


class Happening(StrEnum):
    """What can be observed of a machine."""

    MACHINE_STARTED = "machine_started"
    GUEST_ANSWERED = "guest_answered"
    MACHINE_STOPPED = "machine_stopped"
    """The guest powered itself off."""
    MACHINE_LOST = "machine_lost"
    """The machine ended otherwise."""
    BOOT_FAILED = "boot_failed"
    """The machine could not start, or its guest did not answer in time."""
    MACHINE_MISSING = "machine_missing"
    """At the server's start there was no machine where one should run."""
    MACHINE_FOUND = "machine_found"
    """At the server's start a machine of this generation was running."""


@frozen
class Observation:
    """A fact about the machine of one generation; `reason` is one sentence for people."""

    happening: Happening
    generation: int
    reason: str = ""


Event = Command | Observation


@frozen
class Step:
    """What an event leads to: the new life, and the effects in the order in which they must be done."""

    life: Life
    effects: tuple[EffectKind, ...] = ()


UP = frozenset({Status.PENDING, Status.INITIALIZING, Status.RUNNING})
"""The statuses in which a machine runs or is about to."""
BOOTING = frozenset({Status.PENDING, Status.INITIALIZING})
DOWN = frozenset({Status.STOPPED, Status.FAILED})

BIRTH = Step(Life(), (EffectKind.POWER_ON,))
"""How every container begins."""


def step(life: Life, event: Event) -> Step:
    """The one transition function, total over every life and every event."""
    if life.deleted:
        return Step(life)
    if isinstance(event, Command):
        return _command(life, event)
    if event.generation != life.generation:
        return Step(life)
    return _observation(life, event)


def _command(life: Life, command: Command) -> Step:
    status = life.status
    match command:
        case Command.START if status in DOWN:
            return Step(_boot_again(life), (EffectKind.POWER_ON,))
        case Command.STOP if status is not Status.STOPPED:
            return Step(_at(life, Status.STOPPED), (EffectKind.CLOSE_DOORS, _off(status)))
        case Command.RESTART if status in UP:
            return Step(_boot_again(life), (EffectKind.CLOSE_DOORS, _off(status), EffectKind.POWER_ON))
        case Command.DELETE:
            return Step(evolve(life, deleted=True), (EffectKind.CLOSE_DOORS, EffectKind.ERASE))
        case _:
            return Step(life)


def _observation(life: Life, seen: Observation) -> Step:
    status = life.status
    match seen.happening:
        case Happening.MACHINE_STARTED if status is Status.PENDING:
            return Step(_at(life, Status.INITIALIZING))
        case Happening.GUEST_ANSWERED if status in UP:
            # also when it runs already: after an adoption or a reboot inside the guest the doors must lead
            # there
            return Step(_at(life, Status.RUNNING), (EffectKind.OPEN_DOORS,))
        case Happening.MACHINE_STOPPED if status in UP:
            return Step(_at(life, Status.STOPPED), (EffectKind.CLOSE_DOORS, EffectKind.CUT_OFF))
        case Happening.MACHINE_LOST if status in UP:
            return _failed(life, seen.reason)
        case Happening.BOOT_FAILED if status in BOOTING:
            return _failed(life, seen.reason)
        case Happening.MACHINE_MISSING if status in UP:
            return Step(_boot_again(life), (EffectKind.POWER_ON,))
        case Happening.MACHINE_FOUND if status in UP:
            return Step(life, (EffectKind.POWER_ON,))
        case Happening.MACHINE_FOUND:
            return Step(life, (EffectKind.CUT_OFF if status is Status.FAILED else EffectKind.POWER_OFF,))
        case _:
            return Step(life)


def _off(status: Status) -> EffectKind:
    # a guest that boots or has failed does not listen, and nobody was in it: asking it would only cost time
    return EffectKind.POWER_OFF if status is Status.RUNNING else EffectKind.CUT_OFF


def _at(life: Life, status: Status) -> Life:
    return evolve(life, status=status, reason="")


def _boot_again(life: Life) -> Life:
    return evolve(life, status=Status.PENDING, generation=life.generation + 1, reason="")


def _failed(life: Life, reason: str) -> Step:
    failed = evolve(life, status=Status.FAILED, reason=reason or "The machine ended unexpectedly.")
    return Step(failed, (EffectKind.CLOSE_DOORS, EffectKind.CUT_OFF))
