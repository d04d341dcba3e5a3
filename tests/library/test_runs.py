"""One async client over several runs of an event loop, as in a program that calls `asyncio.run` twice."""

from __future__ import annotations

import gc
from collections.abc import Callable

import anyio
import httpx
import pytest

import ecompute

from .fake_server import LIMIT, FakeServer
from .listening import two_kinds

Serve = Callable[..., FakeServer]

# asyncio, and the sockets below trio, tell of every connection that was not closed by its loop
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")


async def use(client: ecompute.AsyncClient) -> None:
    """Calls, a feed, a view, and a wait."""
    assert await client.containers.list() == []
    assert await client.containers.list() == []
    async with client.events() as events, client.watch() as view:
        assert isinstance(await events.receive(LIMIT), ecompute.Snapshot)
        assert list(view) == ["a"]
    with pytest.raises(ecompute.DeadlineExceeded):
        await client.containers.wait("a", "stopped", timeout=0.1)
    # its connection is kept
    assert await client.containers.list() == []


@pytest.mark.parametrize("backends", [["asyncio"] * 3, ["trio"] * 3, ["asyncio", "trio", "asyncio"]])
def test_each_run_has_connections_of_its_own(serve: Serve, backends: list[str]) -> None:
    """The client works in each, and leaves nothing open when it goes."""
    server = serve(two_kinds)
    client = ecompute.AsyncClient("t", server.url, verify=False)
    for backend in backends:
        anyio.run(use, client, backend=backend)
    anyio.run(client.aclose, backend=backends[0])
    del client
    gc.collect()
    server.wait_idle()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_closing_in_another_run(serve: Serve, backend: str) -> None:
    """It is closed then, and says so."""
    server = serve(two_kinds)
    client = ecompute.AsyncClient("t", server.url, verify=False)
    anyio.run(client.containers.list, backend=backend)
    anyio.run(client.aclose, backend=backend)
    with pytest.raises(ecompute.Closed):
        anyio.run(client.containers.list, backend=backend)
    gc.collect()
    server.wait_idle()


def test_a_custom_transport() -> None:
    """It is the caller's to be good for several runs; it is closed once, at the end."""
    closed = []

    class Way(httpx.MockTransport):
        async def aclose(self) -> None:
            closed.append(self)

    way = Way(lambda request: httpx.Response(200, json={"containers": []}))
    client = ecompute.AsyncClient("t", "http://x", transport=way)
    for _ in range(2):
        anyio.run(client.containers.list)
    assert closed == []
    anyio.run(client.aclose)
    assert closed == [way]
