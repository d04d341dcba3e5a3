"""Creating, with the answer lost at every byte: exactly one container, or a doubt that is told."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

import ecompute
from ecompute.testing import AsyncFaultyTransport, FaultyTransport, LoseAnswer, LoseRequest
from ecompute_server.testing import RunningServer, running_server

pytestmark = pytest.mark.anyio

Connect = Callable[..., Any]
QUICK = ecompute.Retries(first=0, longest=0)


@pytest.fixture
def real() -> Iterator[RunningServer]:
    """A real server with room for many containers, none of which boots meanwhile."""
    with running_server(max_containers_per_user=5000) as server:
        server.faults.slow_boot(3600, times=None)
        yield server


@pytest.fixture
def key(real: RunningServer, public_key: str) -> int:
    """A registered key."""
    with real.client() as client:
        return client.ssh_keys.add("key", public_key).id


def length_of_the_answer(server: RunningServer, key: int) -> int:
    """Bytes of the answer to a create, its head included."""
    body = f'{{"name": "box-000", "ssh_key_ids": [{key}]}}'
    lines = [
        "POST /compute/containers HTTP/1.1",
        "Host: localhost",
        f"Authorization: Bearer {server.token}",
        "Connection: close",
        f"Content-Length: {len(body)}",
    ]
    answer = b""
    with socket.create_connection(("127.0.0.1", urlsplit(server.url).port or 0)) as link:
        link.sendall("\r\n".join([*lines, "", body]).encode())
        while data := link.recv(65536):
            answer += data
    assert answer.startswith(b"HTTP/1.1 200 ")
    return len(answer)


async def test_a_create_whose_answer_is_cut_anywhere(real: RunningServer, key: int, connect: Connect) -> None:
    """Wherever the wire breaks, a create succeeds and makes exactly one container."""
    cuts = range(length_of_the_answer(real, key) + 1)
    made = {}
    async with connect(real.url, token=real.token, retries=QUICK) as client:
        (first,) = await client.containers.list()
        for cut in cuts:
            real.faults.lose_answer("create", after_bytes=cut)
            box = await client.containers.create(f"box-{cut:03}", [key])
            made[box.id] = box.name
        there = {box.id: box.name for box in await client.containers.list()}
    lost = [each.call for each in real.faults.history if each.operation == "containers.create"]
    assert len(lost) == len(made) == len(cuts)
    assert there == {first.id: first.name, **made}


class Keyless(httpx.BaseTransport):
    """A way to a server that says nothing of idempotency keys; counts what it creates."""

    def __init__(self) -> None:
        self._inner = httpx.HTTPTransport()
        self.creates = 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.creates += request.method == "POST"
        response = self._inner.handle_request(request)
        response.headers.pop("Idempotency-Supported", None)
        return response

    def close(self) -> None:
        self._inner.close()


class AsyncKeyless(httpx.AsyncBaseTransport):
    """Its twin."""

    def __init__(self) -> None:
        self._inner = httpx.AsyncHTTPTransport()
        self.creates = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.creates += request.method == "POST"
        response = await self._inner.handle_async_request(request)
        response.headers.pop("Idempotency-Supported", None)
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()


async def test_a_server_that_honours_no_keys(
    real: RunningServer, key: int, connect: Connect, kind: str
) -> None:
    """Wherever the wire breaks before the last byte, the doubt is told, and a create is sent once."""
    faulty: Any = FaultyTransport if kind == "sync" else AsyncFaultyTransport
    cuts = range(0, _shortest(length_of_the_answer(real, key)), 11)
    for cut in cuts:
        inner: Any = Keyless() if kind == "sync" else AsyncKeyless()
        transport = faulty(LoseAnswer("create", after_bytes=cut), inner=inner)
        async with connect(real.url, token=real.token, transport=transport, retries=QUICK) as client:
            with pytest.raises(ecompute.OutcomeUnknown) as caught:
                await client.containers.create(f"box-{cut}", [key])
            names = [box.name for box in await client.containers.list()]
        assert caught.value.key is not None
        assert (inner.creates, len(transport.history), names.count(f"box-{cut}")) == (1, 1, 1)
    assert len(names) == 1 + len(cuts)


def _shortest(length: int) -> int:
    # without the header that is taken away, and the one about the connection
    return length - len("Idempotency-Supported: true\r\n" + "Connection: close\r\n") - len("box-000")


async def test_a_request_that_is_lost(real: RunningServer, key: int, connect: Connect, kind: str) -> None:
    """A create that never came to the server is sent again under its key, and there is one container."""
    faulty: Any = FaultyTransport if kind == "sync" else AsyncFaultyTransport
    transport = faulty(LoseRequest("create"))
    async with connect(real.url, token=real.token, transport=transport, retries=QUICK) as client:
        box = await client.containers.create("box", [key])
        assert [each.id for each in await client.containers.list()] == [box.id]
    assert len(transport.history) == 1
