"""The way to the server: deadlines that hold, no socket left, and transports of the caller's own."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import anyio
import anyio.to_thread
import httpx
import pytest

import ecompute
from ecompute import network

from .conftest import InThread
from .fake_server import LIMIT, FakeServer, Request
from .listening import listening, two_kinds

pytestmark = pytest.mark.anyio

Serve = Callable[..., FakeServer]
Connect = Callable[..., Any]

EMPTY: dict[str, list[object]] = {"containers": []}


def dripping(start: bytes, piece: bytes, released: threading.Event) -> Callable[[Request], None]:
    """Sends a beginning, and then the same piece again and again, far more often than any read ends."""

    def handle(request: Request) -> None:
        request.wire.send(start)
        while not released.wait(0.01):
            request.wire.send(piece)

    return handle


@pytest.mark.parametrize(
    ("start", "piece"),
    [
        (b"HTTP/1.1 200 OK\r\nX-Long: ", b"x"),
        (b"HTTP/1.1 200 ", b"O"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b" "),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
        (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
    ],
)
async def test_no_drip_stretches_a_deadline(
    serve: Serve, connect: Connect, start: bytes, piece: bytes
) -> None:
    """A server that always sends a little is late all the same, wherever it is in its answer."""
    released = threading.Event()
    server = serve(dripping(start, piece, released))
    async with connect(server) as client:
        for call in (
            client.containers.list(timeout=0.3),
            client.events(timeout=0.3).__aenter__(),
        ):
            with pytest.raises(ecompute.DeadlineExceeded):
                await call
    released.set()


async def test_a_tls_handshake_that_never_ends(connect: Connect) -> None:
    """The deadline is over the handshake too, however it drips, and the connection is closed at once."""
    closed = threading.Event()

    def drip(sock: socket.socket) -> None:
        # the head of a handshake record (RFC 8446, 5.1) that announces more than ever comes
        with suppress(OSError):
            sock.sendall(b"\x16\x03\x03\x40\x00\x02\x00\x3f\xff")
            while not released.wait(0.01):
                sock.sendall(b"x")
        closed.set()

    released = threading.Event()
    with listening(drip) as port:
        async with connect(f"https://localhost:{port}", verify=False) as client:
            with pytest.raises(ecompute.DeadlineExceeded):
                await client.containers.list(timeout=0.3)
            assert closed.wait(LIMIT)
        released.set()


def test_a_limit_counts_down() -> None:
    """A step has its own time, but never more than is left of the whole."""
    late = TimeoutError
    now = time.monotonic()
    assert network._left(None, late) is None
    assert network._left(5.0, late) == 5.0
    assert network._left(network.limit(5.0, now + 1000), late) == 5.0
    left = network._left(network.limit(5.0, now + 3), late)
    assert left is not None
    assert 0 < left <= 3
    with pytest.raises(TimeoutError):
        network._left(network.limit(5.0, now), late)


async def test_a_large_request_to_a_server_that_does_not_read(connect: Connect) -> None:
    """Writing has a deadline too, and may have reached the server."""
    released = threading.Event()

    def hold(sock: socket.socket) -> None:
        released.wait(LIMIT)

    with listening(hold) as port:
        async with connect(f"http://127.0.0.1:{port}") as client:
            with pytest.raises(ecompute.OutcomeUnknown):
                await client.containers.create("x" * 20_000_000, [1], timeout=1)
        released.set()


@pytest.mark.parametrize("step", ["read_timeout", "connect_timeout", "write_timeout"])
async def test_each_step_has_its_own_limit(serve: Serve, connect: Connect, step: str) -> None:
    """A silent server is told long before the whole time is over, and is tried again meanwhile."""
    released = threading.Event()
    server = serve(lambda r: released.wait(LIMIT))
    settings: dict[str, Any] = {
        step: 0.05,
        "timeout": LIMIT,
        "retries": ecompute.Retries(attempts=2, first=0),
    }
    async with connect(server, **settings) as client:
        if step != "read_timeout":
            # these do not bound the answer: the whole does
            with pytest.raises(ecompute.DeadlineExceeded):
                await client.containers.list(timeout=0.3)
        else:
            with pytest.raises(ecompute.ConnectError) as caught:
                await client.containers.list()
            assert caught.value.timed_out
            assert len(server.seen) == 2
    released.set()


async def test_no_socket_is_left_after_an_error(serve: Serve, connect: Connect) -> None:
    """Whatever an answer broke off with, closing the client closes all."""
    torn = [
        lambda r: r.wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{"),
        lambda r: r.wire.send(b"nonsense\r\n\r\n"),
        lambda r: r.answer(b"\xff" * 10),
        lambda r: r.answer(EMPTY, Content_Encoding="gzip"),
        lambda r: r.refuse(500, "internal"),
        lambda r: r.wire.send(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: other\r\nConnection: upgrade\r\n\r\n"
        ),
    ]
    for handler in torn:
        server = serve(handler)
        async with connect(server, timeout=0.3) as client:
            with pytest.raises(ecompute.Error):
                await client.containers.list()
            with pytest.raises(ecompute.Error):
                await client.events().__aenter__()
        server.wait_idle()


async def test_closing_while_a_request_is_under_way(serve: Serve, kind: str) -> None:
    """The request ends with one of our exceptions, and its connection too."""
    began, released = threading.Event(), threading.Event()

    def hold(request: Request) -> None:
        began.set()
        released.wait(LIMIT)

    server = serve(hold)
    if kind == "sync":
        client = ecompute.Client("t", server.url, verify=False, retries=ecompute.Retries(attempts=1))
        raised: list[BaseException] = []

        def call() -> None:
            try:
                client.containers.list()
            except ecompute.Error as error:
                raised.append(error)

        thread = threading.Thread(target=call)
        thread.start()
        assert began.wait(LIMIT)
        client.close()
        released.set()
        server.stop()
        thread.join(LIMIT)
        assert [type(error) for error in raised] == [ecompute.ConnectError]
    else:
        waiting = ecompute.AsyncClient("t", server.url, verify=False, retries=ecompute.Retries(attempts=1))
        with anyio.fail_after(LIMIT):
            async with anyio.create_task_group() as tasks:

                async def use() -> None:
                    with pytest.raises(ecompute.Error):
                        await waiting.containers.list()

                tasks.start_soon(use)
                await anyio.to_thread.run_sync(began.wait)
                await waiting.aclose()
                released.set()
    server.wait_idle()


async def test_a_host_of_another_alphabet(connect: Connect) -> None:
    """It is asked for as the domain name system writes it (RFC 5891)."""
    hosts: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        hosts.append(request.headers["host"])
        return httpx.Response(200, json=EMPTY)

    for url in ("https://bücher.example:8443/api", "https://[::1]:80"):
        async with connect(url, transport=httpx.MockTransport(answer)) as client:
            await client.containers.list()
    assert hosts == ["xn--bcher-kva.example:8443", "[::1]:80"]
    with pytest.raises(ecompute.InvalidArgument):
        ecompute.Client("t", "https://\u2028.example")


async def test_a_custom_transport_gets_a_whole_request(connect: Connect) -> None:
    """Address, headers, body and time limits, in the words of httpx."""
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={"id": "a", "name": "n", "status": "s"})

    async with connect("https://x/api", transport=httpx.MockTransport(answer), read_timeout=3) as client:
        await client.containers.create("box", [1])
        await client.containers.get("ü/1")
    create, get = seen
    assert (create.method, str(create.url)) == ("POST", "https://x/api/compute/containers")
    assert json.loads(create.read()) == {"name": "box", "ssh_key_ids": [1]}
    assert create.headers["content-length"] == str(len(create.read()))
    assert create.headers["authorization"] == "Bearer t0ken"
    assert get.url.raw_path == b"/api/compute/containers/%C3%BC%2F1"
    assert get.extensions["timeout"]["read"] == 3


async def test_one_transport_of_httpx_for_all(serve: Serve, kind: str, connect: Connect) -> None:
    """Httpx's own carries calls and WebSockets."""
    server = serve(two_kinds)
    way = httpx.HTTPTransport() if kind == "sync" else httpx.AsyncHTTPTransport()
    async with connect(server, transport=way) as client:
        assert await client.containers.list() == []
        async with client.events() as events:
            assert (await anext(aiter(events))).containers[0].id == "a"
    server.wait_idle()


