"""The wait for a status, against a feed that only the test feeds."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from ecompute import errors
from ecompute.contract.messages import ContainerDeleted, ContainerSnapshot, ContainerStatus, FeedMessage
from ecompute.contract.resources import Container
from ecompute.protocol import flows, waiting
from ecompute.protocol.wire import HTTPAnswer

CONTEXT = flows.Context(lambda: 1000.0, lambda: 1.0, lambda: 0.0)

Turn = FeedMessage | HTTPAnswer


def snapshot(**statuses: str) -> ContainerSnapshot:
    return ContainerSnapshot(tuple(Container(id_, id_, status) for id_, status in statuses.items()))


def box(status: str, id_: str = "a") -> HTTPAnswer:
    return HTTPAnswer(200, {}, json.dumps({"id": id_, "name": id_, "status": status}).encode())


class World:
    """Waits for containers while this is told and answered, in this order; then the time is over."""

    def __init__(self, *turns: Turn, wanted: str = "running", ids: tuple[str, ...] = ("a",)) -> None:
        self.feed = waiting.Waiters()
        self.feed.opened()
        self.waits = [waiting.Wait(id_, wanted, "containers.wait") for id_ in ids]
        self.left = [*turns]

    def perform(self, step: flows.Step) -> Any:
        if isinstance(step, flows.Send):
            answer = self.left.pop(0)
            assert isinstance(answer, HTTPAnswer)
            return answer
        assert isinstance(step, flows.Until)
        while not (told := step.ready()):
            if not self.left:
                raise errors.DeadlineExceeded("Late.")
            message = self.left.pop(0)
            assert not isinstance(message, HTTPAnswer), "it did not look"
            self.feed.receive(message)
        return told

    def run(self) -> list[Container]:
        for wait in self.waits:
            self.feed.join(wait)
        try:
            return flows.drive(waiting.follow(self.waits, 10, 1010.0, CONTEXT), self.perform)
        finally:
            assert self.left == []
            for wait in self.waits:
                self.feed.leave(wait)


def wait(*turns: Turn, wanted: str = "running") -> Container:
    return World(*turns, wanted=wanted).run()[0]


def test_it_reports_the_status_of_its_own_container() -> None:
    """Other containers' fates do not matter."""
    first = snapshot(b="failed", a="pending")
    assert wait(first, ContainerStatus("b", "running"), ContainerStatus("a", "running"), box("running"))


def test_a_status_that_came_counts_whatever_came_after() -> None:
    """The look shows the container as it is by then."""
    told = wait(snapshot(a="pending"), ContainerStatus("a", "running"), box("stopped"))
    assert told.status == "stopped"


def test_what_was_known_before_needs_the_look() -> None:
    """A feed may lag behind a call that was just answered: neither running nor failed is believed."""
    for stale in ("running", "failed"):
        turns = (snapshot(a=stale), box("pending"), ContainerStatus("a", "running"), box("running"))
        assert wait(*turns).status == "running"
    assert wait(snapshot(a="running"), box("running")).status == "running"


def test_who_joins_an_open_feed() -> None:
    """What the feed knows counts as known before; one that it does not know yet is looked at."""
    for known in ({"a": "running"}, {}):
        world = World(box("pending"), ContainerStatus("a", "running"), box("running"))
        world.feed.receive(snapshot(**known))
        assert world.run()[0].status == "running"


def test_a_failure_tells_its_reason() -> None:
    """The look's reason, else the feed's; one that was repaired meanwhile is waited for on."""
    failed = ContainerStatus("a", "failed", status_reason="No disk.")
    with pytest.raises(
        errors.ContainerFailed, match=r"^Container a failed before it was running: No disk\.$"
    ):
        wait(snapshot(a="pending"), failed, box("failed"))
    assert wait(
        snapshot(a="pending"), failed, box("pending"), ContainerStatus("a", "running"), box("running")
    )
    assert wait(snapshot(a="pending"), failed, box("failed"), wanted="failed").status == "failed"


