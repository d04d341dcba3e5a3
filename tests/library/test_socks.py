"""Proxies that speak SOCKS5: those that do as they should, refuse, talk nonsense or say nothing."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

import ecompute
from ecompute.socks import conversation

from .authority import Authority
from .fake_server import LIMIT, FakeServer
from .listening import listening, two_kinds
from .shown import shown
from .test_proxies import pump

pytestmark = pytest.mark.anyio

Serve = Callable[..., FakeServer]
Connect = Callable[..., Any]

USER, PASSWORD = b"alice", b"pa:55"
GRANTED = b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00"


class SocksProxy:
    """A proxy on loopback, which demands a user and a password (RFC 1928, RFC 1929)."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []

    def __call__(self, sock: socket.socket) -> None:
        with suppress(OSError):
            file = sock.makefile("rb")
            _, count = file.read(2)
            if 2 not in file.read(count):
                sock.sendall(b"\x05\xff")
                return
            sock.sendall(b"\x05\x02")
            _, size = file.read(2)
            user = file.read(size)
            known = (user, file.read(file.read(1)[0])) == (USER, PASSWORD)
            sock.sendall(b"\x01\x00" if known else b"\x01\x01")
            if not known:
                return
            *_, kind = file.read(4)
            host = {
                1: lambda: socket.inet_ntop(socket.AF_INET, file.read(4)),
                3: lambda: file.read(file.read(1)[0]).decode(),
                4: lambda: socket.inet_ntop(socket.AF_INET6, file.read(16)),
            }[kind]()
            port = int.from_bytes(file.read(2), "big")
            self.asked.append((host, port))
            with socket.create_connection((host, port)) as onward:
                sock.sendall(GRANTED)
                back = threading.Thread(target=pump, args=(onward, sock))
                back.start()
                pump(sock, onward)
                back.join(LIMIT)


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
@pytest.mark.parametrize("secured", [False, True])
async def test_through_a_proxy(
    serve: Serve, connect: Connect, authority: Authority, scheme: str, secured: bool
) -> None:
    """Calls and feeds pass, with TLS and without; the name of the host is the proxy's to resolve."""
    server = serve(two_kinds, authority.server(demands=False) if secured else None)
    proxy = SocksProxy()
    port_of_server = int(server.url.rpartition(":")[2])
    with listening(proxy) as port:
        address = f"{scheme}://alice:pa%3A55@127.0.0.1:{port}"
        async with connect(server, verify=authority.file, proxy=address) as client:
            assert await client.containers.list() == []
            assert await client.containers.list() == []
            async with client.events() as events:
                assert (await anext(aiter(events))).containers[0].id == "a"
        server.wait_idle()
    # one connection for all: the feed takes it over
    assert proxy.asked == [("localhost", port_of_server)]


async def test_a_server_without_a_name(serve: Serve, connect: Connect) -> None:
    """Its address is passed on as it is."""
    server = serve(two_kinds)
    proxy = SocksProxy()
    with listening(proxy) as port:
        url = server.url.replace("localhost", "127.0.0.1")
        async with connect(url, proxy=f"socks5://alice:pa%3A55@127.0.0.1:{port}") as client:
            assert await client.containers.list() == []
    assert [host for host, _ in proxy.asked] == ["127.0.0.1"]


@pytest.mark.parametrize("login", ["alice:wr0ng@", ""])
async def test_a_login_that_is_wrong(connect: Connect, login: str) -> None:
    """The error says what is missing, and not what was tried."""
    with listening(SocksProxy()) as port:
        async with connect("http://localhost:1", proxy=f"socks5://{login}127.0.0.1:{port}") as client:
            with pytest.raises(ecompute.ConnectError, match="asks for a user name and password") as caught:
                await client.containers.create("box", [1])
    assert not caught.value.maybe_sent
    assert "wr0ng" not in shown(caught.value)


