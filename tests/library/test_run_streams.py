"""Commands whose output is taken as it comes, and whose input comes bit by bit."""

from __future__ import annotations

import io
import os
import select
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from wsproto.events import BytesMessage

import ecompute

from .fake_server import LIMIT, FakeServer, Request
from .test_run import begin, finish, read_input

pytestmark = pytest.mark.anyio

Serve = Callable[..., FakeServer]
Connect = Callable[..., Any]


@pytest.fixture(params=["function", "coroutine"])
def taking(request: pytest.FixtureRequest, kind: str) -> Callable[[list[bytes]], Any]:
    """Makes a callback that keeps what it gets, of both kinds where there are two."""

    def make(taken: list[bytes]) -> Any:
        async def take(data: bytes) -> None:
            await anyio.lowlevel.checkpoint()
            taken.append(data)

        return take if request.param == "coroutine" and kind != "sync" else taken.append

    return make


async def test_output_is_given_away_as_it_comes(
    serve: Serve, connect: Connect, taking: Callable[[list[bytes]], Any]
) -> None:
    """While the command runs, each stream to its own; the result has what nobody took."""
    output: list[bytes] = []
    error: list[bytes] = []

    def handle(request: Request) -> None:
        socket = begin(request, "x")
        for piece in (b"\x01one", b"\x02problem", b"\x01", b"\x01two"):
            socket.output(piece)
        finish(socket, 3)

    async with connect(serve(handle)) as client:
        result = await client.run("a", "x", on_output=taking(output))
        assert result == ecompute.CommandResult(3, b"", b"problem")
        assert b"".join(output) == b"onetwo"
    assert all(output)
    output.clear()
    async with connect(serve(handle)) as client:
        result = await client.run("a", "x", on_output=taking(output), on_error=taking(error))
    assert result == ecompute.CommandResult(3, b"", b"")
    assert (b"".join(output), error) == (b"onetwo", [b"problem"])


async def test_output_comes_before_the_end(serve: Serve, connect: Connect) -> None:
    """The command goes on when its first words have been heard."""
    heard = threading.Event()

    def handle(request: Request) -> None:
        socket = begin(request, "x")
        socket.output(b"\x01ready")
        assert heard.wait(LIMIT)
        finish(socket, 0)

    async with connect(serve(handle)) as client:
        assert (await client.run("a", "x", on_output=lambda data: heard.set())).exit_status == 0


async def test_a_slow_taker_makes_the_command_wait(serve: Serve, connect: Connect, kind: str) -> None:
    """What waits here is bounded, all of it comes, and the connection stays up."""
    piece = b"\x01" + bytes(range(256)) * 100
    count = 1000
    stalled = threading.Event()
    got = bytearray()

    def handle(request: Request) -> None:
        socket = begin(request, "x")
        for _ in range(count):
            view = memoryview(socket.framing.send(BytesMessage(piece)))
            while view:
                if not select.select([], [socket.wire.sock], [], 0.2)[1]:
                    stalled.set()
                    select.select([], [socket.wire.sock], [], LIMIT)
                view = view[socket.wire.sock.send(view) :]
        finish(socket, 0)

    async def take_in_task(data: bytes) -> None:
        assert await anyio.to_thread.run_sync(stalled.wait, LIMIT)
        got.extend(data)

    def take_in_thread(data: bytes) -> None:
        assert stalled.wait(LIMIT)
        got.extend(data)

    async with connect(serve(handle)) as client:
        await client.run("a", "x", on_output=take_in_thread if kind == "sync" else take_in_task)
    assert bytes(got) == piece[1:] * count


@pytest.mark.parametrize("which", ["on_output", "on_error"])
async def test_what_a_taker_raises(serve: Serve, connect: Connect, which: str) -> None:
    """Is raised, and the command gets its hang-up."""

    def handle(request: Request) -> None:
        socket = begin(request, "x")
        socket.output(b"\x01x" if which == "on_output" else b"\x02x")
        socket.serve_until_closed()

    def refuse(data: bytes) -> None:
        raise KeyError(data)

    server = serve(handle)
    async with connect(server) as client:
        with pytest.raises(KeyError):
            await client.run("a", "x", **{which: refuse})
        server.wait_idle()


async def test_what_came_before_a_loss_is_given_away(serve: Serve, connect: Connect) -> None:
    """Then the loss is raised."""
    taken: list[bytes] = []

    def handle(request: Request) -> None:
        socket = begin(request, "x")
        socket.output(b"\x01half")
        socket.close(1011)

    async with connect(serve(handle)) as client:
        with pytest.raises(ecompute.ConnectError):
            await client.run("a", "x", on_output=taken.append)
    assert taken == [b"half"]