def test_several_are_given_in_their_order() -> None:
    """Whichever is there first; the first failure ends it."""
    world = World(
        snapshot(a="pending", b="running"),
        box("running", "b"),
        ContainerStatus("a", "running"),
        box("running", "a"),
        ids=("a", "b"),
    )
    assert [c.id for c in world.run()] == ["a", "b"]
    with pytest.raises(errors.ContainerFailed, match="Container b"):
        World(snapshot(a="pending", b="failed"), box("failed", "b"), ids=("a", "b")).run()


def test_the_same_container_twice() -> None:
    """Each wait has its own look."""
    world = World(snapshot(a="running"), box("running"), box("running"), ids=("a", "a"))
    assert [c.id for c in world.run()] == ["a", "a"]


def test_a_refusal_of_the_last_look_names_the_wait() -> None:
    """The caller asked for a wait, not for what it is made of."""
    with pytest.raises(errors.Forbidden) as caught:
        wait(snapshot(a="pending"), ContainerStatus("a", "running"), HTTPAnswer(403, {}, b"{}"))
    assert caught.value.operation == "containers.wait a"


def test_a_container_that_is_deleted_names_the_wait() -> None:
    """As every other refusal does."""
    with pytest.raises(errors.NotFound, match=r"^containers\.wait a was refused: "):
        wait(snapshot(a="pending"), ContainerDeleted("a"))


def test_a_status_that_nobody_knows_is_told_at_the_end() -> None:
    """A newer server may have it, so that it is waited for; a mistyped one is found by the sentence."""
    with pytest.raises(errors.DeadlineExceeded) as mistyped:
        wait(snapshot(a="pending"), wanted="runing")
    assert str(mistyped.value) == (
        "Container a was last seen pending, not yet runing after 10 seconds; 'runing' is no status that this "
        "version knows: pending, initializing, running, stopped, failed."
    )
    with pytest.raises(errors.DeadlineExceeded) as known:
        wait(snapshot(a="pending"))
    assert str(known.value) == "Container a was last seen pending, not yet running after 10 seconds."


def test_all_that_are_missing_are_told() -> None:
    """One by name, the others by their number."""
    world = World(snapshot(a="pending", b="pending", c="running"), box("running", "c"), ids=("a", "b", "c"))
    with pytest.raises(
        errors.DeadlineExceeded, match=r"Container a was last seen .*\. 1 more is missing too\."
    ):
        world.run()


def test_a_status_is_a_text() -> None:
    """Anything else would be waited for in vain."""
    with pytest.raises(errors.InvalidArgument, match=r"containers\.wait was not sent: status must be a text"):
        waiting.Wait("a", 5, "containers.wait")  # type: ignore[arg-type]


def test_a_feed_that_nobody_needs_ends() -> None:
    """It is ready then, whatever the connection does."""
    feed = waiting.Waiters()
    feed.opened()
    assert (feed.ready, feed.take()) == (False, None)
    feed.leaving = True
    assert (feed.ready, feed.take()) == (True, True)


def polling(turns: list[HTTPAnswer], timeout: float) -> tuple[Callable[[], list[Container]], list[float]]:
    now, pauses = [1000.0], []

    def perform(step: flows.Step) -> Any:
        if isinstance(step, flows.Pause):
            pauses.append(step.seconds)
            now[0] += step.seconds
            return None
        assert isinstance(step, flows.Send)
        return turns.pop(0)

    context = flows.Context(lambda: now[0], lambda: 1.0, lambda: 0.0)
    waits = [waiting.Wait("a", "running", "containers.wait")]
    flow = waiting.poll(waits, timeout, 1000.0 + timeout, context)
    return (lambda: flows.drive(flow, perform)), pauses


def test_looking_again_and_again() -> None:
    """The pauses grow, up to five seconds; it ends as a wait by events does."""
    run, pauses = polling([*[box("pending")] * 9, box("running")], 60)
    assert run()[0].status == "running"
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0]
    run, _ = polling([box("pending"), box("failed")], 60)
    with pytest.raises(errors.ContainerFailed):
        run()
    run, pauses = polling([box("pending")] * 9, 3.0)
    with pytest.raises(errors.DeadlineExceeded, match="last seen pending, not yet running after 3 seconds"):
        run()
    assert sum(pauses) <= 3.0
