"""Single commands over a socket: streams, input, time, and ends of every kind."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import pytest
from wsproto.events import BytesMessage, Event, TextMessage

import ecompute

from .conftest import script
from .fake_server import LIMIT, FakeServer, Request, Socket

pytestmark = pytest.mark.anyio

Serve = Callable[..., FakeServer]
Connect = Callable[..., Any]

V1 = "ecompute.exec.v1"


def control(event: Event) -> Any:
    assert isinstance(event, TextMessage)
    return json.loads(event.data)


def begin(request: Request, command: str) -> Socket:
    assert request.headers["sec-websocket-protocol"] == V1
    socket = request.upgrade(V1)
    assert control(socket.receive()) == {"command": command, "pty": False}
    return socket


def finish(socket: Socket, status: int) -> None:
    socket.send(TextMessage(json.dumps({"type": "exit", "status": status})))
    socket.close(1000)


def inputs(socket: Socket) -> Iterator[bytes]:
    """The input up to its end, one message after the other."""
    message = b""
    while isinstance(event := socket.receive(), BytesMessage):
        message += bytes(event.data)
        if event.message_finished:
            assert len(message) <= 32 * 1024
            assert message[0] == 0
            yield message[1:]
            message = b""
    assert control(event) == {"type": "eof"}


def read_input(socket: Socket) -> bytes:
    return b"".join(inputs(socket))


async def test_a_command_and_its_streams(serve: Serve, connect: Connect) -> None:
    """Output and errors are kept apart, each in its order; unknown messages are passed over."""

    def handle(request: Request) -> None:
        assert request.target == "/compute/containers/a/terminal"
        socket = begin(request, "uname -m; x")
        assert read_input(socket) == b""
        socket.output(b"\x01aarch")
        socket.output(b"\x02no ")
        socket.send(TextMessage('{"type":"sunset"}'))
        socket.output(b"\x0164\n\xff")
        socket.output(b"\x01")
        socket.output(b"\x02x")
        finish(socket, 127)

    server = serve(handle)
    async with connect(server) as client:
        result = await client.run("a", "uname -m; x")
        server.wait_idle()
    assert result == ecompute.CommandResult(127, b"aarch64\n\xff", b"no x")
    assert result.text == "aarch64\n\ufffd"


@pytest.mark.parametrize("given", [b"\x00\xff" * 3, "h\u00e9", bytearray(b"x"), memoryview(b"xyz")])
async def test_input(serve: Serve, connect: Connect, given: Any) -> None:
    """Bytes as they are, a text in UTF-8, and then the end."""
    got = []

    def handle(request: Request) -> None:
        socket = begin(request, "cat > f")
        got.append(read_input(socket))
        finish(socket, 0)

    async with connect(serve(handle)) as client:
        assert (await client.run("a", "cat > f", input=given)).exit_status == 0
    assert got == [given.encode() if isinstance(given, str) else bytes(given)]


async def test_megabytes_go_both_ways_at_once(serve: Serve, connect: Connect) -> None:
    """A command that gives its input back while it comes does not stop at full buffers."""
    data = bytes(range(256)) * 16 * 1024

    def handle(request: Request) -> None:
        socket = begin(request, "cat")
        for piece in inputs(socket):
            socket.output(b"\x01" + piece)
        finish(socket, 0)

    async with connect(serve(handle)) as client:
        assert (await client.run("a", "cat", input=data)).output == data


async def test_a_command_that_does_not_want_its_input(serve: Serve, connect: Connect) -> None:
    """One that ends before it has read all of it has ended all the same."""

    def handle(request: Request) -> None:
        finish(begin(request, "true"), 0)

    async with connect(serve(handle)) as client:
        assert (await client.run("a", "true", input=bytes(16 * 1024 * 1024))).exit_status == 0


async def test_a_failure_can_be_checked(serve: Serve, connect: Connect) -> None:
    """With `check` another status than 0 is an error, which has the result; it shows no output itself."""

    def handle(request: Request) -> None:
        socket = begin(request, "false")
        socket.output(b"\x02s3cret")
        finish(socket, 1)

    async with connect(serve(handle)) as client:
        assert (await client.run("a", "false")).exit_status == 1
        with pytest.raises(ecompute.CommandFailed, match="exit status 1") as caught:
            await client.run("a", "false", check=True)
    assert caught.value.result == ecompute.CommandResult(1, b"", b"s3cret")
    assert "s3cret" not in str(caught.value) + repr(caught.value)


async def test_a_command_whose_time_is_over(serve: Serve, connect: Connect) -> None:
    """The call ends, and so does the connection."""

    def handle(request: Request) -> None:
        socket = begin(request, "sleep 1000")
        socket.output(b"\x01still here")
        socket.serve_until_closed()

    server = serve(handle)
    async with connect(server) as client:
        with pytest.raises(ecompute.DeadlineExceeded):
            await client.run("a", "sleep 1000", timeout=0.2)
        server.wait_idle()


async def test_time_holds_while_input_waits(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So it does when the command does not read, and nobody agrees to the close."""
    for module in ("connection", "async_connection"):
        monkeypatch.setattr(f"ecompute.{module}.CLOSE_WITHIN", 0.05)
    released = threading.Event()

    def handle(request: Request) -> None:
        begin(request, "sleep 1000")
        assert released.wait(LIMIT)

    async with connect(serve(handle)) as client:
        with pytest.raises(ecompute.DeadlineExceeded):
            await client.run("a", "sleep 1000", input=bytes(64 * 1024 * 1024), timeout=0.2)
        released.set()


