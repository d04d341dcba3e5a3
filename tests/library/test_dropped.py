"""Feeds and views of the sync client that nobody holds any more, and that nobody has closed."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

import ecompute

from .fake_server import LIMIT, FakeServer, Request, Socket
from .held import Held, held

Serve = Callable[..., FakeServer]

COUNT = 5


def feeds(*openings: Callable[[Request], Socket]) -> Callable[[Request], None]:
    """Opens a feed with one container in each of these ways, and from then on as usual; the first of these
    breaks off at once. Calls are answered on connections that are not kept.
    """
    left = list(openings)

    def handle(request: Request) -> None:
        if request.path.endswith("/terminal"):
            request.upgrade().serve_until_closed()
            return
        if not request.path.endswith("/ws"):
            request.answer({"id": "a", "name": "a", "status": "running"}, Connection="close")
            request.wire.drop()
        feed = left.pop(0)(request) if left else request.upgrade()
        feed.snapshot(a="running")
        if openings and len(left) == len(openings) - 1:
            feed.wire.drop()
        feed.serve_until_closed()

    return handle


def wait_until_within(most: Held, server: FakeServer) -> None:
    """Until no more than this is held: the library's threads end by themselves, and the server's thereby."""
    gc.collect()
    for thread in threading.enumerate():
        if thread.name.startswith("ecompute"):
            thread.join(LIMIT)
    server.wait_idle()
    assert held().is_within(most)


def events_of(client: ecompute.Client) -> Any:
    events = client.events().__enter__()
    assert isinstance(events.receive(LIMIT), ecompute.Snapshot)
    return events


def watch_of(client: ecompute.Client) -> Any:
    watch = client.watch().__enter__()
    assert list(watch) == ["a"]
    return watch


def terminal_of(client: ecompute.Client) -> Any:
    return client.terminal("a").__enter__()


@pytest.mark.parametrize("make", [events_of, watch_of, terminal_of])
def test_what_is_dropped_ends(serve: Serve, make: Callable[[ecompute.Client], Any]) -> None:
    """Its threads and sockets are given back when it is collected, while its client goes on."""
    server = serve(feeds())
    with ecompute.Client("t", server.url, verify=False) as client:
        before = held()
        kept = [make(client) for _ in range(COUNT)]
        assert held().threads >= before.threads + COUNT
        refs = [weakref.ref(one) for one in kept]
        kept.clear()
        wait_until_within(before, server)
        assert [ref() for ref in refs] == [None] * COUNT
        assert client.containers.get("a").status == "running"


@pytest.mark.parametrize("make", [events_of, watch_of])
def test_what_is_dropped_in_a_circle_ends(serve: Serve, make: Callable[[ecompute.Client], Any]) -> None:
    """It is found by the collector, even where that comes while its own lock is held."""
    server = serve(feeds())
    with ecompute.Client("t", server.url, verify=False) as client:
        before = held()
        one = make(client)
        changed = one._changed
        circle: list[Any] = [one]
        circle.append(circle)
        del one, circle
        with changed:
            gc.collect()
        wait_until_within(before, server)


@pytest.mark.parametrize("make", [events_of, watch_of])
def test_what_is_dropped_after_it_came_back(serve: Serve, make: Callable[[ecompute.Client], Any]) -> None:
    """The connection that it has then ends too."""
    back = threading.Event()

    def again(request: Request) -> Socket:
        back.set()
        return request.upgrade()

    server = serve(feeds(Request.upgrade, again))
    with ecompute.Client("t", server.url, verify=False) as client:
        before = held()
        one = make(client)
        # a feed comes back when it is asked, a view by itself
        while make is events_of and not back.is_set():
            with suppress(ecompute.DeadlineExceeded):
                one.receive(0.1)
        assert back.wait(LIMIT)
        del one
        wait_until_within(before, server)


def test_a_view_that_is_dropped_while_it_comes_back(serve: Serve) -> None:
    """It does not stay."""
    tried, released = threading.Event(), threading.Event()

    def late(request: Request) -> Socket:
        tried.set()
        assert released.wait(LIMIT)
        return request.upgrade()

    server = serve(feeds(Request.upgrade, late))
    with ecompute.Client("t", server.url, verify=False) as client:
        before = held()
        one = client.watch().__enter__()
        assert tried.wait(LIMIT)
        del one
        gc.collect()
        released.set()
        wait_until_within(before, server)
        assert sum(request.path.endswith("/ws") for request in server.seen) == 2


@pytest.mark.parametrize("make", [events_of, watch_of])
def test_what_is_held_goes_on(serve: Serve, make: Callable[[ecompute.Client], Any]) -> None:
    """The collector takes nothing from those who hold it, and a close afterwards is one as always."""
    server = serve(feeds())
    with ecompute.Client("t", server.url, verify=False) as client:
        one = make(client)
        gc.collect()
        assert "open" in repr(one) or list(one) == ["a"]
        one.close()
        del one
        gc.collect()
        server.wait_idle()
