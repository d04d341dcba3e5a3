"""A feed that comes back a thousand times leaves no socket, thread or task behind, and no memory."""

from __future__ import annotations

import gc
import json
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import anyio.to_thread
import pytest
from wsproto.connection import Connection, ConnectionType
from wsproto.events import TextMessage
from wsproto.utilities import generate_accept_token

from ecompute.protocol import policy

from .blunt_server import Flapping
from .fake_server import LIMIT, render
from .held import held, settled

pytestmark = pytest.mark.anyio

Connect = Callable[..., Any]

WARM_UP = 101
"""Reconnects until buffers, caches and threads that are kept on purpose are there; both are odd, so that the
last connection tells another status than the first."""
RECONNECTS = 1001
MOST_BYTES = 200_000
"""Growth that is allowed over a thousand reconnects: 200 bytes each. The smallest thing that one could leave
is an object with a dictionary and an entry in a list, which has about that; a connection has a hundred times
as much. What the interpreter itself keeps stays far below."""


def status(count: int) -> str:
    """What the container is said to be on the connection of this number."""
    return "running" if count % 2 else "stopped"


def shows(count: int) -> Callable[[Any], bool]:
    """Whether a view knows what that connection told."""
    return lambda view: view["a"].status == status(count)


def answer(head: bytes, count: int) -> bytes:
    """A feed's opening and a snapshot, each time with another status; or one container."""
    lines = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n") if b": " in line)
    key = lines.get(b"sec-websocket-key")
    box = {"id": "a", "name": "a", "status": status(count)}
    if key is None:
        return render(200, json.dumps(box).encode(), {"Connection": "close"})
    # the values keep their case
    start = head.lower().index(b"sec-websocket-key: ") + len(b"sec-websocket-key: ")
    accept = generate_accept_token(head[start : start + len(key)])
    opening = (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )
    text = json.dumps({"type": "containers", "data": [box]})
    return opening + Connection(ConnectionType.SERVER).send(TextMessage(text))


@pytest.fixture
def flapping() -> Iterator[Flapping]:
    """A server whose every feed breaks off after its snapshot."""
    server = Flapping(answer)
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def restless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that comes back at once, however often its feed has broken."""
    monkeypatch.setattr(policy, "RECONNECTS", policy.Retries(first=0.0, longest=0.0))


@pytest.fixture
def traced() -> Iterator[None]:
    """Memory is traced during the test."""
    tracemalloc.start()
    yield
    tracemalloc.stop()


def used() -> int:
    """Bytes that are in use."""
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


async def flap(server: Flapping, count: int) -> None:
    """Break off so many connections."""
    await anyio.to_thread.run_sync(server.flap, count)


async def test_a_thousand_reconnects_of_events(flapping: Flapping, connect: Connect, traced: None) -> None:
    """Every reconnect tells the change that it found, and costs nothing that stays."""
    outside = held()
    async with connect(flapping) as client, client.events() as events:
        await events.receive(LIMIT)

        async def come_back(count: int) -> None:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(flap, flapping, count)
                for _ in range(count):
                    await events.receive(LIMIT)

        await come_back(WARM_UP)
        before, memory = held(), used()
        await come_back(RECONNECTS)
        await settled(before)
        assert used() - memory < MOST_BYTES
    flapping.break_off()
    await settled(outside)


async def test_a_thousand_reconnects_of_a_watch(flapping: Flapping, connect: Connect, traced: None) -> None:
    """A view that nobody reads comes back as well, and costs nothing that stays."""
    outside = held()
    async with connect(flapping) as client, client.watch() as watch:
        await flap(flapping, WARM_UP)
        await watch.wait(shows(flapping.count), LIMIT)
        before, memory = held(), used()
        await flap(flapping, RECONNECTS)
        await watch.wait(shows(flapping.count), LIMIT)
        await settled(before)
        assert used() - memory < MOST_BYTES
    flapping.break_off()
    await settled(outside)
