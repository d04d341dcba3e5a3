"""The wait for a status, against events that only the test makes."""

from __future__ import annotations

from typing import Any

import pytest

from ecompute import errors
from ecompute.contract.resources import Container
from ecompute.protocol import flows, waiting
from ecompute.protocol.feed import Deleted, Event, Snapshot, StatusChanged
from ecompute.protocol.wire import HTTPAnswer

PENDING = Snapshot((Container("a", "a", "pending"),))
BOX = HTTPAnswer(200, {}, b'{"id": "a", "name": "a", "status": "running"}')


def wait(*told: Event | HTTPAnswer, wanted: str = "running") -> Container:
    """Wait for container `a` while this is told; then the time is over."""
    left: list[Any] = [*told]

    def perform(step: flows.Step) -> Any:
        if not left:
            raise errors.DeadlineExceeded("No event came in time.")
        if isinstance(left[0], HTTPAnswer) != isinstance(step, flows.Send):
            raise AssertionError(step)
        return left.pop(0)

    flow = waiting.Wait("a", wanted, "containers.wait").follow(
        10, 1010.0, flows.Timing(lambda: 1000.0, lambda: 1.0)
    )
    try:
        return flows.drive(flow, perform)
    finally:
        assert left == []


def test_it_reports_the_status_of_its_own_container() -> None:
    """Other containers' fates do not matter."""
    first = Snapshot((Container("b", "b", "failed"), Container("a", "a", "pending")))
    box = wait(first, StatusChanged("b", "running", "failed"), StatusChanged("a", "running", "pending"), BOX)
    assert box.status == "running"


def test_a_refusal_of_the_last_look_names_the_wait() -> None:
    """The caller asked for a wait, not for what it is made of."""
    with pytest.raises(errors.Forbidden) as caught:
        wait(PENDING, StatusChanged("a", "running", "pending"), HTTPAnswer(403, {}, b"{}"))
    assert caught.value.operation == "containers.wait a"


def test_a_container_that_is_deleted_names_the_wait() -> None:
    """As every other refusal does."""
    with pytest.raises(errors.NotFound, match=r"^containers\.wait a was refused: "):
        wait(PENDING, Deleted("a", "pending"))


def test_a_status_that_nobody_knows_is_told_at_the_end() -> None:
    """A newer server may have it, so that it is waited for; a mistyped one is found by the sentence."""
    with pytest.raises(errors.DeadlineExceeded) as mistyped:
        wait(PENDING, wanted="runing")
    assert str(mistyped.value) == (
        "Container a was last seen pending, not yet runing after 10 seconds; 'runing' is no status that this "
        "version knows: pending, initializing, running, stopped, failed."
    )
    with pytest.raises(errors.DeadlineExceeded) as known:
        wait(PENDING)
    assert str(known.value) == "Container a was last seen pending, not yet running after 10 seconds."


def test_a_status_is_a_text() -> None:
    """Anything else would be waited for in vain."""
    with pytest.raises(errors.InvalidArgument, match=r"containers\.wait was not sent: status must be a text"):
        waiting.Wait("a", 5, "containers.wait")  # type: ignore[arg-type]
