"""Proxies: by argument, environment and profile, those that refuse, and those that are none."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

import ecompute

from .authority import Authority
from .fake_server import LIMIT, FakeServer, render
from .listening import listening, two_kinds
from .shown import shown

pytestmark = pytest.mark.anyio

Serve = Callable[..., FakeServer]
Connect = Callable[..., Any]

EMPTY: dict[str, list[object]] = {"containers": []}


class Proxy:
    """A proxy for CONNECT (RFC 9110, 9.3.6) and for plain requests, on loopback."""

    def __init__(self, refuses: bytes = b"") -> None:
        self.heads: list[bytes] = []
        self._refuses = refuses

    def __call__(self, sock: socket.socket) -> None:
        with suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                piece = sock.recv(65536)
                if not piece:
                    return
                head += piece
            self.heads.append(head)
            if self._refuses:
                sock.sendall(self._refuses)
                return
            method, target, _ = head.split(b"\r\n")[0].split(b" ")
            address = target.decode() if method == b"CONNECT" else target.decode().split("/")[2]
            host, port = address.split(":")
            with socket.create_connection((host, int(port))) as onward:
                if method == b"CONNECT":
                    sock.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                else:
                    onward.sendall(head.replace(target, b"/" + target.split(b"/", 3)[3], 1))
                back = threading.Thread(target=pump, args=(onward, sock))
                back.start()
                pump(sock, onward)
                back.join(LIMIT)


def pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    for sock in (source, target):
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)


async def test_through_a_proxy(
    serve: Serve, connect: Connect, authority: Authority, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """By argument, environment or profile, with its password; TLS and WebSockets pass as they are."""
    server = serve(two_kinds, authority.server(demands=False))
    proxy = Proxy()
    with listening(proxy) as port:
        address = f"http://alice:pa%3A55@127.0.0.1:{port}"
        config = tmp_path / "config.toml"
        config.write_text(f'[profiles.w]\nurl = "{server.url}"\ntoken = "t"\nproxy = "{address}"\n')
        config.chmod(0o600)
        monkeypatch.setenv("ECOMPUTE_CONFIG", str(config))
        variants: list[tuple[dict[str, str], dict[str, Any]]] = [
            ({}, {"proxy": address}),
            ({"HTTPS_PROXY": address}, {}),
            ({"all_proxy": address.removeprefix("http://")}, {}),
            ({}, {"profile": "w", "token": None, "base_url": None}),
        ]
        for environ, settings in variants:
            with monkeypatch.context() as patch:
                for name, value in environ.items():
                    patch.setenv(name, value)
                async with connect(server, verify=authority.file, **settings) as client:
                    assert await client.containers.list() == []
                    async with client.events() as events:
                        assert (await anext(aiter(events))).containers[0].id == "a"
            assert len(proxy.heads) == 1
            for head in proxy.heads:
                assert head.startswith(b"CONNECT localhost:")
                assert b"Proxy-Authorization: Basic YWxpY2U6cGE6NTU=" in head
                assert b"Bearer" not in head
            proxy.heads.clear()
        with monkeypatch.context() as patch:
            patch.setenv("HTTPS_PROXY", address)
            patch.setenv("NO_PROXY", "localhost")
            async with connect(server, verify=authority.file) as client:
                await client.containers.list()
        assert proxy.heads == []


async def test_a_plain_request_through_a_proxy(serve: Serve, connect: Connect) -> None:
    """Without TLS the proxy gets the whole address."""
    server = serve(two_kinds)
    proxy = Proxy()
    with listening(proxy) as port:
        async with connect(server, proxy=f"http://127.0.0.1:{port}") as client:
            assert await client.containers.list() == []
    assert proxy.heads[0].startswith(f"GET {server.url}/compute/containers HTTP/1.1\r\n".encode())
    assert server.seen[0].headers["authorization"] == "Bearer t0ken"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (render(407, b""), "the proxy asks for a user name and password"),
        (render(503, b"s3cret"), "the proxy refuses it with the status 503"),
    ],
)
async def test_a_proxy_that_refuses(connect: Connect, answer: bytes, expected: str) -> None:
    """Nothing was sent to the server, which the error says, and its cause."""
    with listening(Proxy(answer)) as port:
        proxy = f"http://u:pa55@127.0.0.1:{port}"
        async with connect("https://localhost:1", verify=False, proxy=proxy) as client:
            with pytest.raises(ecompute.ConnectError, match=expected) as caught:
                await client.containers.create("box", [1])
    assert not caught.value.maybe_sent
    assert "pa55" not in shown(caught.value)


async def test_a_proxy_that_is_not_there(connect: Connect) -> None:
    """It is a connection that cannot be had, not an answer that was lost."""
    async with connect("https://localhost:1", verify=False, proxy="http://127.0.0.1:9") as client:
        with pytest.raises(ecompute.ConnectError, match="could not be reached") as caught:
            await client.containers.create("box", [1])
    assert not caught.value.maybe_sent


@pytest.mark.parametrize(
    "proxy", ["nonsense", "ftp://s3cret", "http://", "http://s3cret:port", "", "//s3cret"]
)
@pytest.mark.parametrize("make", [ecompute.Client, ecompute.AsyncClient])
def test_proxies_that_are_none(make: Any, proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are told at once, without the address, which may hold a password."""
    with pytest.raises(ecompute.InvalidArgument, match=r"^The proxy must be an address like") as caught:
        make("t", "https://x", proxy=proxy)
    assert "s3cret" not in shown(caught.value)
    monkeypatch.setenv("HTTPS_PROXY", "ftp://s3cret")
    with pytest.raises(ecompute.InvalidArgument, match=r"^The proxy of the environment must be") as caught:
        make("t", "https://x")
    assert "s3cret" not in shown(caught.value)
    make("t", "https://x", transport=httpx.MockTransport(lambda request: httpx.Response(200)))
