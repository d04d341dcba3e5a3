"""What a relay holds while one side does not take what the other gives."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest

from ecompute_server.gateway.limits import CHUNK
from ecompute_server.gateway.relay import Relay

from .harness import turns

pytestmark = pytest.mark.anyio


@pytest.fixture
def pairs() -> Iterator[tuple[socket.socket, socket.socket, socket.socket, socket.socket]]:
    """A visitor, its two ends at the relay, and a guest."""
    sockets = (*socket.socketpair(), *socket.socketpair())
    for each in sockets:
        each.setblocking(False)
    yield sockets
    for each in sockets:
        each.close()


async def fill(connection: socket.socket) -> int:
    """Send until nothing more is taken, however long one waits; how much was."""
    sent = 0
    while True:
        before = sent
        try:
            while True:
                sent += connection.send(bytes(65536))
        except BlockingIOError:
            await turns()
        if sent == before:
            return sent


async def test_a_side_that_does_not_read_costs_one_chunk(
    pairs: tuple[socket.socket, socket.socket, socket.socket, socket.socket],
) -> None:
    """Both directions stop with bounded memory, and lose nothing."""
    visitor, outer, inner, guest = pairs
    relay = Relay(outer, inner, memoryview(bytearray(CHUNK)), lambda: None)
    sent = [await fill(visitor), await fill(guest)]
    assert 0 < relay.held <= 2 * CHUNK
    loop = asyncio.get_running_loop()
    visitor.shutdown(socket.SHUT_WR)
    guest.shutdown(socket.SHUT_WR)
    for end, expected in ((guest, sent[0]), (visitor, sent[1])):
        received = 0
        while data := await loop.sock_recv(end, 1 << 20):
            received += len(data)
        assert received == expected
    await relay.ended
    assert relay.held == 0
    relay.stop()


async def test_the_guest_is_heard_once(
    pairs: tuple[socket.socket, socket.socket, socket.socket, socket.socket],
) -> None:
    """What the visitor says does not count; the guest's first byte does, later ones do not."""
    visitor, outer, inner, guest = pairs
    heard: list[None] = []
    relay = Relay(outer, inner, memoryview(bytearray(CHUNK)), lambda: heard.append(None))
    loop = asyncio.get_running_loop()
    visitor.send(b"question")
    assert await loop.sock_recv(guest, 100) == b"question"
    assert not heard
    for _ in range(2):
        guest.send(b"answer")
        assert await loop.sock_recv(visitor, 100) == b"answer"
    assert len(heard) == 1
    relay.stop()
    relay.stop()
