"""The transport that fails on purpose, below both clients and in front of a real server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from inspect import signature
from typing import Any, cast

import anyio
import pytest

import ecompute
from ecompute.testing import (
    Always,
    AsyncFaultyTransport,
    Chance,
    Delay,
    DropSocket,
    Fault,
    FaultyTransport,
    LoseAnswer,
    LoseRequest,
    Nth,
    Refuse,
    RefuseConnection,
    TruncateBody,
    WebPage,
)
from ecompute_server.testing import RunningServer, running_server

from .fake_server import LIMIT

pytestmark = pytest.mark.anyio

Connect = Callable[..., Any]
Faulty = Callable[..., Any]


@pytest.fixture(scope="module")
def real() -> Iterator[RunningServer]:
    """A real server for all tests of this file."""
    with running_server() as server:
        yield server


@pytest.fixture
def faulty(kind: str) -> Faulty:
    """Makes a transport of the kind."""
    return FaultyTransport if kind == "sync" else AsyncFaultyTransport


@pytest.fixture
def meet(real: RunningServer, connect: Connect, faulty: Faulty) -> Faulty:
    """A client that meets these faults, and its transport."""

    def make(*faults: Fault, **more: Any) -> tuple[Any, Any]:
        transport = faulty(*faults, **more)
        return connect(real.url, token=real.token, transport=transport), transport

    return make


async def test_without_faults_everything_works(meet: Faulty) -> None:
    """Requests and WebSockets pass as if nothing were there."""
    client, transport = meet()
    async with client:
        assert (await client.session()).username == "alice"
        async with client.events() as events:
            assert isinstance(await events.receive(LIMIT), ecompute.Snapshot)
    assert transport.history == ()


@pytest.mark.parametrize(
    "fault",
    [
        RefuseConnection("session"),
        LoseRequest("session"),
        LoseAnswer("session"),
        LoseAnswer("session", after_bytes=100),
        Refuse("session", retry_after=0),
        Refuse("session", status=429, retry_after=0, reached=True),
        WebPage("session"),
        WebPage("session", reached=True),
    ],
)
async def test_what_a_read_outlives(meet: Faulty, fault: Fault) -> None:
    """A read is asked again after each of these, and its transport says what it met."""
    client, transport = meet(fault)
    async with client:
        assert (await client.session()).username == "alice"
    (met,) = transport.history
    assert (met.number, met.operation, met.fault) == (1, "session", fault)


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (RefuseConnection(on=Always()), ecompute.ConnectError),
        (LoseRequest(on=Always()), ecompute.ConnectError),
        (LoseAnswer(on=Always()), ecompute.ConnectError),
        (TruncateBody(after_bytes=10), ecompute.InvalidAnswer),
        (Refuse(on=Always()), ecompute.Unavailable),
        (Refuse(status=403), ecompute.Forbidden),
        (WebPage(on=Always(), status=500, size=100_000), ecompute.InternalError),
        (WebPage(status=200), ecompute.InvalidAnswer),
    ],
)
async def test_what_it_does_not(meet: Faulty, fault: Fault, expected: type[Exception]) -> None:
    """Each fault shows as the error that its like on the network shows as."""
    client, _ = meet(fault)
    async with client:
        with pytest.raises(expected):
            await client.session()


async def test_whether_a_request_may_have_been_sent(meet: Faulty) -> None:
    """A refused connection says that it was not; a lost one cannot."""
    for fault, maybe in ((RefuseConnection(on=Always()), False), (LoseRequest(on=Always()), True)):
        client, _ = meet(fault)
        async with client:
            with pytest.raises(ecompute.ConnectError) as caught:
                await client.session()
        assert caught.value.maybe_sent is maybe


async def test_an_answer_is_lost_behind_its_effect(
    meet: Faulty, real: RunningServer, public_key: str
) -> None:
    """The server has done what was asked, once; so it is with an answer in the place of its own."""
    for fault in (LoseAnswer("ssh_keys.add"), WebPage("ssh_keys.add", status=504, reached=True)):
        client, _ = meet(fault)
        async with client:
            key = await client.ssh_keys.add("k", public_key)
            assert [each.id for each in await client.ssh_keys.list()] == [key.id]
            await client.ssh_keys.delete(key.id)


async def test_a_delay_takes_the_time_that_it_says(meet: Faulty, kind: str) -> None:
    """It waits by the function that it was given; beyond the request's patience the request fails."""
    waited: list[float] = []

    async def asleep(seconds: float) -> None:
        waited.append(seconds)
        if seconds > 1:  # the deadline is the one of the event loop
            await anyio.sleep_forever()

    sleep = waited.append if kind == "sync" else asleep
    client, _ = meet(Delay(seconds=0.5), Delay(on=Always(), seconds=1000), sleep=sleep)
    async with client:
        assert (await client.session()).username == "alice"
        assert waited == [0.5]
        with pytest.raises(ecompute.Error):
            await client.session(timeout=0.25)
    assert waited[1] > 0


