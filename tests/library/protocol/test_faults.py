"""Which request meets which fault, and where a WebSocket breaks off."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage

from ecompute.errors import InvalidArgument
from ecompute.protocol.faults import (
    Always,
    Chance,
    Cutter,
    Fault,
    LoseAnswer,
    LoseRequest,
    Nth,
    Plan,
    Refuse,
    RefuseConnection,
)


def test_a_fault_meets_its_operation_alone() -> None:
    """Requests are told apart by the table, wherever the server's API begins."""
    plan = Plan([LoseAnswer("create"), RefuseConnection("containers.get", on=Nth(2))], 1)
    asked = [
        ("GET", "/compute/containers"),
        ("GET", "/eu/compute/containers/abc12345"),
        ("POST", "/compute/containers/abc12345/start"),
        ("POST", "/eu/compute/containers"),
        ("GET", "/compute/containers/abc12345"),
        ("POST", "/compute/containers"),
    ]
    met = [plan.next(*request) for request in asked]
    create, get = plan.faults
    assert met == [None, None, None, create, get, None]
    assert [(one.number, one.operation) for one in plan.history] == [
        (4, "containers.create"),
        (5, "containers.get"),
    ]


def test_a_fault_without_an_operation_meets_all() -> None:
    """What is asked does not matter, also when it is nothing of the API."""
    plan = Plan([Refuse(on=Always())], 1)
    assert plan.next("GET", "/compute/ws") is plan.next("PATCH", "/nothing") is plan.faults[0]


def test_the_first_of_several_comes_to_pass() -> None:
    """All of them count on, so that each meets the request that it names."""
    first, second = LoseRequest(on=Nth(1)), RefuseConnection(on=Nth(2))
    plan = Plan([first, second], 1)
    assert [plan.next("GET", "/") for _ in range(3)] == [first, second, None]


def test_a_name_of_nothing() -> None:
    """It is refused where it is written, with the names that there are."""
    with pytest.raises(InvalidArgument, match=r"containers\.list"):
        LoseAnswer("dance")
    with pytest.raises(InvalidArgument, match="no fault"):
        Plan(["create"], 1)  # type: ignore[list-item]


@given(st.integers(0, 2**32), st.integers(1, 40))
def test_chance_is_the_seed_s(seed: int, count: int) -> None:
    """The same seed decides the same, and another fault beside it changes nothing about it."""
    rare = LoseAnswer("create", Chance(0.3))

    def met(*more: Fault) -> list[bool]:
        plan = Plan([rare, *more], seed)
        return [plan.next("POST", "/compute/containers") is rare for _ in range(count)]

    assert met() == met(RefuseConnection(on=Chance(0.5)))


def test_chance_is_about_as_likely_as_it_says() -> None:
    """Of a thousand, a probability of 0.3 meets about three hundred."""
    plan = Plan([LoseRequest(on=Chance(0.3))], 5)
    assert 250 < sum(plan.next("GET", "/") is not None for _ in range(1000)) < 350


@given(st.data())
def test_a_socket_breaks_between_frames(data: st.DataObject) -> None:
    """Of frames of any size, in pieces of any size, exactly the whole frames pass that may."""
    server = Connection(ConnectionType.SERVER)
    sizes = data.draw(
        st.lists(st.sampled_from([0, 1, 125, 126, 65535, 65536, 70000]), min_size=1, max_size=4)
    )
    frames = [server.send(BytesMessage(b"x" * size)) for size in sizes]
    allowed = data.draw(st.integers(1, len(frames)))
    wire, cutter, passed = b"".join(frames), Cutter(None, allowed), b""
    while wire and not cutter.is_broken():
        step = data.draw(st.sampled_from([1, 2, 3, 9, 1000, 100_000]))
        if step < 1000 and len(wire) > 400:
            step = len(wire) // 3
        passed += cutter.pass_on(wire[:step])
        wire = wire[step:]
    assert passed == b"".join(frames[:allowed])


@given(st.integers(0, 50), st.lists(st.binary(min_size=1, max_size=20)))
def test_a_socket_breaks_after_bytes(limit: int, pieces: list[bytes]) -> None:
    """As many bytes pass as may, and then it is broken."""
    cutter, whole = Cutter(limit, None), b"".join(pieces)
    assert b"".join(cutter.pass_on(piece) for piece in pieces) == whole[:limit]
    assert cutter.is_broken() == (len(whole) >= limit)
