"""Many who wait: one feed for all, none for nobody, and ways without any."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import anyio
import pytest

import ecompute

from .fake_server import LIMIT, FakeServer, Request, Socket

pytestmark = pytest.mark.anyio

Serve = Callable[..., FakeServer]
Connect = Callable[..., Any]

FEED = "/compute/ws"


class Api:
    """Containers whose statuses the test moves, with a feed that tells of it."""

    def __init__(self, **statuses: str) -> None:
        self.statuses = statuses
        self.feeds: list[Socket] = []
        self.opened = 0
        self.log: list[str] = []
        self.refuses_feed: tuple[int, str] | None = None
        self._changed = threading.Condition()

    def __call__(self, request: Request) -> None:
        with self._changed:
            self.log.append(f"{request.method} {request.target}")
            self._changed.notify_all()
        id_ = request.target.removeprefix("/compute/containers/")
        if request.target == FEED:
            self._feed(request)
        elif request.method == "POST" and request.target == "/compute/containers":
            self.statuses["new"] = self.statuses.pop("boots", "running")
            request.answer({"id": "new", "name": "new", "status": "pending"})
        elif request.method == "POST":
            request.answer({"id": id_.partition("/")[0], "name": "x", "status": "pending"})
        elif request.method == "DELETE":
            gone = self.statuses.pop(id_, None)
            request.answer({"status": "ok"}) if gone else request.refuse(404, "not_found")
        elif id_ in self.statuses:
            request.answer({"id": id_, "name": id_, "status": self.statuses[id_]})
        else:
            request.refuse(404, "not_found")

    def _feed(self, request: Request) -> None:
        if self.refuses_feed is not None:
            request.refuse(*self.refuses_feed)
            return
        socket = request.upgrade()
        socket.snapshot(**self.statuses)
        with self._changed:
            self.feeds.append(socket)
            self.opened += 1
            self._changed.notify_all()
        try:
            socket.serve_until_closed()
        finally:
            with self._changed:
                self.feeds.remove(socket)
                self._changed.notify_all()

    def until(self, ready: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(ready, LIMIT)

    def move(self, id_: str, status: str, **more: str) -> None:
        self.statuses[id_] = status
        for socket in [*self.feeds]:
            socket.status(id_, status, **more)


async def in_thread(function: Callable[..., Any], *args: Any) -> None:
    await anyio.to_thread.run_sync(function, *args)


async def test_all_share_one_feed(serve: Serve, connect: Connect) -> None:
    """However many wait, there is one feed; it is open only while somebody does."""
    api = Api(a="pending", b="pending", c="pending")
    found = []
    async with connect(serve(api)) as client:

        async def wait(id_: str) -> None:
            found.append((await client.containers.wait(id_, timeout=LIMIT)).id)

        async with anyio.create_task_group() as tasks:
            for id_ in ("a", "b", "c"):
                tasks.start_soon(wait, id_)
            await in_thread(api.until, lambda: bool(api.feeds))
            before = client.stats.requests
            for id_ in ("a", "b"):
                await in_thread(api.move, id_, "initializing")
            assert client.stats.requests == before
            for id_ in ("a", "b", "c"):
                await in_thread(api.move, id_, "running")
        await in_thread(api.until, lambda: not api.feeds)
        assert sorted(found) == ["a", "b", "c"]
        assert client.stats.channels == api.opened
        # each looked at once, when it was there
        assert client.stats.requests <= 3 + api.log.count("GET " + FEED)


async def test_waiting_asks_nothing(serve: Serve, connect: Connect) -> None:
    """One feed is opened, and one look follows the event: no request in between, as the statistics say."""
    api = Api(a="pending")
    async with connect(serve(api)) as client, anyio.create_task_group() as tasks:
        stats = []

        async def wait() -> None:
            stats.append(client.stats)
            await client.containers.wait("a", timeout=LIMIT)
            stats.append(client.stats)

        tasks.start_soon(wait)
        await in_thread(api.until, lambda: bool(api.feeds))
        stats.append(client.stats)
        await in_thread(api.move, "a", "running")
    # before, while it waits, after
    assert [s.requests for s in stats] == [0, 0, 1]
    assert [s.channels for s in stats] == [0, 1, 1]


async def test_all_of_several(serve: Serve, connect: Connect) -> None:
    """In the order that was asked for; a container may stand for its id; none at all is no wait."""
    api = Api(a="running", b="pending")
    async with connect(serve(api)) as client, anyio.create_task_group() as tasks:
        assert await client.containers.wait_all([]) == []
        box = await client.containers.get("a")

        async def finish() -> None:
            await in_thread(api.until, lambda: bool(api.feeds))
            await in_thread(api.move, "b", "running")

        tasks.start_soon(finish)
        found = await client.containers.wait_all(["b", box], timeout=LIMIT)
        assert [(c.id, c.status) for c in found] == [("b", "running"), ("a", "running")]


async def test_one_that_fails_ends_it(serve: Serve, connect: Connect) -> None:
    """The others are waited for no longer."""
    api = Api(a="pending", b="failed")
    async with connect(serve(api)) as client:
        with pytest.raises(ecompute.ContainerFailed) as caught:
            await client.containers.wait_all(["a", "b"], timeout=LIMIT)
        assert caught.value.container_id == "b"
        await in_thread(api.until, lambda: not api.feeds)


async def test_one_who_leaves_takes_nobody_along(serve: Serve, connect: Connect) -> None:
    """The first to wait, who opened the feed, may be gone before the second."""
    api = Api(a="pending", b="pending")
    async with connect(serve(api)) as client, anyio.create_task_group() as tasks:

        async def first() -> None:
            with pytest.raises(ecompute.DeadlineExceeded):
                await client.containers.wait("a", timeout=0.3)
            await in_thread(api.move, "b", "running")

        tasks.start_soon(first)
        await in_thread(api.until, lambda: bool(api.feeds))
        assert (await client.containers.wait("b", timeout=LIMIT)).status == "running"
    assert api.opened == 1


@pytest.mark.parametrize(
    "refusal", [(403, "forbidden"), (404, "not_found"), (405, "method_not_allowed"), (426, "")]
)
async def test_without_a_feed_it_looks(serve: Serve, connect: Connect, refusal: tuple[int, str]) -> None:
    """A token with too narrow a scope can wait all the same; the feed is asked for once."""
    api = Api(a="running")
    api.refuses_feed = refusal
    async with connect(serve(api)) as client:
        for _ in range(2):
            assert (await client.containers.wait("a", timeout=LIMIT)).status == "running"
        with pytest.raises(ecompute.NotFound):
            await client.containers.wait("z", timeout=LIMIT)
    assert api.log.count("GET " + FEED) == 1


async def test_created_and_waited_for(serve: Serve, connect: Connect) -> None:
    """`create` and `start` can wait by themselves."""
    async with connect(serve(Api(boots="running"))) as client:
        box = await client.containers.create("new", 1, wait=True)
        assert box.status == "running"
        assert (await client.containers.start(box, wait=True, timeout=LIMIT)).status == "running"


@pytest.mark.parametrize("cleans_up", [True, False])
async def test_created_and_failed(serve: Serve, connect: Connect, cleans_up: bool) -> None:
    """What failed is deleted if that was asked for."""
    api = Api(boots="failed")
    async with connect(serve(api)) as client:
        with pytest.raises(ecompute.ContainerFailed):
            await client.containers.create("new", [1], wait=True, delete_on_failure=cleans_up)
    assert ("new" in api.statuses) is not cleans_up


async def test_a_clean_up_that_fails_is_told(serve: Serve, connect: Connect) -> None:
    """As a note of what went wrong first."""
    api = Api(boots="failed")
    api_call = api.__call__

    def handle(request: Request) -> None:
        if request.method == "DELETE":
            request.refuse(500, "internal")
        else:
            api_call(request)

    async with connect(serve(handle)) as client:
        with pytest.raises(ecompute.ContainerFailed) as caught:
            await client.containers.create("new", [1], wait=True, delete_on_failure=True)
    (note,) = caught.value.__notes__
    assert note.startswith("Container new is left")


async def test_a_client_that_is_closed(serve: Serve, connect: Connect) -> None:
    """Who waits by it is told."""
    api = Api(a="pending")
    async with anyio.create_task_group() as tasks:
        client = connect(serve(api))
        caught = []

        async def wait() -> None:
            with pytest.raises(ecompute.Error) as error:
                await client.containers.wait("a", timeout=LIMIT)
            caught.append(error.value)

        tasks.start_soon(wait)
        await in_thread(api.until, lambda: bool(api.feeds))
        await client.aclose()
    assert isinstance(caught[0], ecompute.Closed)


async def test_a_wait_that_is_cancelled(serve: Serve, kind: str) -> None:
    """The feed ends with it."""
    api = Api(a="pending")
    async with ecompute.AsyncClient("t", serve(api).url, verify=False) as client:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.containers.wait, "a")
            await in_thread(api.until, lambda: bool(api.feeds))
            tasks.cancel_scope.cancel()
        await in_thread(api.until, lambda: not api.feeds)


@pytest.mark.parametrize("tidy", [False, True])
async def test_a_short_time_is_for_creating_and_waiting(serve: Serve, connect: Connect, tidy: bool) -> None:
    """It is not stretched, and the sentence tells it as it was given."""
    server = serve(Api(boots="pending"))
    async with connect(server) as client:
        with pytest.raises(ecompute.DeadlineExceeded, match=r"not yet running after 0\.3 seconds"):
            await client.containers.create("x", 1, wait=True, timeout=0.3, delete_on_failure=tidy)


async def test_who_may_not_wait_learns_what_was_made(serve: Serve, connect: Connect) -> None:
    """The error is about the waiting; a note says that the container is there."""
    api = Api()
    api.refuses_feed = (403, "forbidden")

    def narrow(request: Request) -> None:
        if request.method == "GET":
            request.refuse(403, "forbidden")
        else:
            api(request)

    async with connect(serve(narrow)) as client:
        with pytest.raises(ecompute.Forbidden) as caught:
            await client.containers.create("x", 1, wait=True)
    assert caught.value.__notes__ == ["Container new was made and is left: only waiting for it has failed."]
