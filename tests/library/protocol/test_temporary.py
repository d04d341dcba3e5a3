"""What came of a create, found out against a server of one function and a clock that only the test turns."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from ecompute import errors
from ecompute.contract.requests import CreateContainer
from ecompute.protocol import flows, policy, temporary
from ecompute.protocol.wire import HTTPAnswer, HTTPRequest

LOST = errors.ConnectError("x", maybe_sent=True)
EMPTY = {"containers": [], "ssh_keys": []}
Answers = Callable[[HTTPRequest], HTTPAnswer | errors.Error]


@pytest.fixture(autouse=True)
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here time is virtual, and pauses have their real lengths."""
    monkeypatch.setattr(policy, "CALLS", policy.Retries())


def answer(status: int, body: object, keys: bool = True) -> HTTPAnswer:
    return HTTPAnswer(status, {"idempotency-supported": "true"} if keys else {}, json.dumps(body).encode())


def refusal(status: int, code: str) -> HTTPAnswer:
    return answer(status, {"error": "No.", "code": code})


class World:
    """Performs steps: a request is answered by the function of the test; time passes only here."""

    def __init__(self, answers: Answers, *, takes: float = 0.0, name: str = "t-1") -> None:
        self.now = 1000.0
        self.sent: list[str] = []
        self.state = temporary.Temporary(
            CreateContainer(name, ssh_key_ids=(3,)),
            None,
            unique="t-1",
            secret=bytes(32),
            context=flows.Context(lambda: self.now, lambda: 1.0, lambda: self.now),
        )
        self._answers = answers
        self._takes = takes

    def perform(self, step: flows.Step) -> HTTPAnswer | None:
        if isinstance(step, flows.Pause):
            self.now += step.seconds
            return None
        assert isinstance(step, flows.Send)
        self.sent.append(step.request.method)
        self.now += self._takes
        outcome = self._answers(step.request)
        if isinstance(outcome, errors.Error):
            raise outcome
        return outcome

    def lose_a_create(self) -> None:
        with pytest.raises(errors.OutcomeUnknown):
            flows.drive(self.state.make(30), self.perform)
        self.sent.clear()

    def undo(self) -> tuple[errors.Error, ...]:
        return tuple(left.error for left in flows.drive(self.state.undo(), self.perform))


def losing_first(answers: Answers) -> Answers:
    """The answers after those to the tries of a create, which are all lost."""
    left = [LOST] * policy.CALLS.attempts
    return lambda request: left.pop() if left and request.method == "POST" else answers(request)


def made(request: HTTPRequest) -> HTTPAnswer:
    match request.method:
        case "GET":
            return answer(200, EMPTY)
        case "POST":
            return answer(200, {"id": "a", "name": "t-1", "status": "pending"})
        case _:
            return answer(200, {"status": "ok"})


def test_one_list_one_repetition_one_deletion() -> None:
    """No more than it takes, and nothing is left to do a second time."""
    world = World(losing_first(made))
    world.lose_a_create()
    assert world.undo() == ()
    assert world.undo() == ()
    assert world.sent == ["GET", "POST", "DELETE"]


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (refusal(409, "conflict"), errors.Conflict),
        (refusal(500, "internal"), errors.InternalError),
        (refusal(503, "unavailable"), errors.Unavailable),
        (refusal(502, ""), errors.OutcomeUnknown),
        (errors.ConnectError("x"), errors.ConnectError),
        (LOST, errors.OutcomeUnknown),
        (answer(200, {}), errors.OutcomeUnknown),
    ],
)
def test_what_leaves_it_open_is_borne_for_a_time(
    fault: HTTPAnswer | errors.Error, kind: type[errors.Error]
) -> None:
    """Some seconds, then it is told, and a second undoing tries again."""
    trouble = True
    world = World(
        losing_first(lambda request: fault if trouble and request.method == "POST" else made(request))
    )
    world.lose_a_create()
    began = world.now
    (error,) = world.undo()
    assert isinstance(error, kind)
    assert world.sent.count("POST") > 2
    assert temporary.SETTLE_WITHIN / 2 <= world.now - began <= temporary.SETTLE_WITHIN
    assert world.state.left() == ["Container named t-1 may be left"]
    trouble = False
    assert world.undo() == ()
    assert world.sent[-2:] == ["POST", "DELETE"]
    assert world.state.left() == []


@pytest.mark.parametrize(
    "no", [refusal(400, "invalid_request"), refusal(409, "limit_reached"), refusal(413, "too_large")]
)
def test_a_refusal_settles_it(no: HTTPAnswer) -> None:
    """Nothing was made, and nothing is to be told."""
    world = World(losing_first(lambda request: no if request.method == "POST" else made(request)))
    world.lose_a_create()
    assert world.undo() == ()
    assert world.sent == ["GET", "POST"]


@pytest.mark.parametrize("no", [refusal(401, "unauthenticated"), refusal(403, "forbidden")])
def test_a_right_that_is_lost_is_told(no: HTTPAnswer) -> None:
    """The first create may have been made before; waiting does not give the right back."""
    world = World(losing_first(lambda request: no if request.method == "POST" else made(request)))
    world.lose_a_create()
    (error,) = world.undo()
    assert isinstance(error, errors.APIError)
    assert world.sent == ["GET", "POST"]


def test_looking_ends() -> None:
    """Without keys what is not in the list for some seconds was not made."""
    world = World(losing_first(lambda request: answer(200, EMPTY, keys=False)))
    world.lose_a_create()
    began = world.now
    assert world.undo() == ()
    assert set(world.sent) == {"GET"}
    assert len(world.sent) > 2
    assert temporary.LOOK_FOR / 2 <= world.now - began <= temporary.LOOK_FOR


def test_a_common_name_without_keys_is_told() -> None:
    """It proves nothing, whatever the list says; nothing is repeated and nothing deleted."""
    listed = {"containers": [{"id": "b", "name": "box", "status": "running"}]}
    world = World(losing_first(lambda request: answer(200, listed, keys=False)), name="box")
    world.lose_a_create()
    (error,) = world.undo()
    assert "named box" in str(error)
    assert world.sent == ["GET"]


def test_a_slow_server_cannot_stretch_it() -> None:
    """All of it has its time, however long each answer takes."""
    world = World(losing_first(lambda request: LOST), takes=4.0)
    world.lose_a_create()
    began = world.now
    (error,) = world.undo()
    assert isinstance(error, errors.ConnectError)
    assert world.now - began <= temporary.UNDO_WITHIN + 4.0
