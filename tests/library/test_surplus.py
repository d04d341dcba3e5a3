"""Connections on which more comes than an answer: what nobody asked for must not answer the next request."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

import ecompute

from .authority import Authority
from .conftest import script
from .fake_server import FakeServer, Request, render

pytestmark = pytest.mark.anyio

Serve = Callable[..., FakeServer]
Connect = Callable[..., Any]

RECORD = 16 * 1024
"""Bytes that fit into one record of TLS (RFC 8446, 5.1)."""


def listed(id_: str, size: int = 0) -> bytes:
    """An answer with one container, at least so many bytes long."""
    body = json.dumps({"containers": [{"id": id_, "name": id_, "status": "running"}]}).encode()
    head = render(200, body, {"X-Fill": ""})
    return render(200, body, {"X-Fill": "x" * max(0, size - len(head))})


def say(data: bytes) -> Callable[[Request], None]:
    return lambda request: request.wire.send(data)


@pytest.fixture(params=[False, True], ids=["plain", "tls"])
def secured(request: pytest.FixtureRequest, authority: Authority) -> dict[str, Any]:
    """What a server takes for TLS, or nothing."""
    return {"tls": authority.server(demands=False)} if request.param else {}


@pytest.mark.parametrize(
    "surplus",
    [
        listed("a") + listed("stale"),
        # the rest is in a record of its own
        listed("a", RECORD) + listed("stale"),
        listed("a") + b"HTTP/1.1 200 OK\r\nContent-Le",
        listed("a") + b"HTTP/1.1 100 Continue\r\n\r\n",
        # as much as one read gives
        listed("a", 65536) + listed("stale"),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n11\r\n"
        b'{"containers":[]}\r\n0\r\n\r\n' + listed("stale"),
    ],
    ids=["whole", "record", "part", "interim", "read", "chunked"],
)
async def test_a_second_answer_is_nobodys(
    serve: Serve, connect: Connect, authority: Authority, secured: dict[str, Any], surplus: bytes
) -> None:
    """What comes behind an answer ends its connection; the next request has one of its own."""
    server = serve(script(say(surplus), say(listed("b")), say(listed("c"))), **secured)
    async with connect(server, verify=authority.file) as client:
        await client.containers.list()
        assert [box.id for box in await client.containers.list()] == ["b"]
        assert [box.id for box in await client.containers.list()] == ["c"]
    server.wait_idle()
    first, *others = [request.wire for request in server.seen]
    assert first not in others
    # one that is in order is used again
    assert others[0] is others[1]


async def test_what_comes_while_nobody_asks(
    serve: Serve, connect: Connect, authority: Authority, secured: dict[str, Any]
) -> None:
    """Ends the connection as well."""
    server = serve(script(say(listed("a")), say(listed("b"))), **secured)
    async with connect(server, verify=authority.file) as client:
        await client.containers.list()
        # on loopback it has arrived when it is sent
        server.seen[0].wire.send(listed("stale"))
        assert [box.id for box in await client.containers.list()] == ["b"]
    assert server.seen[0].wire is not server.seen[1].wire


async def test_a_refused_upgrade_with_a_second_answer(serve: Serve, connect: Connect) -> None:
    """What refuses a WebSocket is an answer like others."""
    refusal = render(404, b'{"error": "No.", "code": "not_found"}')
    server = serve(script(say(refusal + listed("stale")), say(listed("b"))))
    async with connect(server) as client:
        with pytest.raises(ecompute.NotFound):
            await client.events().__aenter__()
        assert [box.id for box in await client.containers.list()] == ["b"]