async def test_time_holds_while_output_comes(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command that never stops talking is ended like a silent one."""
    for module in ("connection", "async_connection"):
        monkeypatch.setattr(f"ecompute.{module}.CLOSE_WITHIN", 0.05)

    def handle(request: Request) -> None:
        socket = begin(request, "yes")
        while True:
            socket.output(b"\x01" + b"y\n" * 1000)

    server = serve(handle)
    async with connect(server) as client:
        for takers in ({}, {"on_output": len}):
            with pytest.raises(ecompute.DeadlineExceeded):
                await client.run("a", "yes", timeout=0.2, **takers)
        server.wait_idle()


def pieces_of(data: bytes) -> Iterator[bytes]:
    return iter([data[:1], b"", data[1:50_000], data[50_000:]])


async def async_pieces_of(data: bytes) -> AsyncIterator[bytes]:
    for piece in pieces_of(data):
        await anyio.lowlevel.checkpoint()
        yield piece


@pytest.mark.parametrize("form", ["file", "memory", "generator", "list", "async file", "async generator"])
async def test_input_bit_by_bit(serve: Serve, connect: Connect, kind: str, tmp_path: Path, form: str) -> None:
    """From files and iterables, those of async libraries for the async client."""
    data = bytes(range(256)) * 2000
    path = tmp_path / "data"
    path.write_bytes(data)
    got = []

    def handle(request: Request) -> None:
        socket = begin(request, "cat > f")
        got.append(read_input(socket))
        finish(socket, 0)

    async with connect(serve(handle)) as client, await anyio.open_file(path, "rb") as async_file:
        with path.open("rb") as file:
            forms = {
                "file": file,
                "memory": io.BytesIO(data),
                "generator": pieces_of(data),
                "list": [data[:5], memoryview(data)[5:]],
                "async file": async_file,
                "async generator": async_pieces_of(data),
            }
            if kind == "sync" and form.startswith("async"):
                with pytest.raises(ecompute.InvalidArgument):
                    await client.run("a", "cat > f", input=forms[form])
            else:
                await client.run("a", "cat > f", input=forms[form])
                assert got == [data]


async def test_input_is_asked_for_when_there_is_room(serve: Serve, connect: Connect) -> None:
    """An endless one fills no memory, and ends with the command."""
    given = 0

    def endless() -> Iterator[bytes]:
        nonlocal given
        while True:
            given += 1
            yield bytes(64 * 1024)

    def handle(request: Request) -> None:
        finish(begin(request, "true"), 0)

    async with connect(serve(handle)) as client:
        assert (await client.run("a", "true", input=endless())).exit_status == 0
    assert given * 64 * 1024 < 32 * 1024 * 1024


@pytest.mark.parametrize("wrong", ["text", 7, None])
async def test_input_that_is_no_bytes(serve: Serve, connect: Connect, wrong: Any) -> None:
    """Is refused when it comes, and the command gets its hang-up; so it is with what an iterable raises."""

    def handle(request: Request) -> None:
        begin(request, "x").serve_until_closed()

    def broken() -> Iterator[Any]:
        yield b"x"
        if wrong is None:
            raise KeyError
        yield wrong

    server = serve(handle)
    async with connect(server) as client:
        with pytest.raises(KeyError if wrong is None else ecompute.InvalidArgument):
            await client.run("a", "x", input=broken())
        server.wait_idle()


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_a_file_that_waits_holds_up_nothing(serve: Serve, anyio_backend: str) -> None:
    """Of the async client: neither the output nor the end of the command, nor a cancellation."""
    reading, writing = os.pipe()

    def handle(request: Request) -> None:
        socket = begin(request, "x")
        socket.output(b"\x01x")
        if len(server.seen) == 1:
            finish(socket, 0)
        else:
            socket.serve_until_closed()

    server = serve(handle)
    taken: list[bytes] = []
    with os.fdopen(reading, "rb", 0) as silent, os.fdopen(writing, "wb", 0) as typing:
        async with ecompute.AsyncClient("t", server.url, verify=False) as client:
            await client.run("a", "x", input=silent, on_output=taken.append)
            with anyio.CancelScope() as scope:
                await client.run("a", "x", input=silent, on_output=lambda data: scope.cancel())
            assert scope.cancelled_caught
        typing.write(b"end")
    assert taken == [b"x"]


def test_an_interruption_ends_the_command(serve: Serve) -> None:
    """Ctrl-C is raised, and the command gets its hang-up."""

    def handle(request: Request) -> None:
        socket = begin(request, "x")
        socket.output(b"\x01x")
        socket.serve_until_closed()

    def interrupt(data: bytes) -> None:
        raise KeyboardInterrupt

    server = serve(handle)
    with ecompute.Client("t", server.url, verify=False) as client:
        with pytest.raises(KeyboardInterrupt):
            client.run("a", "x", on_output=interrupt)
        server.wait_idle()