async def test_a_server_without_the_protocol(serve: Serve, connect: Connect) -> None:
    """It would take the command for typing: nothing is sent to it."""
    heard = []

    def handle(request: Request) -> None:
        socket = request.upgrade()
        while True:
            heard.append(socket.receive())

    server = serve(handle)
    async with connect(server) as client:
        with pytest.raises(ecompute.Unsupported):
            await client.run("a", "rm -r /")
        server.wait_idle()
    assert heard == []


@pytest.mark.parametrize("code", [1000, 1001, 1008, 1011])
async def test_an_end_without_an_exit(serve: Serve, connect: Connect, code: int) -> None:
    """Even an orderly close is an error when no exit status was told."""

    def handle(request: Request) -> None:
        socket = begin(request, "x")
        socket.output(b"\x01half")
        socket.close(code)

    async with connect(serve(handle)) as client:
        with pytest.raises(ecompute.ConnectError) as caught:
            await client.run("a", "x")
    assert caught.value.close_code == code


@pytest.mark.parametrize("code", [1002, 1007, 1009])
async def test_what_the_server_does_not_take(serve: Serve, connect: Connect, code: int) -> None:
    """The reason of its close is told, since nothing else says what was wrong."""

    def handle(request: Request) -> None:
        socket = request.upgrade(V1)
        socket.receive()
        socket.close(code, "A command has at most 7 bytes.")

    async with connect(serve(handle)) as client:
        with pytest.raises(ecompute.ConnectError, match="did not take") as caught:
            await client.run("a", "x" * 100_000)
    assert "A command has at most 7 bytes" in str(caught.value)
    assert "xx" not in str(caught.value)
    assert (caught.value.close_code, caught.value.maybe_sent) == (code, True)


async def test_a_connection_that_breaks(serve: Serve, connect: Connect) -> None:
    """What has run is not run again."""

    def handle(request: Request) -> None:
        begin(request, "x").wire.drop()

    server = serve(handle)
    async with connect(server) as client:
        with pytest.raises(ecompute.ConnectError):
            await client.run("a", "x")
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    "nonsense",
    [
        TextMessage("no json"),
        TextMessage('{"type":"exit","status":"0"}'),
        BytesMessage(b"\x00input"),
        BytesMessage(b"\x03"),
    ],
)
async def test_what_is_not_of_the_api_is_told(serve: Serve, connect: Connect, nonsense: Event) -> None:
    """What the protocol does not allow ends the call."""

    def handle(request: Request) -> None:
        socket = begin(request, "x")
        socket.send(nonsense)
        socket.serve_until_closed()

    async with connect(serve(handle)) as client:
        with pytest.raises(ecompute.InvalidAnswer):
            await client.run("a", "x")


async def test_refusals_and_retries(serve: Serve, connect: Connect) -> None:
    """A refusal before the upgrade is the API's answer; a fault before the command was sent is repeated."""

    def handle(request: Request) -> None:
        finish(begin(request, "x"), 0)

    server = serve(
        script(
            lambda r: r.refuse(409, "not_running"),
            lambda r: r.wire.drop(),
            lambda r: r.refuse(503, "unavailable", Retry_After="0"),
            handle,
        )
    )
    async with connect(server) as client:
        with pytest.raises(ecompute.NotRunning):
            await client.run("a", "x")
        assert (await client.run("a", "x")).exit_status == 0


async def test_wrong_arguments_are_told_before_anything_is_sent(serve: Serve, connect: Connect) -> None:
    """Commands that no shell can get, input that is neither bytes nor text, ids and times that are none."""
    server = serve(lambda r: r.answer({}))
    async with connect(server) as client:
        for bad in (
            {"command": []},
            {"command": ["head", 7]},
            {"command": b"uname"},
            {"command": "a\0b"},
            {"command": "a\ud800"},
            {"input": "a\ud800"},
            {"input": 7},
            {"input": ["x"]},
            {"input": io.StringIO("x")},
            {"on_output": 7},
            {"on_error": "x"},
            {"id": ".."},
            {"timeout": 0},
            {"timeout": "1"},
        ):
            with pytest.raises(ecompute.InvalidArgument):
                await client.run(**{"id": "a", "command": "x", **bad})
    assert server.seen == []


async def test_closing_the_client_ends_its_commands(serve: Serve, connect: Connect) -> None:
    """Whoever waits is told why."""
    started = threading.Event()

    def handle(request: Request) -> None:
        socket = begin(request, "x")
        started.set()
        socket.serve_until_closed()

    client = connect(serve(handle))
    async with anyio.create_task_group() as tasks:

        async def run() -> None:
            with pytest.raises(ecompute.Closed):
                await client.run("a", "x")

        tasks.start_soon(run)
        assert await anyio.to_thread.run_sync(started.wait, LIMIT)
        await client.aclose()


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_cancelling_ends_the_connection(serve: Serve, anyio_backend: str) -> None:
    """At once, and the server sees it."""

    def handle(request: Request) -> None:
        socket = begin(request, "x")
        asked.set()
        socket.serve_until_closed()

    asked = threading.Event()
    server = serve(handle)
    async with ecompute.AsyncClient("t", server.url, verify=False) as client:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(client.run, "a", "x")
                assert await anyio.to_thread.run_sync(asked.wait, LIMIT)
                scope.cancel()
        assert scope.cancelled_caught
        server.wait_idle()