class Closing(httpx.MockTransport):
    """Counts how often it is closed."""

    def __init__(self) -> None:
        super().__init__(lambda request: httpx.Response(200, json=EMPTY))
        self.closed = 0

    def close(self) -> None:
        self.closed += 1

    async def aclose(self) -> None:
        self.closed += 1


async def test_a_custom_transport_is_closed_once(connect: Connect) -> None:
    """By the client that it was given to, not by one that is derived from it."""
    way = Closing()
    client = connect("https://x", transport=way)
    await client.containers.list()
    derived = client.target.with_options() if isinstance(client, InThread) else client.with_options()
    await InThread(derived).aclose() if isinstance(client, InThread) else await derived.aclose()
    assert way.closed == 0
    for _ in range(2):
        await client.aclose()
    assert way.closed == 1


class Stuck(Closing):
    """Cannot be closed."""

    def close(self) -> None:
        super().close()
        raise ZeroDivisionError

    async def aclose(self) -> None:
        self.close()


async def test_a_custom_transport_that_cannot_be_closed(
    connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    """Is told in the log, and the client is closed all the same."""
    way = Stuck()
    async with connect("https://x", transport=way) as client:
        await client.containers.list()
    assert way.closed == 1
    assert "it raised ZeroDivisionError" in caplog.text
    with pytest.raises(ecompute.Closed):
        await client.containers.list()