def saying(*parts: bytes) -> Callable[[socket.socket], None]:
    """Answers each message with the next of these, and then listens until the other side hangs up."""

    def handle(sock: socket.socket) -> None:
        with suppress(OSError):
            for part in parts:
                sock.recv(65536)
                sock.sendall(part)
            while sock.recv(65536):
                pass
            ended.set()

    ended = threading.Event()
    handle.ended = ended  # type: ignore[attr-defined]
    return handle


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([b"HTTP/1.1 400 Bad Request\r\n\r\n"], "does not speak SOCKS5"),
        ([b"\x04\x00"], "does not speak SOCKS5"),
        ([b"\x05\x07"], "asks for a user name"),
        ([b"\x05\xff"], "asks for a user name"),
        ([b"\x05\x00", b"\x00" * 40], "does not speak SOCKS5"),
        ([b"\x05\x00", GRANTED + b"HTTP/1.1 200 OK\r\n"], "does not speak SOCKS5"),
        ([b"\x05\x00", b"\x05\x05\x00\x01" + bytes(6)], "refuses it: the connection was refused"),
        ([b"\x05\x00", b"\x05\x63\x00\x01" + bytes(6)], "refuses it: its reply is 99"),
    ],
)
async def test_what_a_proxy_may_say(connect: Connect, parts: list[bytes], expected: str) -> None:
    """Nonsense and refusals are told as such; nothing was sent to the server, and the connection ends."""
    proxy = saying(*parts)
    with listening(proxy) as port:
        retries = ecompute.Retries(attempts=1)
        address = f"socks5://127.0.0.1:{port}"
        async with connect("http://localhost:1", proxy=address, retries=retries) as client:
            with pytest.raises(ecompute.ConnectError, match=expected) as caught:
                await client.containers.list()
            assert proxy.ended.wait(LIMIT)  # type: ignore[attr-defined]
    assert not caught.value.maybe_sent


@pytest.mark.parametrize("said", [b"", b"\x05", b"\x05\x00\x05\x00\x00\x03"])
async def test_a_proxy_that_hangs_up(connect: Connect, said: bytes) -> None:
    """In the middle of its sentence."""

    def hang_up(sock: socket.socket) -> None:
        sock.recv(65536)
        sock.sendall(said)
        sock.shutdown(socket.SHUT_WR)

    with listening(hang_up) as port:
        async with connect("http://localhost:1", proxy=f"socks5://127.0.0.1:{port}") as client:
            with pytest.raises(ecompute.ConnectError, match="the proxy hung up"):
                await client.containers.list(timeout=LIMIT)


async def test_a_proxy_that_says_nothing(connect: Connect) -> None:
    """The deadline holds."""
    proxy = saying()
    with listening(proxy) as port:
        async with connect("http://localhost:1", proxy=f"socks5://127.0.0.1:{port}") as client:
            with pytest.raises(ecompute.DeadlineExceeded):
                await client.containers.list(timeout=0.3)
            assert proxy.ended.wait(LIMIT)  # type: ignore[attr-defined]


@pytest.mark.parametrize("make", [ecompute.Client, ecompute.AsyncClient])
def test_a_login_that_is_too_long(make: Any) -> None:
    """The protocol has no room for it, which is told at once."""
    with pytest.raises(ecompute.InvalidArgument, match="The proxy must be") as caught:
        make("t", "http://x", proxy=f"socks5://u:{'s3cret' * 50}@localhost")
    assert "s3cret" not in shown(caught.value)


def test_a_conversation_in_small_pieces() -> None:
    """However the proxy's words are cut, the same is said; addresses have the forms of RFC 1928, 5."""
    for host, address in (
        ("192.0.2.7", b"\x01\xc0\x00\x02\x07"),
        ("2001:db8::1", b"\x04\x20\x01\x0d\xb8" + bytes(11) + b"\x01"),
        ("example.org", b"\x03\x0bexample.org"),
    ):
        for kind in (b"\x01" + bytes(4), b"\x03\x02ab", b"\x04" + bytes(16)):
            answers = iter(b"\x05\x00" + b"\x05\x00\x00" + kind + bytes(2))
            talk = conversation(host, 443, None)
            said = [next(talk)]
            with suppress(StopIteration):
                while True:
                    said.append(talk.send(b"" if said[-1] else bytes([next(answers)])))
            assert b"".join(said) == b"\x05\x01\x00" + b"\x05\x01\x00" + address + b"\x01\xbb"
            assert list(answers) == []
