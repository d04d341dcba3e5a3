"""Terminals over a socket: bytes both ways, control messages, ends of every kind."""

from __future__ import annotations

import json
import random
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage

import ecompute

from .conftest import script
from .fake_server import LIMIT, FakeServer, Hangup, Request, Socket

pytestmark = pytest.mark.anyio

Serve = Callable[..., FakeServer]
Connect = Callable[..., Any]

V1 = "ecompute.terminal.v1"


def echo(socket: Socket) -> None:
    """Give back what comes, as a terminal in raw mode does."""
    while True:
        event = socket.receive()
        if isinstance(event, BytesMessage):
            socket.output(bytes(event.data))


async def read_exactly(terminal: Any, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = await terminal.read(LIMIT)
        assert piece
        data += piece
    return data


async def test_a_terminal_is_asked_for_with_its_size(serve: Serve, connect: Connect) -> None:
    """Size in the query, credential in the header, the control protocol offered."""

    def handle(request: Request) -> None:
        assert request.target == "/compute/containers/a%2Fb/terminal?rows=40&cols=120"
        assert request.headers["authorization"] == "Bearer t0ken"
        assert request.headers["sec-websocket-protocol"] == V1
        echo(request.upgrade(V1))

    async with connect(serve(handle)) as client, client.terminal("a/b", rows=40, cols=120) as terminal:
        await terminal.write("héllo\n")
        assert await read_exactly(terminal, 7) == "héllo\n".encode()


@pytest.mark.parametrize("secure", [False, True])
async def test_much_goes_both_ways_at_once(
    serve: Serve, connect: Connect, tls: tuple[ssl.SSLContext, Path], secure: bool
) -> None:
    """Megabytes of any bytes come back whole, in order, while both directions are full; also under TLS."""
    sizes = []

    def handle(request: Request) -> None:
        socket = request.upgrade()
        while True:
            event = socket.receive()
            assert isinstance(event, BytesMessage)
            sizes.append(len(event.data))
            socket.output(bytes(event.data))

    server = serve(handle, tls[0] if secure else None)
    data = random.Random(1).randbytes(4 * 1024 * 1024 + 17)
    async with (
        connect(server, verify=tls[1]) as client,
        client.terminal("a") as terminal,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(terminal.write, data)
        assert await read_exactly(terminal, len(data)) == data
    assert max(sizes) <= 32 * 1024


async def test_a_reader_may_be_slow(serve: Serve, connect: Connect) -> None:
    """Output that nobody reads makes the server wait, stays bounded and is not lost."""
    total = 8 * 1024 * 1024
    piece = bytes(range(256)) * 128

    def handle(request: Request) -> None:
        socket = request.upgrade()
        for _ in range(total // len(piece)):
            socket.output(piece)
        socket.close()

    async with connect(serve(handle)) as client, client.terminal("a") as terminal:
        data = bytearray()
        async for part in terminal:
            assert len(part) <= 1024 * 1024 + 256 * 1024
            data += part
        assert bytes(data) == piece * (total // len(piece))


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A closing handshake that nobody answers ends soon."""
    for module in ("connection", "async_connection"):
        monkeypatch.setattr(f"ecompute.{module}.CLOSE_WITHIN", 0.05)


@pytest.mark.usefixtures("impatient")
async def test_a_writer_may_be_fast(serve: Serve, connect: Connect) -> None:
    """A server that does not read makes the writer wait; its deadline holds."""
    released = threading.Event()

    def handle(request: Request) -> None:
        request.upgrade()
        assert released.wait(LIMIT)

    async with connect(serve(handle)) as client:
        terminal = client.terminal("a")
        await terminal.__aenter__()
        with pytest.raises(ecompute.DeadlineExceeded):
            await terminal.write(bytes(64 * 1024 * 1024), 0.05)
        released.set()
        await terminal.__aexit__(None, None, None)


async def test_control_messages(serve: Serve, connect: Connect) -> None:
    """A resize goes as JSON; the exit status comes back; unknown messages are passed over."""

    def handle(request: Request) -> None:
        socket = request.upgrade(V1)
        event = socket.receive()
        assert isinstance(event, TextMessage)
        assert json.loads(event.data) == {"type": "resize", "rows": 50, "cols": 132}
        socket.output(b"bye\r\n")
        socket.send(TextMessage('{"type":"sunset"}'))
        socket.send(TextMessage('{"type":"exit","status":3}'))
        socket.close(1000)

    async with connect(serve(handle)) as client, client.terminal("a") as terminal:
        assert terminal.exit_status is None
        await terminal.resize(50, 132)
        assert [part async for part in terminal] == [b"bye\r\n"]
        assert terminal.exit_status == 3
        assert await terminal.read() == b""
        with pytest.raises(ecompute.Closed):
            await terminal.write("more")


async def test_a_server_without_control_messages(serve: Serve, connect: Connect) -> None:
    """A resize is Unsupported, a text is output, and the exit status stays unknown."""

    def handle(request: Request) -> None:
        socket = request.upgrade()
        socket.send(TextMessage('{"type":"exit","status":3}'))
        socket.close(1000)

    async with connect(serve(handle)) as client, client.terminal("a") as terminal:
        with pytest.raises(ecompute.Unsupported):
            await terminal.resize(50, 132)
        assert [part async for part in terminal] == [b'{"type":"exit","status":3}']
        assert terminal.exit_status is None


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (400, "invalid_request", ecompute.InvalidRequest),
        (401, "unauthenticated", ecompute.Unauthenticated),
        (403, "forbidden", ecompute.Forbidden),
        (404, "not_found", ecompute.NotFound),
        (409, "not_running", ecompute.NotRunning),
    ],
)
async def test_refusals(
    serve: Serve, connect: Connect, status: int, code: str, expected: type[ecompute.APIError]
) -> None:
    """A refusal before the upgrade is the API's answer, with all that it told."""
    server = serve(lambda r: r.refuse(status, code))
    async with connect(server) as client:
        with pytest.raises(expected) as caught:
            await client.terminal("a").__aenter__()
    assert (caught.value.status, caught.value.request_id) == (status, "r-1")
    assert len(server.seen) == 1


async def test_wrong_arguments_are_told_at_once(serve: Serve, connect: Connect) -> None:
    """Sizes that are no integers, ids that are none, input that is neither bytes nor text with a UTF-8."""
    server = serve(lambda r: echo(r.upgrade(V1)))
    async with connect(server) as client:
        for bad in ({"rows": 1.5}, {"cols": "80"}, {"rows": True}):
            with pytest.raises(ecompute.InvalidArgument):
                client.terminal("a", **bad)
        with pytest.raises(ecompute.InvalidArgument):
            client.terminal("..")
        assert server.seen == []
        async with client.terminal("a") as terminal:
            for wrong in (7, None, ["x"], "\ud800"):
                with pytest.raises(ecompute.InvalidArgument):
                    await terminal.write(wrong)
            with pytest.raises(ecompute.InvalidArgument):
                await terminal.resize("50", 132)


@pytest.mark.parametrize("code", [1001, 1008, 1011, 4000])
async def test_an_end_that_is_none(serve: Serve, connect: Connect, code: int) -> None:
    """A lost guest or server is an error, after everything that came before it was read."""

    def handle(request: Request) -> None:
        socket = request.upgrade()
        socket.output(b"half a li")
        socket.close(code)

    async with connect(serve(handle)) as client, client.terminal("a") as terminal:
        assert await read_exactly(terminal, 9) == b"half a li"
        for _ in range(2):
            with pytest.raises(ecompute.ConnectError) as caught:
                await terminal.read()
            assert caught.value.close_code == code


async def test_a_connection_that_breaks(serve: Serve, connect: Connect) -> None:
    """A connection that ends without a word is an error too."""

    def handle(request: Request) -> None:
        socket = request.upgrade()
        socket.wire.send(b"\x82")
        socket.wire.drop()

    async with connect(serve(handle)) as client, client.terminal("a") as terminal:
        with pytest.raises(ecompute.ConnectError):
            await terminal.read(LIMIT)


@pytest.mark.parametrize("message", ["no json", "[]", '{"type":"exit"}', '{"type":"exit","status":true}'])
async def test_control_messages_that_are_none(serve: Serve, connect: Connect, message: str) -> None:
    """What the protocol does not allow ends the terminal."""

    def handle(request: Request) -> None:
        socket = request.upgrade(V1)
        socket.send(TextMessage(message))
        socket.serve_until_closed()

    async with connect(serve(handle)) as client, client.terminal("a") as terminal:
        with pytest.raises(ecompute.InvalidAnswer):
            await terminal.read(LIMIT)


async def test_pings_are_answered_while_the_caller_is_busy(serve: Serve, connect: Connect) -> None:
    """Nobody has to read for the connection to live."""
    answered = threading.Event()

    def handle(request: Request) -> None:
        socket = request.upgrade()
        socket.output(b"x" * 1000)
        socket.send(Ping(b"there?"))
        assert socket.receive() == Pong(b"there?")
        answered.set()
        socket.serve_until_closed()

    async with connect(serve(handle)) as client, client.terminal("a"):
        assert await anyio.to_thread.run_sync(answered.wait, LIMIT)


async def test_what_was_written_is_sent_before_the_end(serve: Serve, connect: Connect) -> None:
    """Leaving right after a write loses nothing, and the goodbye is said."""
    got = bytearray()
    ends = []

    def handle(request: Request) -> None:
        socket = request.upgrade()
        while True:
            socket.framing.receive_data(socket.wire.receive())
            for event in socket.framing.events():
                if isinstance(event, BytesMessage):
                    got.extend(event.data)
                elif isinstance(event, CloseConnection):
                    ends.append(event.code)
                    socket.send(event.response())
                    raise Hangup

    server = serve(handle)
    async with connect(server) as client:
        async with client.terminal("a") as terminal:
            await terminal.write(b"z" * 200_000)
        server.wait_idle()
    assert (len(got), ends) == (200_000, [1000])


@pytest.mark.usefixtures("impatient")
async def test_leaving_with_unread_output(serve: Serve, connect: Connect) -> None:
    """A full buffer does not hold up the end."""

    def handle(request: Request) -> None:
        socket = request.upgrade()
        while True:
            socket.output(bytes(32 * 1024))

    server = serve(handle)
    async with connect(server) as client, client.terminal("a") as terminal:
        await terminal.read(LIMIT)
    server.wait_idle()


async def test_opening_is_tried_again(serve: Serve, connect: Connect) -> None:
    """A connection fault on opening is repeated like a read."""
    server = serve(script(lambda r: r.wire.drop(), lambda r: echo(r.upgrade())))
    async with connect(server) as client, client.terminal("a") as terminal:
        await terminal.write(b"x")
        assert await terminal.read(LIMIT) == b"x"


async def test_a_terminal_is_entered_once(serve: Serve, connect: Connect) -> None:
    """Use before entering and entering twice say what to do."""
    async with connect(serve(lambda r: echo(r.upgrade()))) as client:
        terminal = client.terminal("a")
        with pytest.raises(ecompute.Closed, match=r"with client\.terminal"):
            await terminal.read()
        async with terminal:
            with pytest.raises(ecompute.Closed):
                await terminal.__aenter__()


async def test_an_untrusted_certificate(
    serve: Serve, connect: Connect, tls: tuple[ssl.SSLContext, Path]
) -> None:
    """A server that cannot show who it is gets nothing; the sentence says why."""
    server = serve(lambda r: r.answer({}), tls[0])
    async with connect(server) as client:
        with pytest.raises(ecompute.ConnectError, match="certificate is not trusted") as caught:
            await client.session()
    assert not caught.value.maybe_sent
    assert server.seen == []
    async with connect(server, verify=False) as client:
        with pytest.raises(ecompute.InvalidAnswer):
            await client.session()
