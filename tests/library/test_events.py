"""The events feed over a socket: what is told, and what a lost connection changes about it (nothing)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from wsproto.events import BytesMessage, Ping, Pong, TextMessage

import ecompute
from ecompute import Deleted, Snapshot, StatusChanged

from .conftest import script
from .fake_server import LIMIT, FakeServer, Request

pytestmark = pytest.mark.anyio

Serve = Callable[..., FakeServer]
Connect = Callable[..., Any]


async def test_a_feed_tells_a_snapshot_and_then_changes(serve: Serve, connect: Connect) -> None:
    """Every change comes as it was sent; messages of unknown types are passed over."""

    def handle(request: Request) -> None:
        assert request.target == "/compute/ws"
        assert request.headers["authorization"] == "Bearer t0ken"
        socket = request.upgrade()
        socket.snapshot(a="pending", b="stopped")
        socket.status("a", "running", external_ip="127.77.0.2")
        socket.tell("weather", {"sun": True})
        socket.status("c", "pending")
        socket.status("a", "failed", status_reason="It burnt.")
        socket.tell("container_deleted", {"container_id": "b"})
        socket.serve_until_closed()

    server = serve(handle)
    async with connect(server) as client, client.events() as events:
        first = await events.receive(LIMIT)
        assert isinstance(first, Snapshot)
        assert [(c.id, c.status) for c in first.containers] == [("a", "pending"), ("b", "stopped")]
        assert [await anext(events) for _ in range(4)] == [
            StatusChanged("a", "running", "pending", "127.77.0.2"),
            StatusChanged("c", "pending", None),
            StatusChanged("a", "failed", "running", "127.77.0.2", "It burnt."),
            Deleted("b", "stopped"),
        ]
    server.wait_idle()


async def test_a_first_message_may_come_with_the_handshake(serve: Serve, connect: Connect) -> None:
    """Bytes behind the 101 answer, in the same packet, are not lost."""

    def handle(request: Request) -> None:
        text = b'{"type":"containers","data":[]}'
        request.upgrade(together_with=bytes([0x81, len(text)]) + text).serve_until_closed()

    async with connect(serve(handle)) as client, client.events() as events:
        assert await events.receive(LIMIT) == Snapshot(())


async def test_a_lost_connection_leaves_no_gap(serve: Serve, connect: Connect) -> None:
    """What changed while nobody listened comes as events, once; what did not change does not."""

    def first(request: Request) -> None:
        socket = request.upgrade()
        socket.snapshot(a="pending", b="running", c="running", e="running")
        socket.status("a", "initializing")
        socket.wire.drop()

    def second(request: Request) -> None:
        socket = request.upgrade()
        socket.snapshot(d="pending", c="running", b="stopped", a="initializing")
        socket.status("a", "running")
        socket.close(1001)

    def third(request: Request) -> None:
        socket = request.upgrade()
        socket.snapshot(d="running", c="running", b="stopped", a="running")
        socket.serve_until_closed()

    server = serve(script(first, second, third))
    async with connect(server) as client, client.events() as events:
        told = [await events.receive(LIMIT) for _ in range(7)]
    assert told[1] == StatusChanged("a", "initializing", "pending")
    assert told[2] == Deleted("e", "running")
    assert set(told[3:5]) == {StatusChanged("d", "pending", None), StatusChanged("b", "stopped", "running")}
    assert told[5] == StatusChanged("a", "running", "initializing")
    assert told[6] == StatusChanged("d", "running", "pending")


async def test_a_feed_torn_in_the_middle_of_a_frame(serve: Serve, connect: Connect) -> None:
    """Wherever a frame is torn, the next connection makes it good."""
    text = b'{"type":"container_status","data":{"container_id":"a","status":"running"}}'
    frame = bytes([0x81, len(text)]) + text
    cuts = list(range(1, len(frame), 7))

    def torn(cut: int) -> Callable[[Request], None]:
        def handle(request: Request) -> None:
            socket = request.upgrade()
            socket.snapshot(a="pending")
            socket.wire.send(frame[:cut])
            socket.wire.drop()

        return handle

    def whole(request: Request) -> None:
        socket = request.upgrade()
        socket.snapshot(a="pending")
        socket.wire.send(frame)
        socket.serve_until_closed()

    server = serve(script(*map(torn, cuts), whole))
    async with connect(server) as client, client.events() as events:
        assert isinstance(await events.receive(LIMIT), Snapshot)
        assert await events.receive(LIMIT) == StatusChanged("a", "running", "pending")
    assert len(server.seen) == len(cuts) + 1


async def test_a_server_that_is_away_for_a_while(serve: Serve, connect: Connect) -> None:
    """Refused and busy answers to a reconnect are waited out."""

    def up(status: str) -> Callable[[Request], None]:
        def handle(request: Request) -> None:
            socket = request.upgrade()
            socket.snapshot(a=status)
            socket.wire.drop()

        return handle

    away = [
        lambda r: r.refuse(503, "unavailable", Retry_After="0"),
        lambda r: r.wire.drop(),
        lambda r: r.answer(b"", 502),
    ]
    server = serve(script(up("pending"), *away, *away, up("running"), *[lambda r: r.wire.drop()] * 9999))
    async with connect(server) as client, client.events() as events:
        await events.receive(LIMIT)
        assert await events.receive(LIMIT) == StatusChanged("a", "running", "pending")


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (401, "unauthenticated", ecompute.Unauthenticated),
        (403, "forbidden", ecompute.Forbidden),
        (404, "not_found", ecompute.NotFound),
    ],
)
async def test_a_refusal_is_raised(
    serve: Serve, connect: Connect, status: int, code: str, expected: type[Exception]
) -> None:
    """On entering and on coming back: a revoked token is no reason to try again."""

    def once(request: Request) -> None:
        socket = request.upgrade()
        socket.snapshot()
        socket.close(1008)

    def refuse(request: Request) -> None:
        request.refuse(status, code)

    server = serve(script(refuse, once, refuse))
    async with connect(server) as client:
        with pytest.raises(expected):
            await client.events().__aenter__()
        async with client.events() as events:
            assert await anext(events) == Snapshot(())
            with pytest.raises(expected):
                await anext(events)
    assert len(server.seen) == 3


@pytest.mark.parametrize(
    "nonsense",
    [
        TextMessage("no json"),
        TextMessage('{"type": "containers", "data": [{"id": 1}]}'),
        TextMessage('{"type": "container_status", "data": {}}'),
        BytesMessage(b"\x00"),
    ],
)
async def test_what_is_not_of_the_api_is_told(serve: Serve, connect: Connect, nonsense: Any) -> None:
    """What cannot be read ends in InvalidAnswer rather than in a reconnect that would meet it again."""

    def handle(request: Request) -> None:
        socket = request.upgrade()
        socket.send(nonsense)
        socket.serve_until_closed()

    async with connect(serve(handle)) as client, client.events() as events:
        with pytest.raises(ecompute.InvalidAnswer):
            await events.receive(LIMIT)


async def test_broken_frames_are_told(serve: Serve, connect: Connect) -> None:
    """So are frames that break the WebSocket protocol."""

    def handle(request: Request) -> None:
        socket = request.upgrade()
        socket.wire.send(b"\xff" * 20)
        socket.serve_until_closed()

    async with connect(serve(handle)) as client, client.events() as events:
        with pytest.raises(ecompute.InvalidAnswer):
            await events.receive(LIMIT)


@pytest.mark.parametrize(
    "answer",
    [
        lambda r: r.answer({}),
        lambda r: r.wire.send(b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"),
        lambda r: r.wire.send(b"HTTP/1.1 101 X\r\nUpgrade: tls\r\nConnection: Upgrade\r\n\r\n"),
        lambda r: r.upgrade("not.offered"),
    ],
)
async def test_a_handshake_that_is_none(serve: Serve, connect: Connect, answer: Any) -> None:
    """A server that does not agree to a WebSocket is told as such, and its connection closed."""
    server = serve(answer)
    async with connect(server) as client:
        with pytest.raises(ecompute.InvalidAnswer):
            await client.events().__aenter__()
    server.wait_idle()


async def test_pings_are_answered_while_the_caller_is_busy(serve: Serve, connect: Connect) -> None:
    """A caller that does not look at its events keeps its connection all the same."""
    answered = threading.Event()

    def handle(request: Request) -> None:
        socket = request.upgrade()
        socket.snapshot(a="pending")
        for payload in (b"1", b"2"):
            socket.send(Ping(payload))
            assert socket.receive() == Pong(payload)
        answered.set()
        socket.serve_until_closed()

    async with connect(serve(handle)) as client, client.events():
        assert await anyio.to_thread.run_sync(answered.wait, LIMIT)


async def test_a_caller_that_falls_far_behind(serve: Serve, connect: Connect) -> None:
    """Changes nobody takes do not pile up; the last state is told."""
    flooded = threading.Event()

    def handle(request: Request) -> None:
        socket = request.upgrade()
        socket.snapshot(a="pending")
        for turn in range(5000):
            socket.status("a", f"s{turn}")
        socket.send(Ping())
        assert isinstance(socket.receive(), Pong)
        flooded.set()
        socket.serve_until_closed()

    async with connect(serve(handle)) as client, client.events() as events:
        assert await anyio.to_thread.run_sync(flooded.wait, LIMIT)
        assert isinstance(await anext(events), Snapshot)
        assert await anext(events) == StatusChanged("a", "s4999", "pending")


async def test_waiting_for_an_event_has_a_deadline(serve: Serve, connect: Connect) -> None:
    """A receive that gives up loses nothing."""
    asked = threading.Event()

    def handle(request: Request) -> None:
        socket = request.upgrade()
        socket.snapshot(a="pending")
        assert asked.wait(LIMIT)
        socket.status("a", "running")
        socket.serve_until_closed()

    async with connect(serve(handle)) as client, client.events() as events:
        await events.receive(LIMIT)
        with pytest.raises(ecompute.DeadlineExceeded):
            await events.receive(0.001)
        asked.set()
        assert await events.receive(LIMIT) == StatusChanged("a", "running", "pending")


async def test_closing_ends_an_iteration(serve: Serve, connect: Connect) -> None:
    """Another task or thread may close a feed that somebody waits on."""

    def handle(request: Request) -> None:
        socket = request.upgrade()
        socket.snapshot()
        socket.serve_until_closed()

    told = []
    async with connect(serve(handle)) as client, client.events() as events:
        async with anyio.create_task_group() as tasks:

            async def listen() -> None:
                async for event in events:
                    told.append(event)
                    tasks.start_soon(events.aclose)

            tasks.start_soon(listen)
        with pytest.raises(ecompute.Closed):
            await events.receive()
    assert told == [Snapshot(())]


async def test_closing_the_client_ends_its_feeds(serve: Serve, connect: Connect) -> None:
    """Whoever waits on a feed or a terminal of a closed client is told, and nothing is left open."""

    def handle(request: Request) -> None:
        socket = request.upgrade()
        if request.path == "/compute/ws":
            socket.snapshot()
        socket.serve_until_closed()

    server = serve(handle)
    client = connect(server)
    async with client.events() as events, client.terminal("a") as terminal:
        await events.receive(LIMIT)
        async with anyio.create_task_group() as tasks:

            async def listen() -> None:
                assert [event async for event in events] == []

            async def read() -> None:
                assert await terminal.read() == b""

            tasks.start_soon(listen)
            tasks.start_soon(read)
            await client.aclose()
    server.wait_idle()


async def test_a_feed_is_entered_once(serve: Serve, connect: Connect) -> None:
    """Use before entering and entering twice say what to do."""

    def handle(request: Request) -> None:
        request.upgrade().serve_until_closed()

    async with connect(serve(handle)) as client:
        events = client.events()
        with pytest.raises(ecompute.Closed, match=r"with client\.events"):
            await events.receive()
        async with events:
            with pytest.raises(ecompute.Closed):
                await events.__aenter__()


async def test_the_callers_exception_leaves_as_it_is(serve: Serve, connect: Connect) -> None:
    """No exception group, no disguise; and the connection is closed."""

    def handle(request: Request) -> None:
        request.upgrade().serve_until_closed()

    server = serve(handle)
    async with connect(server) as client:
        with pytest.raises(ZeroDivisionError):
            async with client.events():
                raise ZeroDivisionError
        server.wait_idle()


async def test_a_server_that_never_agrees_to_close(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The closing handshake has a time limit."""
    for module in ("connection", "async_connection"):
        monkeypatch.setattr(f"ecompute.{module}.CLOSE_WITHIN", 0.05)

    def handle(request: Request) -> None:
        socket = request.upgrade()
        while True:
            socket.wire.receive()

    server = serve(handle)
    async with connect(server) as client:
        async with client.events():
            pass
        server.wait_idle()