async def test_a_feed_that_is_dropped_comes_back(meet: Faulty) -> None:
    """After a frame, in the middle of one, at once and in the head of the answer: the snapshot comes."""
    faults = (
        DropSocket("events", after_frames=1),
        DropSocket("events", on=Nth(2), after_bytes=5),
        DropSocket("events", on=Nth(3)),
        LoseAnswer("events", on=Nth(4), after_bytes=20),
        LoseAnswer("events", on=Nth(5), after_bytes=400),
    )
    client, transport = meet(*faults)
    async with client, client.events() as events:
        assert isinstance(await events.receive(LIMIT), ecompute.Snapshot)
        while len(transport.history) < len(faults):
            # nothing has changed meanwhile, so there is nothing more to tell
            with pytest.raises(ecompute.DeadlineExceeded):
                await events.receive(0.02)
    assert tuple(met.fault for met in transport.history) == faults


async def test_a_socket_breaks_where_it_is_told_to(meet: Faulty, real: RunningServer) -> None:
    """A feed whose every connection breaks after its first frame tells that one, and comes back for more."""
    client, transport = meet(DropSocket("events", on=Always(), after_frames=1))
    async with client, client.events() as events:
        assert isinstance(await events.receive(LIMIT), ecompute.Snapshot)
        with pytest.raises(ecompute.DeadlineExceeded):
            await events.receive(0.2)
    assert len(transport.history) > 1


async def test_a_command_that_breaks_off_anywhere(meet: Faulty, real: RunningServer, public_key: str) -> None:
    """Wherever its connection breaks, a command has run to its end or is told to be broken; none hangs."""
    with real.client() as owner, owner.temporary(public_key=public_key) as box:
        whole = 0
        for cut in range(0, 90, 3):
            client, transport = meet(DropSocket("terminal", after_bytes=cut))
            async with client:
                with suppress(ecompute.ConnectError):
                    assert (await client.run(box.id, "echo hello", timeout=LIMIT)).text == "hello\n"
                    whole += 1
            assert len(transport.history) == 1
    assert 0 < whole < 30


def test_they_are_twins() -> None:
    """Both transports take the same, and say the same about it."""
    assert [*signature(FaultyTransport).parameters] == [*signature(AsyncFaultyTransport).parameters]
    sync, async_ = (cast(str, kind.__doc__) for kind in (FaultyTransport, AsyncFaultyTransport))
    assert sync.replace("Client(", "AsyncClient(").replace("; threads may share it", "") == async_


async def test_its_repr_replays_it(meet: Faulty, faulty: Faulty) -> None:
    """The line of Python that `repr` gives makes a transport that does the same to the same requests."""
    faults = (Refuse("session", Chance(0.5), status=403), Refuse(on=Chance(0.2), status=404))
    client, transport = meet(*faults)
    again = eval(repr(transport))
    assert type(again) is faulty
    assert (again.faults, again.seed) == (faults, transport.seed)
    other, replayed = meet(*again.faults, seed=again.seed)
    async with client, other:
        for each in (client, other):
            for _ in range(20):
                with suppress(ecompute.Forbidden, ecompute.NotFound):
                    await each.session()
    assert replayed.history == transport.history != ()
