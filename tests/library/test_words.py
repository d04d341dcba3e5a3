"""What messages and reprs say, in the caller's own terms, and what they never say."""

from __future__ import annotations

import traceback
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import ecompute

from .conftest import InThread
from .fake_server import LIMIT, FakeServer, Request

pytestmark = pytest.mark.anyio

Serve = Callable[..., FakeServer]
Connect = Callable[..., Any]

Call = Callable[[Any, Any], Awaitable[Any]]

WITH_IDS: dict[str, Call] = {
    "containers.get": lambda client, id_: client.containers.get(id_),
    "containers.start": lambda client, id_: client.containers.start(id_),
    "containers.wait": lambda client, id_: client.containers.wait(id_),
    "ingress.remove": lambda client, id_: client.ingress.remove(id_, 80),
    "tokens.delete": lambda client, id_: client.tokens.delete(id_),
    "run": lambda client, id_: client.run(id_, "true"),
}


@pytest.mark.parametrize("name", WITH_IDS)
async def test_a_token_is_not_sent_as_an_id(serve: Serve, connect: Connect, name: str) -> None:
    """It would end up in the logs of everybody on its way; the error does not hold it either."""
    server = serve(lambda r: r.refuse(404, "not_found"))
    async with connect(server) as client:
        for token in ("ecloud_s3cret", "eyJhbGci.eyJzM2NyZXQi.s3cret"):
            with pytest.raises(ecompute.InvalidArgument) as caught:
                await WITH_IDS[name](client, token)
            assert str(caught.value) == f"{name} was not sent: id is a token itself, not its id."
            shown = repr(caught.value) + repr(vars(caught.value))
            shown += "".join(traceback.format_exception(caught.value))
            assert "s3cret" not in shown
    assert server.seen == []


async def test_a_terminal_takes_no_token_either(serve: Serve, connect: Connect) -> None:
    """It is told at once, before entering."""
    async with connect(serve(lambda r: None)) as client:
        with pytest.raises(ecompute.InvalidArgument, match="terminal was not sent: id is a token itself"):
            client.terminal("ecloud_s3cret")


async def test_each_mistake_is_told_once(serve: Serve, connect: Connect) -> None:
    """One fault for one argument, beside those of the others."""
    other = ecompute.Token("a", "a", {})
    async with connect(serve(lambda r: None)) as client:
        with pytest.raises(ecompute.InvalidArgument) as key:
            await client.ssh_keys.delete("laptop")
        with pytest.raises(ecompute.InvalidArgument) as port:
            await client.ingress.remove(other, "80")
    assert str(key.value) == "ssh_keys.delete was not sent: id must be an integer."
    assert str(port.value) == (
        "ingress.remove was not sent: id is another kind of thing, port must be an integer."
    )


async def entered(context: Any) -> None:
    async with context:
        raise AssertionError("This was to be refused.")


CALLS: dict[str, Callable[[Any], Awaitable[Any]]] = {
    "run a": lambda client: client.run("a", "true"),
    "containers.wait a": lambda client: client.containers.wait("a"),
    "events": lambda client: entered(client.events()),
    "watch": lambda client: entered(client.watch()),
    "terminal a": lambda client: entered(client.terminal("a")),
    "temporary": lambda client: entered(client.temporary()),
}


@pytest.mark.parametrize("name", CALLS)
async def test_a_refusal_names_what_was_called(serve: Serve, connect: Connect, name: str) -> None:
    """Not the request that it was made of."""
    async with connect(serve(lambda r: r.refuse(403, "forbidden"))) as client:
        with pytest.raises(ecompute.Forbidden) as caught:
            await CALLS[name](client)
    assert caught.value.operation == name
    assert str(caught.value).startswith(f"{name} was refused: ")


async def test_a_temporary_container_that_is_not_seen_booting(serve: Serve, connect: Connect) -> None:
    """The wait is a part of it."""

    def handle(request: Request) -> None:
        match request.method, request.path:
            case "POST", "/compute/ssh-keys":
                request.answer({"id": 7, "name": "k", "public_key": "ssh-ed25519 A"})
            case "POST", _:
                request.answer({"id": "box0", "name": "b", "status": "pending"})
            case "GET", _:
                request.refuse(403, "forbidden")
            case _:
                request.answer({"status": "ok"})

    async with connect(serve(handle)) as client:
        with pytest.raises(ecompute.Forbidden) as caught:
            await entered(client.temporary())
    assert caught.value.operation == "temporary box0"


def quiet(request: Request) -> None:
    """A server that accepts everything and then says nothing."""
    chosen = request.headers.get("sec-websocket-protocol")
    socket = request.upgrade(chosen)
    if chosen is None:
        socket.snapshot()
    socket.serve_until_closed()


async def late(call: Awaitable[Any]) -> str:
    with pytest.raises(ecompute.DeadlineExceeded) as caught:
        await call
    return str(caught.value)


async def test_what_did_not_happen_in_time(serve: Serve, connect: Connect) -> None:
    """The sentence has the thing that was waited for, and the seconds."""
    async with connect(serve(quiet)) as client:
        said = await late(client.run("a", "true", timeout=1))
        assert said == "The command in container a did not end within 1 second."
        async with client.terminal("a") as terminal:
            said = await late(terminal.read(timeout=0.01))
            assert said == "The terminal of container a printed nothing within 0.01 seconds."
        async with client.events() as events:
            await events.receive(timeout=LIMIT)
            assert await late(events.receive(timeout=0.01)) == "No event came within 0.01 seconds."
        async with client.watch() as view:
            said = await late(view.wait(lambda now: len(now) > 0, timeout=0.01))
            assert said == "The containers were not as wanted within 0.01 seconds."


async def test_a_view_whose_list_does_not_come(serve: Serve, connect: Connect) -> None:
    """The time given for the opening is told."""
    async with connect(serve(lambda r: r.upgrade().serve_until_closed())) as client:
        assert await late(entered(client.watch(timeout=1))) == "No list of containers came within 1 second."


def shown(thing: Any) -> str:
    return repr(thing.target if isinstance(thing, InThread) else thing).replace("<Async", "<")


async def test_channels_say_what_they_are(serve: Serve, connect: Connect) -> None:
    """Open or not, whose, how many; never a token."""

    def handle(request: Request) -> None:
        socket = request.upgrade(request.headers.get("sec-websocket-protocol"))
        if request.path == "/compute/ws":
            socket.tell("containers", [{"id": "a", "name": "a", "status": "running", "hostname": "a.x"}])
        socket.serve_until_closed()

    async with connect(serve(handle)) as client:
        made = [client.events(), client.watch(), client.terminal("a")]
        names = ["Events", "Watch", "Terminal of container a"]
        assert [shown(one) for one in made] == [f"<{name}: not entered>" for name in names]
        for one, name, more in zip(made, names, ["", ", 1 container", ""], strict=True):
            async with one:
                assert shown(one) == f"<{name}: open{more}>"
            assert shown(one) == f"<{name}: closed>"
