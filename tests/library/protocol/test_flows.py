"""The flows against a script and a clock that only the test turns."""

from __future__ import annotations

from typing import Any

import pytest

from ecompute import errors
from ecompute.contract.endpoints import CREATE_CONTAINER, GET_CONTAINER
from ecompute.contract.messages import ContainerSnapshot
from ecompute.contract.requests import CreateContainer, GetContainer
from ecompute.contract.resources import Container
from ecompute.protocol import flows, policy
from ecompute.protocol.feed import Feed, Snapshot, StatusChanged
from ecompute.protocol.wire import HTTPAnswer, HTTPRequest

BOX = HTTPAnswer(200, {}, b'{"id": "a", "name": "a", "status": "running"}')
LIST = HTTPRequest("events", "GET", "/compute/ws")


@pytest.fixture(autouse=True)
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here time is virtual, and pauses have their real lengths."""
    monkeypatch.setattr(policy, "CALLS", policy.Retries())
    monkeypatch.setattr(policy, "RECONNECTS", policy.Retries(first=0.1, longest=15.0))


class World:
    """Performs steps: each try takes a turn of the script; time passes only here."""

    def __init__(self, *turns: Any, takes: float = 0.0) -> None:
        self.now = 1000.0
        self.log: list[Any] = []
        self.context = flows.Context(lambda: self.now, lambda: 1.0, lambda: self.now)
        self._turns = list(turns)
        self._takes = takes

    def perform(self, step: flows.Step) -> Any:
        if isinstance(step, flows.Pause):
            self.log.append(step.seconds)
            self.now += step.seconds
            return None
        self.log.append(type(step).__name__)
        turn = self._turns.pop(0) if len(self._turns) > 1 else self._turns[0]
        self.now += self._takes
        turn = turn(step) if callable(turn) else turn
        if isinstance(turn, Exception):
            raise turn
        return turn

    def get(self, timeout: float) -> Container:
        return flows.drive(flows.call(GET_CONTAINER, GetContainer("a"), timeout, self.context), self.perform)


def refusal(status: int, **headers: str) -> HTTPAnswer:
    return HTTPAnswer(status, {k.replace("_", "-"): v for k, v in headers.items()}, b"{}")


def test_the_rhythm_of_retries() -> None:
    """Pauses double; Retry-After replaces one; the fourth failure is the last."""
    world = World(errors.ConnectError("x"), refusal(503, retry_after="3"), refusal(502), refusal(502))
    with pytest.raises(errors.APIError):
        world.get(30)
    assert world.log == ["Send", 0.25, "Send", 3 + 0.25, "Send", 1.0, "Send"]


def test_each_try_has_what_is_left_of_the_deadline() -> None:
    """The deadline is for all tries and pauses together."""
    left: list[float] = []

    def turn(step: flows.Send) -> Exception:
        left.append(step.timeout)
        return errors.ConnectError("x")

    world = World(turn, takes=2.0)
    with pytest.raises(errors.ConnectError):
        world.get(5)
    assert left == [5.0, 2.75, 0.25]


def test_a_try_that_times_out_at_the_deadline() -> None:
    """What was missing is said in the terms of the call."""
    world = World(errors.ConnectError("x", maybe_sent=True, timed_out=True), takes=30.0)
    with pytest.raises(
        errors.DeadlineExceeded, match=r"containers\.get a was not answered within 30 seconds"
    ):
        world.get(30)
    assert world.log == ["Send"]


def test_a_connect_that_times_out_is_tried_again() -> None:
    """A packet may be lost on the way; each attempt to connect has a time of its own."""
    world = World(errors.ConnectError("x", timed_out=True), BOX, takes=10.0)
    assert world.get(30).id == "a"


def test_a_create_is_tracked_and_sent_once() -> None:
    """The transport is asked to find out whether the request was sent."""
    steps: list[flows.Send] = []

    def turn(step: flows.Send) -> Exception:
        steps.append(step)
        return errors.ConnectError("x", maybe_sent=True)

    flow = flows.call(CREATE_CONTAINER, CreateContainer("b", (1,)), 30, World().context)
    with pytest.raises(errors.OutcomeUnknown) as caught:
        flows.drive(flow, World(turn).perform)
    assert [step.track for step in steps] == [True]
    assert isinstance(caught.value.__cause__, errors.ConnectError)


def test_a_create_that_could_not_be_sent_in_time() -> None:
    """No doubt without a byte on the wire."""
    world = World(errors.ConnectError("x", timed_out=True), takes=10.0)
    flow = flows.call(CREATE_CONTAINER, CreateContainer("b", (1,)), 25, world.context)
    with pytest.raises(errors.DeadlineExceeded):
        flows.drive(flow, world.perform)
    assert world.log.count("Send") == 3


class FeedWorld(World):
    """A feed whose connections each bring a list of messages and then end."""

    def __init__(self, *turns: Any) -> None:
        self.feed = Feed(lambda c: c)
        super().__init__(*turns)

    def perform(self, step: flows.Step) -> Any:
        if isinstance(step, flows.Await):
            self.log.append("Await")
            self.feed.lost(None)
            return None
        result = super().perform(step)
        if isinstance(step, flows.Connect):
            self.feed.opened()
            for message in result:
                self.feed.receive(message)
        return None

    def next(self, timeout: float | None = None) -> Any:
        deadline = None if timeout is None else self.now + timeout
        flow = flows.next_event(self.feed, self.feed.take, LIST, self.context, deadline)
        return flows.drive(flow, self.perform)


def told(status: str) -> list[Any]:
    return [ContainerSnapshot((Container("a", "a", status),))]


def test_a_feed_comes_back_with_growing_pauses() -> None:
    """Pauses grow while it fails, and begin anew after a snapshot."""
    away = errors.ConnectError("x")
    world = FeedWorld(told("1"), away, away, told("1"), away, told("2"))
    world.feed.lost(None)
    assert isinstance(world.next(), Snapshot)
    assert world.next() == StatusChanged("a", "2", "1")
    again = [0.1, "Connect", 0.2, "Connect", 0.4, "Connect", "Await", 0.1, "Connect", 0.2, "Connect"]
    assert world.log == [0.1, "Connect", "Await", *again]


def test_a_feed_that_opens_without_a_snapshot_does_not_hurry() -> None:
    """A server that accepts and hangs up is a failing one."""
    world = FeedWorld([], [], [], told("1"))
    world.feed.lost(None)
    world.next()
    assert [step for step in world.log if isinstance(step, float)] == [0.1, 0.2, 0.4, 0.8]


def test_a_feed_gives_up_after_five_minutes() -> None:
    """A server that stays away is told, rather than waited for without end."""
    world = FeedWorld(told("1"), errors.ConnectError("away"))
    world.feed.lost(None)
    world.next()
    before = world.now
    with pytest.raises(errors.ConnectError, match="away"):
        world.next()
    assert 300 <= world.now - before <= 330


def test_a_feed_keeps_a_deadline() -> None:
    """Also while it comes back; the next call goes on."""
    world = FeedWorld(told("1"), errors.ConnectError("away"))
    world.feed.lost(None)
    world.next()
    before = world.now
    with pytest.raises(errors.DeadlineExceeded):
        world.next(timeout=10)
    assert world.now - before <= 10


@pytest.mark.parametrize("error", [errors.Unauthenticated("x", status=401), errors.InvalidAnswer("x")])
def test_a_refusal_ends_the_coming_back(error: errors.Error) -> None:
    """What another try would not change is raised at once."""
    world = FeedWorld(told("1"), error)
    world.feed.lost(None)
    world.next()
    with pytest.raises(type(error)):
        world.next()


def test_drive_closes_a_flow_that_is_left() -> None:
    """A foreign exception passes through, and the flow's own clean-up runs."""
    ended: list[str] = []

    def flow() -> flows.Flow[None]:
        try:
            yield flows.Pause(1)
        finally:
            ended.append("yes")

    def perform(step: flows.Step) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        flows.drive(flow(), perform)
    assert ended == ["yes"]
