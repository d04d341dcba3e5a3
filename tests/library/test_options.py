"""Clients derived from others: other settings, the same connections."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

import ecompute
from ecompute import Hooks, Retries

from .conftest import InThread, script
from .fake_server import LIMIT, FakeServer, Request

pytestmark = pytest.mark.anyio

Serve = Callable[..., FakeServer]
Connect = Callable[..., Any]

EMPTY: dict[str, list[object]] = {"containers": []}


def derive(client: Any, **options: Any) -> Any:
    """`with_options` behind the face of the kind."""
    if isinstance(client, InThread):
        return InThread(client.target.with_options(**options))
    return client.with_options(**options)


def feed(request: Request) -> None:
    socket = request.upgrade()
    socket.snapshot(a="running")
    socket.serve_until_closed()


async def test_the_connections_are_shared(serve: Serve, connect: Connect) -> None:
    """One connection carries the requests of both, each with its own token."""
    server = serve(lambda r: r.answer(EMPTY))
    async with connect(server) as client:
        other = derive(client, token="other")
        await client.containers.list()
        await other.containers.list()
        await derive(other, timeout=5).containers.list()
        assert server.open_connections() == 1
    sent = [request.headers["authorization"] for request in server.seen]
    assert sent == ["Bearer t0ken", "Bearer other", "Bearer other"]
    server.wait_idle()


async def test_what_is_not_given_stays(serve: Serve, connect: Connect) -> None:
    """Each option for itself, and the first client is as it was."""
    events: list[str] = []
    hooks = Hooks(request=lambda event: events.append("first"))
    server = serve(lambda r: r.refuse(503, "unavailable"))
    async with connect(server, hooks=hooks, retries=Retries(attempts=2, first=0)) as client:
        once = derive(client, retries=Retries(attempts=1))
        loud = derive(client, hooks=Hooks(request=lambda event: events.append("second")))
        for one, tries, expected in ((once, 1, "first"), (loud, 2, "second"), (client, 2, "first")):
            with pytest.raises(ecompute.Unavailable):
                await one.containers.list()
            assert events == [expected] * tries
            assert one.stats.requests == tries
            events.clear()


async def test_another_time_limit(serve: Serve, connect: Connect) -> None:
    """It holds for the derived client only."""
    released = threading.Event()
    server = serve(script(lambda r: released.wait(LIMIT), lambda r: r.answer(EMPTY)))
    async with connect(server) as client:
        with pytest.raises(ecompute.DeadlineExceeded, match=r"within 0.2 seconds"):
            await derive(client, timeout=0.2).containers.list()
        assert await client.containers.list() == []
    released.set()


async def test_closing_the_derived_client_leaves_the_first(serve: Serve, connect: Connect) -> None:
    """Its own feeds end, the connections stay."""
    server = serve(lambda r: feed(r) if r.path.endswith("/ws") else r.answer(EMPTY))
    async with connect(server) as client, client.events() as kept:
        await anext(aiter(kept))
        other = derive(client)
        async with other.events() as events:
            await anext(aiter(events))
            await other.aclose()
            with pytest.raises(StopAsyncIteration):
                await anext(aiter(events))
        with pytest.raises(ecompute.Closed):
            await other.containers.list()
        with pytest.raises(ecompute.Closed):
            await derive(other).containers.list()
        assert await client.containers.list() == []
        assert kept is not None
    server.wait_idle()


async def test_closing_the_first_client_closes_all(serve: Serve, connect: Connect) -> None:
    """Also what a derived client has opened that nobody holds any more."""
    server = serve(lambda r: feed(r) if r.path.endswith("/ws") else r.answer(EMPTY))
    client = connect(server)
    other = derive(client)
    await other.containers.list()
    async with derive(client, timeout=5).events() as events:
        await anext(aiter(events))
        await client.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(aiter(events))
    for one in (other, derive(client)):
        with pytest.raises(ecompute.Closed):
            await one.containers.list()
    await other.aclose()
    server.wait_idle()


async def test_keys_are_known_to_be_honoured_by_all(serve: Serve, connect: Connect) -> None:
    """What one client has learned of the server, the other need not ask."""
    created = {"id": "abc12345", "name": "box", "status": "creating"}
    server = serve(
        script(
            lambda r: r.answer(EMPTY, Idempotency_Supported="true"),
            lambda r: r.wire.drop(),
            lambda r: r.answer(created, Idempotency_Supported="true"),
        )
    )
    async with connect(server) as client:
        other = derive(client, timeout=LIMIT)
        await client.containers.list()
        assert (await other.containers.create("box", [1])).id == "abc12345"
    assert [request.method for request in server.seen] == ["GET", "POST", "POST"]


async def test_wrong_options_are_told(serve: Serve, connect: Connect) -> None:
    """A malformed one by its name, one that the connections have by the signature."""
    async with connect("http://localhost:1") as client:
        for name in ("timeout", "connect_timeout", "read_timeout", "write_timeout"):
            with pytest.raises(ecompute.InvalidArgument, match=f"^{name} must be"):
                derive(client, **{name: 0})
        with pytest.raises(ecompute.InvalidArgument, match="The token must be"):
            derive(client, token="s3cret s3cret")
        for name in ("verify", "proxy", "base_url", "cert"):
            with pytest.raises(TypeError, match=name):
                derive(client, **{name: None})


def test_a_subclass_stays_one() -> None:
    """With what it has added to itself."""

    class Mine(ecompute.Client):
        colour = "blue"

    with Mine("t", "http://x") as client:
        client.colour = "red"
        derived = client.with_options(timeout=1)
        assert (type(derived), derived.colour) == (Mine, "red")
        assert derived.containers is not client.containers
