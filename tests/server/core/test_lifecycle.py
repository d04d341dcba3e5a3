"""The table of a container's life."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecompute.contract.catalog import Status
from ecompute_server.core.lifecycle import (
    BIRTH,
    Command,
    EffectKind,
    Event,
    Happening,
    Life,
    Observation,
    step,
)

LIVES = [
    Life(status, 3, "why" if status is Status.FAILED else "", deleted)
    for status, deleted in itertools.product(Status, (False, True))
]
EVENTS: list[Event] = [*Command, *(Observation(happening, 3, "why") for happening in Happening)]
UP = {Status.PENDING, Status.INITIALIZING, Status.RUNNING}


@pytest.mark.parametrize("event", EVENTS, ids=str)
@pytest.mark.parametrize("life", LIVES, ids=str)
def test_there_is_an_answer_for_every_life_and_every_event(life: Life, event: Event) -> None:
    """Nothing is refused, and what comes out is a life as sound as the one that went in."""
    after = step(life, event).life
    assert (after.reason != "") == (after.status is Status.FAILED)
    assert after.generation in (life.generation, life.generation + 1)
    assert after.deleted or not life.deleted


@pytest.mark.parametrize("event", EVENTS, ids=str)
@pytest.mark.parametrize("status", list(Status))
def test_the_end_is_the_end(status: Status, event: Event) -> None:
    """Nothing happens to a deleted container any more."""
    life = Life(status, 3, "why" if status is Status.FAILED else "", deleted=True)
    assert step(life, event) == step(life, event).__class__(life)


@pytest.mark.parametrize("happening", list(Happening))
@pytest.mark.parametrize("status", list(Status))
@pytest.mark.parametrize("generation", [2, 4])
def test_another_boot_is_not_this_one(status: Status, happening: Happening, generation: int) -> None:
    """An observation of another generation changes nothing."""
    life = Life(status, 3, "why" if status is Status.FAILED else "")
    assert step(life, Observation(happening, generation, "late")) == step(life, Command.START).__class__(life)


@pytest.mark.parametrize(
    ("status", "command", "after", "effects"),
    [
        (Status.STOPPED, Command.START, Status.PENDING, [EffectKind.POWER_ON]),
        (Status.FAILED, Command.START, Status.PENDING, [EffectKind.POWER_ON]),
        (Status.PENDING, Command.START, Status.PENDING, []),
        (Status.INITIALIZING, Command.START, Status.INITIALIZING, []),
        (Status.RUNNING, Command.START, Status.RUNNING, []),
        (Status.RUNNING, Command.STOP, Status.STOPPED, [EffectKind.CLOSE_DOORS, EffectKind.POWER_OFF]),
        (Status.INITIALIZING, Command.STOP, Status.STOPPED, [EffectKind.CLOSE_DOORS, EffectKind.CUT_OFF]),
        (Status.PENDING, Command.STOP, Status.STOPPED, [EffectKind.CLOSE_DOORS, EffectKind.CUT_OFF]),
        (Status.FAILED, Command.STOP, Status.STOPPED, [EffectKind.CLOSE_DOORS, EffectKind.CUT_OFF]),
        (Status.STOPPED, Command.STOP, Status.STOPPED, []),
    ],
)
def test_commands(status: Status, command: Command, after: Status, effects: list[EffectKind]) -> None:
    """Start and stop, from everywhere."""
    taken = step(Life(status, 3, "why" if status is Status.FAILED else ""), command)
    assert (taken.life.status, list(taken.effects)) == (after, effects)
    assert taken.life.generation == (4 if EffectKind.POWER_ON in effects else 3)


def test_a_boot_goes_from_pending_over_initializing_to_running() -> None:
    """And the doors open at its end."""
    started = step(BIRTH.life, Observation(Happening.MACHINE_STARTED, 1))
    assert started.life.status is Status.INITIALIZING
    answered = step(started.life, Observation(Happening.GUEST_ANSWERED, 1))
    assert (answered.life.status, answered.effects) == (Status.RUNNING, (EffectKind.OPEN_DOORS,))


def test_a_late_deadline_does_not_hurt_a_running_container() -> None:
    """Only a boot can fail to boot."""
    life = Life(Status.RUNNING, 1)
    assert step(life, Observation(Happening.BOOT_FAILED, 1, "late")).life == life


def test_a_lost_machine_fails_its_container_with_a_reason() -> None:
    """Also when the driver gave none."""
    lost = step(Life(Status.RUNNING, 1), Observation(Happening.MACHINE_LOST, 1))
    assert lost.life.status is Status.FAILED
    assert lost.life.reason
    assert lost.effects == (EffectKind.CLOSE_DOORS, EffectKind.CUT_OFF)


def test_a_container_that_was_to_run_runs_again_after_a_host_restart() -> None:
    """As a new boot."""
    for status in UP:
        taken = step(Life(status, 3), Observation(Happening.MACHINE_MISSING, 3))
        assert (taken.life.status, taken.life.generation) == (Status.PENDING, 4)
        assert taken.effects == (EffectKind.POWER_ON,)


events = st.sampled_from(list(Command)) | st.builds(
    Observation, st.sampled_from(list(Happening)), st.integers(1, 4), st.just("why")
)


@given(st.lists(events, max_size=30))
def test_whoever_is_down_was_told_to_power_off(history: list[Event]) -> None:
    """Whatever happens: a container that leaves the running statuses has an effect that ends its machine."""
    life = BIRTH.life
    for event in history:
        taken = step(life, event)
        left = life.status in UP and not life.deleted and (taken.life.deleted or taken.life.status not in UP)
        if left:
            ends = {EffectKind.POWER_OFF, EffectKind.CUT_OFF, EffectKind.ERASE}
            assert ends & set(taken.effects)
        if taken.life.generation > life.generation:
            assert taken.effects[-1] is EffectKind.POWER_ON
        life = taken.life
