"""The live view over a socket: reading, following, coming back, and ends that are told."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

import anyio
import pytest

import ecompute
from ecompute import Container

from .conftest import InThread, script
from .fake_server import LIMIT, FakeServer, Request, Socket

pytestmark = pytest.mark.anyio

Serve = Callable[..., FakeServer]
Connect = Callable[..., Any]
View = Mapping[str, Container]


def reading(view: Any) -> Any:
    """The mapping itself: reading is no call that waits."""
    return view.target if isinstance(view, InThread) else view


def full(id_: str, status: str, **more: Any) -> dict[str, Any]:
    return {"id": id_, "name": f"box {id_}", "status": status, "hostname": f"{id_}.x", **more}


def listing(request: Request, *boxes: dict[str, Any]) -> Socket:
    assert request.target == "/compute/ws"
    socket = request.upgrade()
    socket.tell("containers", [*boxes])
    return socket


def statuses(view: View) -> dict[str, str]:
    return {id_: box.status for id_, box in view.items()}


def is_(**wanted: str) -> Callable[[View], bool]:
    return lambda view: statuses(view) == wanted


async def test_a_view_is_a_mapping(serve: Serve, connect: Connect) -> None:
    """Newest first, from the first moment on."""

    def handle(request: Request) -> None:
        listing(request, full("b", "running"), full("a", "stopped")).serve_until_closed()

    server = serve(handle)
    async with connect(server) as client, client.watch() as entered:
        view = reading(entered)
        assert [*view] == ["b", "a"]
        assert [*view.keys()] == ["b", "a"]
        assert len(view) == 2
        assert view["a"].status == "stopped"
        assert view.get("z") is None
        assert "b" in view
        assert "z" not in view
        assert [c.id for c in view.containers] == [c.id for c in view.values()] == ["b", "a"]
        assert dict(view.items()) == {"b": view["b"], "a": view["a"]}
        with pytest.raises(KeyError):
            view["z"]
        assert view == view
        assert view != dict(view)
        assert len({view}) == 1
    server.wait_idle()


async def test_it_follows_the_feed(serve: Serve, connect: Connect) -> None:
    """Status and address at once, the rest of a new or changed container by one look at it."""

    def handle(request: Request) -> None:
        if request.target == "/compute/containers/b":
            request.answer(full("b", "pending", memory_mb=64))
        elif request.target == "/compute/containers/a":
            request.answer(full("a", "running", ssh_host_key="k"))
        else:
            socket = listing(request, full("a", "pending"), full("c", "stopped"))
            socket.status("a", "running", external_ip="127.77.0.2")
            socket.status("b", "pending")
            socket.tell("container_deleted", {"container_id": "c"})
            socket.serve_until_closed()

    server = serve(handle)
    async with connect(server) as client, client.watch() as view:
        await view.wait(is_(b="pending", a="running"), LIMIT)
        await view.wait(lambda view: view["a"].ssh_host_key is not None, LIMIT)
        assert [c.id for c in reading(view).containers] == ["b", "a"]
        assert (reading(view)["b"].name, reading(view)["b"].memory_mb) == ("box b", 64)
        assert reading(view)["a"].external_ip == "127.77.0.2"
    assert sorted(r.target for r in server.seen)[:-1] == ["/compute/containers/a", "/compute/containers/b"]


async def test_it_comes_back(serve: Serve, connect: Connect) -> None:
    """What changed while the connection was away is there after it, in full; reading goes on meanwhile."""
    back = threading.Event()

    def first(request: Request) -> None:
        listing(request, full("a", "pending"), full("c", "pending")).wire.drop()

    def second(request: Request) -> None:
        assert back.wait(LIMIT)
        listing(request, full("b", "pending"), full("a", "running", memory_mb=64)).serve_until_closed()

    server = serve(script(first, lambda r: r.wire.drop(), second))
    async with connect(server) as client, client.watch() as view:
        assert statuses(reading(view)) == {"a": "pending", "c": "pending"}
        back.set()
        await view.wait(is_(b="pending", a="running"), LIMIT)
        assert reading(view)["a"].memory_mb == 64


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [(401, "unauthenticated", ecompute.Unauthenticated), (403, "forbidden", ecompute.Forbidden)],
)
async def test_revoked_access_is_told(
    serve: Serve, connect: Connect, status: int, code: str, expected: type[Exception]
) -> None:
    """Reading what is no longer kept up to date raises why, and so does waiting."""

    def once(request: Request) -> None:
        listing(request, full("a", "pending")).close(1008)

    def refuse(request: Request) -> None:
        request.refuse(status, code)

    server = serve(script(refuse, once, refuse))
    async with connect(server) as client:
        with pytest.raises(expected):
            await client.watch().__aenter__()
        async with client.watch() as view:
            with pytest.raises(expected):
                await view.wait(lambda view: False, LIMIT)
            for read in (lambda v: v["a"], len, list, lambda v: v.get("a"), lambda v: v.containers, dict):
                with pytest.raises(expected):
                    read(reading(view))
    server.wait_idle()


async def test_what_is_not_of_the_api_is_told(serve: Serve, connect: Connect) -> None:
    """A feed that cannot be read ends the view, before and after its first list."""

    def nonsense(request: Request) -> None:
        socket = request.upgrade()
        socket.tell("containers", "none")
        socket.serve_until_closed()

    def later(request: Request) -> None:
        socket = listing(request, full("a", "running"))
        socket.tell("container_status", {})
        socket.serve_until_closed()

    server = serve(script(nonsense, later))
    async with connect(server) as client:
        with pytest.raises(ecompute.InvalidAnswer):
            await client.watch().__aenter__()
        with pytest.raises(ecompute.InvalidAnswer):
            async with client.watch() as view:
                await view.wait(lambda view: False, LIMIT)
    server.wait_idle()


async def test_a_container_that_cannot_be_looked_at(serve: Serve, connect: Connect) -> None:
    """One that is gone is not shown; any other trouble leaves what the feed told."""

    def handle(request: Request) -> None:
        if request.target == "/compute/containers/gone":
            request.refuse(404, "not_found")
        elif request.target == "/compute/containers/odd":
            request.answer(b"<html>")
        else:
            socket = listing(request)
            socket.status("gone", "pending")
            socket.status("odd", "running")
            socket.serve_until_closed()

    async with connect(serve(handle)) as client, client.watch() as view:
        await view.wait(is_(odd="running"), LIMIT)
        assert reading(view)["odd"] == Container("odd", "", "running")


async def test_entering_has_a_deadline(serve: Serve, connect: Connect) -> None:
    """A server that tells no list is not waited for without end."""
    server = serve(lambda r: r.upgrade().serve_until_closed())
    async with connect(server) as client:
        with pytest.raises(ecompute.DeadlineExceeded):
            await client.watch(timeout=0.2).__aenter__()
        server.wait_idle()


async def test_waiting_has_a_deadline(serve: Serve, connect: Connect) -> None:
    """Giving up changes nothing, and the caller's own exception leaves as it is."""

    def handle(request: Request) -> None:
        listing(request, full("a", "pending")).serve_until_closed()

    async with connect(serve(handle)) as client, client.watch() as view:
        with pytest.raises(ecompute.DeadlineExceeded):
            await view.wait(is_(), 0.01)
        with pytest.raises(KeyError):
            await view.wait(lambda view: view["z"].status == "running", LIMIT)
        await view.wait(is_(a="pending"), 0.01)