async def test_many_reconnects_leave_nothing(serve: Serve, connect: Connect) -> None:
    """Connections that break are given back, threads and tasks end."""

    def handle(request: Request) -> None:
        socket = request.upgrade()
        socket.snapshot(a=str(len(server.seen)))
        if len(server.seen) <= 200:
            socket.wire.drop()
        socket.serve_until_closed()

    server = serve(handle)
    async with connect(server) as client:
        await anyio.to_thread.run_sync(len, "")  # the worker thread of the sync face is no leak
    before = len(list(Path("/proc/self/fd").iterdir()))
    async with connect(server) as client, client.events() as events:
        while True:
            event = await events.receive(LIMIT)
            if isinstance(event, StatusChanged) and event.status == "201":
                break
        ours = [t for t in threading.enumerate() if t.name.startswith("ecompute")]
        assert len(ours) <= 1
        assert server.open_connections() == 1
    server.wait_idle()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_a_cancelled_wait_loses_nothing(serve: Serve, anyio_backend: str) -> None:
    """Cancelling leaves the feed usable, and leaving it afterwards is quick."""
    asked = threading.Event()

    def handle(request: Request) -> None:
        socket = request.upgrade()
        socket.snapshot(a="pending")
        assert asked.wait(LIMIT)
        socket.status("a", "running")
        socket.serve_until_closed()

    server = serve(handle)
    async with ecompute.AsyncClient("t", server.url) as client:
        with anyio.CancelScope() as scope:
            async with client.events() as events:
                await anext(events)
                with anyio.move_on_after(0.001):
                    await anext(events)
                asked.set()
                assert await events.receive(LIMIT) == StatusChanged("a", "running", "pending")
                scope.cancel()
                await anext(events)
        assert scope.cancelled_caught
        server.wait_idle()
