"""Credentials on their way to the network: neither the logs of other libraries nor tracebacks tell them."""

from __future__ import annotations

import logging
import socket
import threading
import traceback
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import httpcore
import httpx
import pytest

import ecompute
from ecompute.network import BoundedStream, ClosingStream

from .authority import Authority
from .fake_server import LIMIT, FakeServer, Request, render
from .listening import listening, two_kinds
from .shown import shown
from .test_proxies import Proxy
from .test_socks import SocksProxy, saying

pytestmark = pytest.mark.anyio

Serve = Callable[..., FakeServer]
Connect = Callable[..., Any]

TOKEN = "t0ken-of-mine"
BASIC = b64encode(b"alice:pa:55").decode()
SECRETS = (TOKEN, "pa:55", "pa%3A55", BASIC)


def assert_silent(text: str) -> None:
    assert [secret for secret in SECRETS if secret in text] == []


def with_locals(error: BaseException) -> str:
    """A traceback as tools show it that show variables, with all causes."""
    text = []
    told = traceback.TracebackException.from_exception(error, capture_locals=True)
    # what is left out at the end of a chain is shown by some tools all the same
    while told is not None:
        text += [repr(frame.locals) for frame in told.stack if "/tests/" not in frame.filename]
        text += list(told.format_exception_only())
        told = told.__cause__ or told.__context__  # type: ignore[assignment]
    return "\n".join(text)


@pytest.mark.parametrize("secured", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("way", ["direct", "http", "socks5"])
async def test_logs(
    serve: Serve,
    connect: Connect,
    authority: Authority,
    caplog: pytest.LogCaptureFixture,
    way: str,
    secured: bool,
) -> None:
    """What all libraries log at their most talkative."""
    caplog.set_level(logging.DEBUG)
    server = serve(two_kinds, authority.server(demands=False) if secured else None)
    proxy = SocksProxy() if way == "socks5" else Proxy()
    with listening(proxy) as port:
        address = None if way == "direct" else f"{way}://alice:pa%3A55@127.0.0.1:{port}"
        async with connect(server, token=TOKEN, proxy=address, verify=authority.file) as client:
            await client.containers.list()
            async with client.events() as events:
                await events.receive(LIMIT)
    assert server.seen[0].headers["authorization"] == f"Bearer {TOKEN}"
    assert "httpcore.connection" in {record.name for record in caplog.records}
    assert_silent(caplog.text)
    assert_silent("".join(repr(vars(record)) for record in caplog.records))


@pytest.mark.parametrize("secured", [False, True], ids=["plain", "tls"])
async def test_a_connection_that_breaks(
    serve: Serve, connect: Connect, authority: Authority, secured: bool
) -> None:
    """The frames of a request whose answer never came, or came in part, show neither it nor the token."""

    def torn(request: Request) -> None:
        request.wire.send(
            render(200, b"").replace(b"Length: 0", b"Length: 99") + b'{"token": "' + TOKEN.encode()
        )
        request.wire.drop()

    def echo(request: Request) -> None:
        request.wire.send(f"{request.headers['authorization']} yourself\r\n\r\n".encode())
        request.wire.drop()

    for handle in (lambda request: request.wire.drop(), torn, echo):
        server = serve(handle, authority.server(demands=False) if secured else None)
        retries = ecompute.Retries(attempts=1)
        async with connect(server, token=TOKEN, verify=authority.file, retries=retries) as client:
            for call in (client.containers.list(), client.events().__aenter__()):
                with pytest.raises(ecompute.Error) as caught:
                    await call
                assert_silent(with_locals(caught.value))


async def test_a_server_that_takes_nothing(connect: Connect) -> None:
    """Neither do those of a request that could not be sent."""
    released = threading.Event()
    with listening(lambda sock: released.wait(LIMIT)) as port:
        async with connect(f"http://127.0.0.1:{port}", token=TOKEN) as client:
            with pytest.raises(ecompute.OutcomeUnknown) as caught:
                await client.containers.create("x" * 20_000_000, [1], timeout=0.3)
        released.set()
    assert_silent(with_locals(caught.value))


@pytest.mark.parametrize(
    ("scheme", "handle"),
    [
        ("http", Proxy(render(503, b""))),
        ("http", lambda sock: sock.shutdown(socket.SHUT_RDWR)),
        ("http", saying(f"HTTP/1.1 407 Basic {BASIC}\r\nContent-Length: 0\r\n\r\n".encode())),
        ("socks5", saying(b"\x05\x02", b"\x01\x01")),
        ("socks5", saying(b"\x05\x02", b"\x01\x00", b"\x05\x01\x00\x01")),
    ],
)
async def test_a_proxy_that_fails(connect: Connect, scheme: str, handle: Any) -> None:
    """Nor those of a way that could not be had."""
    with listening(handle) as port:
        proxy = f"{scheme}://alice:pa%3A55@127.0.0.1:{port}"
        retries = ecompute.Retries(attempts=1)
        async with connect(
            "https://localhost:1", token=TOKEN, proxy=proxy, verify=False, retries=retries
        ) as client:
            with pytest.raises(ecompute.ConnectError) as caught:
                await client.containers.list()
    assert_silent(with_locals(caught.value))


async def test_a_bug_below(connect: Connect, kind: str) -> None:
    """An exception that passes as it is shows nothing in the library's frames."""

    def fail(request: httpx.Request) -> httpx.Response:
        raise ZeroDivisionError

    async with connect("http://x", token=TOKEN, transport=httpx.MockTransport(fail)) as client:
        with pytest.raises(ZeroDivisionError) as caught:
            await client.containers.list()
    assert_silent(with_locals(caught.value))


class Interrupted(httpcore.NetworkStream, httpcore.AsyncNetworkStream):
    """A stream in whose writing Ctrl-C falls."""

    def write(self, buffer: bytes, timeout: float | None = None) -> Any:  # type: ignore[override]
        raise KeyboardInterrupt


async def test_an_interruption_while_a_request_is_sent() -> None:
    """It passes as it is, and the frames of our streams show nothing of the request."""
    with pytest.raises(KeyboardInterrupt) as caught:
        BoundedStream(Interrupted()).write(TOKEN.encode())
    assert_silent(shown(caught.value))
    with pytest.raises(KeyboardInterrupt) as caught:
        await ClosingStream(Interrupted()).write(TOKEN.encode())
    assert_silent(shown(caught.value))