async def test_a_view_has_a_beginning_and_an_end(serve: Serve, connect: Connect) -> None:
    """Before and after its block reading says so; it is entered once."""

    def handle(request: Request) -> None:
        listing(request, full("a", "running")).serve_until_closed()

    server = serve(handle)
    async with connect(server) as client:
        view = client.watch()
        with pytest.raises(ecompute.Closed, match=r"with client\.watch"):
            len(reading(view))
        async with view:
            with pytest.raises(ecompute.Closed, match="once"):
                await view.__aenter__()
            assert len(reading(view)) == 1
        with pytest.raises(ecompute.Closed):
            len(reading(view))
        server.wait_idle()


async def test_closing_the_client_ends_its_views(serve: Serve, connect: Connect) -> None:
    """Whoever waits is told, and nothing is left open."""

    def handle(request: Request) -> None:
        listing(request, full("a", "running")).serve_until_closed()

    server = serve(handle)
    client = connect(server)
    async with client.watch() as view:
        async with anyio.create_task_group() as tasks:

            async def wait() -> None:
                with pytest.raises(ecompute.Closed):
                    await view.wait(is_())

            tasks.start_soon(wait)
            await client.aclose()
        with pytest.raises(ecompute.Closed):
            reading(view)["a"]
    server.wait_idle()


async def test_the_callers_exception_leaves_as_it_is(serve: Serve, connect: Connect) -> None:
    """No exception group, no disguise; and the connection is closed."""

    def handle(request: Request) -> None:
        listing(request).serve_until_closed()

    server = serve(handle)
    async with connect(server) as client:
        with pytest.raises(ZeroDivisionError):
            async with client.watch():
                raise ZeroDivisionError
        server.wait_idle()


def test_threads_may_read_while_it_changes(serve: Serve) -> None:
    """Every reading sees one moment, however fast they pass."""
    rounds = 300

    def handle(request: Request) -> None:
        if request.target != "/compute/ws":
            request.answer(full(request.target.rpartition("/")[2], "running"))
            return
        socket = listing(request, full("a", "0"), full("b", "0"))
        for turn in range(1, rounds + 1):
            boxes = [full("a", str(turn)), full("b", str(turn))]
            socket.tell("containers", boxes[: 1 + turn % 2])
        socket.serve_until_closed()

    mixed: list[Any] = []
    with ecompute.Client("t", serve(handle).url, verify=False) as client, client.watch() as view:

        def read() -> None:
            while (now := {box.status for box in view.values()}) != {str(rounds)}:
                if len(now) != 1:
                    mixed.append(now)

        readers = [threading.Thread(target=read) for _ in range(3)]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join(LIMIT)
            assert not reader.is_alive()
    assert mixed == []
