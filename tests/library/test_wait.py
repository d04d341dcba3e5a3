"""`containers.wait` over a socket: by events, over lost connections, with every way to fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import ecompute

from .conftest import script
from .fake_server import LIMIT, FakeServer, Request

pytestmark = pytest.mark.anyio

Serve = Callable[..., FakeServer]
Connect = Callable[..., Any]


async def test_it_waits_by_events_and_looks_once(serve: Serve, connect: Connect) -> None:
    """One feed, then one GET, whose answer is returned."""

    def feed(request: Request) -> None:
        socket = request.upgrade()
        socket.snapshot(b="running", a="pending")
        socket.status("b", "stopped")
        socket.status("a", "initializing")
        socket.status("a", "running")
        socket.serve_until_closed()

    def look(request: Request) -> None:
        assert request.target == "/compute/containers/a"
        request.answer({"id": "a", "name": "a", "status": "running", "external_ip": "127.77.0.2"})

    server = serve(script(feed, look))
    async with connect(server) as client:
        box = await client.containers.wait("a", "running", timeout=LIMIT)
        assert box.external_ip == "127.77.0.2"
    server.wait_idle()


async def test_it_is_there_already(serve: Serve, connect: Connect) -> None:
    """The snapshot may be enough; a status that this version does not know can be waited for."""

    def feed(request: Request) -> None:
        socket = request.upgrade()
        socket.snapshot(a="hibernating")
        socket.serve_until_closed()

    server = serve(script(feed, lambda r: r.answer({"id": "a", "name": "a", "status": "hibernating"})))
    async with connect(server) as client:
        assert (await client.containers.wait("a", "hibernating")).status == "hibernating"


async def test_it_goes_on_over_a_lost_connection(serve: Serve, connect: Connect) -> None:
    """The change may happen while nobody listens."""
    statuses = iter(["pending", "pending", "running"])

    def handle(request: Request) -> None:
        if request.target != "/compute/ws":
            request.answer({"id": "a", "name": "a", "status": "running"})
            return
        socket = request.upgrade()
        socket.snapshot(a=next(statuses, "running"))
        socket.wire.drop()

    async with connect(serve(handle)) as client:
        assert (await client.containers.wait("a", timeout=LIMIT)).status == "running"
        assert client.stats.reconnects >= 2


async def test_a_container_that_fails(serve: Serve, connect: Connect) -> None:
    """The reason comes with the error; waiting for `failed` itself is no failure."""

    def handle(request: Request) -> None:
        if request.target != "/compute/ws":
            request.answer({"id": "a", "name": "a", "status": "failed"})
            return
        socket = request.upgrade()
        socket.snapshot(a="pending")
        socket.status("a", "failed", status_reason="The kernel panicked.")
        socket.serve_until_closed()

    async with connect(serve(handle)) as client:
        with pytest.raises(ecompute.ContainerFailed) as caught:
            await client.containers.wait("a", timeout=LIMIT)
        assert (caught.value.container_id, caught.value.reason) == ("a", "The kernel panicked.")
        assert "The kernel panicked." in str(caught.value)
        assert (await client.containers.wait("a", "failed", timeout=LIMIT)).status == "failed"


async def test_a_container_that_is_not_there(serve: Serve, connect: Connect) -> None:
    """One that never was and one that is deleted meanwhile are NotFound."""

    def handle(request: Request) -> None:
        if request.target != "/compute/ws":
            request.refuse(404, "not_found")
            return
        socket = request.upgrade()
        socket.snapshot(a="pending")
        socket.tell("container_deleted", {"container_id": "a"})
        socket.serve_until_closed()

    async with connect(serve(handle)) as client:
        for id_ in ("zzz", "a"):
            with pytest.raises(ecompute.NotFound) as caught:
                await client.containers.wait(id_, timeout=LIMIT)
            assert caught.value.status == 404


async def test_it_takes_too_long(serve: Serve, connect: Connect) -> None:
    """The error tells what was seen last."""

    def feed(request: Request) -> None:
        socket = request.upgrade()
        socket.snapshot(a="pending")
        socket.serve_until_closed()

    async with connect(serve(feed)) as client:
        with pytest.raises(ecompute.DeadlineExceeded) as caught:
            await client.containers.wait("a", timeout=1)
    assert caught.value.last_status == "pending"
    assert "pending" in str(caught.value)
