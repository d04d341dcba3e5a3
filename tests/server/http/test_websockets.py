"""WebSocket peers that break the protocol, say nothing or too much: on the server itself, and on small
applications of its protocol.
"""

from __future__ import annotations

import asyncio
import select
import time
from collections.abc import Iterator
from queue import Queue
from typing import Any

import pytest
from starlette.websockets import WebSocket
from uvicorn.protocols.websockets.wsproto_impl import WSProtocol
from wsproto.events import CloseConnection, Ping, Pong

from ecompute_server.http import protocols, websockets
from ecompute_server.http.frames import Prepared
from ecompute_server.http.sockets import CloseCode, Socket, SocketClosed
from ecompute_server.testing import RunningServer, running_server
from tests.server.http.wire import PATIENCE, Closed, Wire, frame, hosted

LIMIT = 1024 * 1024


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    """One server for all faults: each test shows that it is still there."""
    with running_server() as running:
        yield running


FAULTS = {
    "not masked": (frame(2, b"x", masked=False), 1002),
    "unknown opcode": (frame(3, b"x"), 1002),
    "unknown control opcode": (frame(11, b"x"), 1002),
    "reserved bit": (b"\xf1\x81\0\0\0\0x", 1002),
    "fragmented ping": (frame(9, b"x", fin=False), 1002),
    "long ping": (frame(9, bytes(126)), 1002),
    "continuation of nothing": (frame(0, b"x"), 1002),
    "message inside a message": (frame(1, b"x", fin=False) + frame(1, b"y"), 1002),
    "close code of half a byte": (frame(8, b"\x03"), 1002),
    "close code that is none": (frame(8, b"\x03\xed"), 1002),
    "longest length": (b"\x82\xff" + b"\xff" * 8 + b"\0\0\0\0", 1002),
    "size in too many bytes": (b"\x82\xfe\0\x01\0\0\0\0x", 1002),
    "no UTF-8": (frame(1, b"\xc3\x28"), 1007),
    "half a character": (frame(1, b"\xe2\x82"), 1007),
    "reason that is no UTF-8": (frame(8, b"\x03\xe8\xff"), 1007),
    "over the limit": (frame(2, bytes(LIMIT + 1)), 1009),
    "over the limit in pieces": (frame(2, bytes(LIMIT), fin=False) + frame(0, b"x"), 1009),
    "over the limit as text": (frame(1, "é".encode() * (LIMIT // 2 + 1)), 1009),
}


@pytest.mark.parametrize(("data", "code"), FAULTS.values(), ids=FAULTS)
def test_a_fault_is_answered_with_its_code(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch, data: bytes, code: int
) -> None:
    """The peer is told and let go; others notice nothing."""
    monkeypatch.setattr(websockets, "FAULT_SECONDS", 0.05)
    with Wire(server, "/compute/ws") as other, Wire(server, "/compute/ws") as wire:
        other.receive()
        wire.link.sendall(data)
        closed = wire.until_closed()[2]
        assert closed is not None
        assert closed.code == code
        wire.control(CloseConnection(code))
        assert wire.receive() is None
        other.control(Ping(b"still there"))
        assert other.receive() == Pong(bytearray(b"still there"))


def test_the_largest_message_is_taken(server: RunningServer) -> None:
    """The limit itself is within it."""
    with Wire(server, "/compute/ws") as wire:
        wire.receive()
        wire.link.sendall(frame(2, bytes(LIMIT)))
        wire.control(Ping(b"on"))
        assert wire.receive() == Pong(bytearray(b"on"))


def test_bursts_of_small_frames_are_answered_in_order(server: RunningServer) -> None:
    """Each has its turn, also when thousands come in one piece; so many pings have at least one answer."""
    with Wire(server, "/compute/ws") as wire:
        wire.receive()
        wire.link.sendall(b"".join(frame(9, str(number).encode()) for number in range(5000)) + frame(8))
        answers = []
        while not isinstance(message := wire.receive(), Closed):
            assert isinstance(message, Pong)
            answers.append(int(message.payload))
    assert answers == sorted(answers)
    assert answers[-1] == 4999


def test_after_a_fault_nothing_is_looked_at(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a peer goes on to send is dropped until its time is over, and it still sees the code."""
    monkeypatch.setattr(websockets, "FAULT_SECONDS", 0.2)
    with Wire(server, "/compute/ws") as wire:
        wire.receive()
        wire.link.sendall(frame(3) + frame(2, bytes(LIMIT)) * 8)
        closed = wire.until_closed()[2]
        assert closed is not None
        assert closed.code == 1002


# --- applications of their own


class Application:
    """Accepts, and lets a test's function converse; `ends` has how each conversation ended."""

    def __init__(self, converse: Any) -> None:
        self._converse = converse
        self.ends: Queue[BaseException | None] = Queue()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        socket = Socket(WebSocket(scope, receive, send))
        await socket.accept()
        try:
            async with socket.conversation():
                await self._converse(socket)
        except SocketClosed as error:
            self.ends.put(error)
        else:
            self.ends.put(None)
        await socket.close(CloseCode.NORMAL)


async def echo_once(socket: Socket) -> None:
    await socket.send(await socket.receive())


async def never(socket: Socket) -> None:
    await asyncio.Event().wait()


async def listening(socket: Socket) -> None:
    while True:
        await socket.receive()


def test_a_message_may_have_many_fragments() -> None:
    """Also empty ones, with pings between them."""
    app = Application(echo_once)
    with hosted(app) as host, Wire(host, "/") as wire:
        wire.link.sendall(frame(1, b"a", fin=False) + frame(0, fin=False) * 1000 + frame(9, b"p"))
        assert wire.receive() == Pong(bytearray(b"p"))
        wire.link.sendall(frame(0, "é".encode()[:1], fin=False) + frame(0, "é".encode()[1:]))
        assert wire.receive() == "aé"


def test_who_is_silent_is_dropped() -> None:
    """Two pings without an answer; it is not told that the guest was lost."""
    app = Application(listening)
    with hosted(app, ping_seconds=0.1) as host, Wire(host, "/") as wire:
        heard = b""
        while data := wire.link.recv(4096):
            heard += data
        assert isinstance(app.ends.get(timeout=PATIENCE), SocketClosed)
    assert heard.count(b"\x89\x00") >= 1
    assert b"\x88" not in heard


def test_who_answers_is_kept() -> None:
    """Pongs are enough, and so is anything else."""
    app = Application(listening)
    with hosted(app, ping_seconds=0.1) as host, Wire(host, "/") as wire:
        for _ in range(6):
            while (data := wire.link.recv(2)) != b"\x89\x00":
                assert data
            wire.send("not a pong")
        assert app.ends.empty()


def test_who_is_not_listened_to_is_not_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its answers wait behind what the application does not take."""
    monkeypatch.setattr(protocols, "PROBE_SECONDS", 1000)
    told = asyncio.Event()

    async def deaf(socket: Socket) -> None:
        await told.wait()
        for _ in range(2):
            await socket.send(await socket.receive())

    app = Application(deaf)
    with hosted(app, ping_seconds=0.1) as host, Wire(host, "/") as wire:
        wire.send("first")
        wire.send("second")
        for _ in range(6):
            assert wire.link.recv(2) == b"\x89\x00"
        assert app.ends.empty()
        told._loop.call_soon_threadsafe(told.set)  # type: ignore[attr-defined]
        assert [wire.receive(), wire.receive()] == ["first", "second"]
        assert app.ends.get(timeout=PATIENCE) is None


def test_who_is_busy_reading_is_not_silent() -> None:
    """Pings wait behind all that is on its way; to read is a sign of life."""

    async def flood(socket: Socket) -> None:
        while True:
            await socket.send(bytes(8 * 1024 * 1024))  # more than the kernel takes at once

    app = Application(flood)
    with hosted(app, ping_seconds=0.1) as host, Wire(host, "/", receive_buffer=65536) as wire:
        until = time.monotonic() + 1
        while time.monotonic() < until:
            assert wire.link.recv(16 * 1024)
        assert app.ends.empty()


@pytest.mark.parametrize("how", ["end", "reset"])
def test_a_conversation_that_does_not_receive_learns_that_the_peer_left(how: str) -> None:
    """Although what the peer sent before has not been looked at."""
    app = Application(never)
    with hosted(app) as host, Wire(host, "/") as wire:
        for _ in range(3):
            wire.send("nobody takes this")
        if how == "end":
            wire.link.close()
        else:
            wire.leave()
        assert isinstance(app.ends.get(timeout=PATIENCE), SocketClosed)


def test_a_close_does_not_wait_for_a_peer_that_does_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """The conversation ends at once although it is blocked in sending, and the connection after a time."""
    monkeypatch.setattr(websockets, "FAREWELL_SECONDS", 0.1)
    sockets: Queue[tuple[Socket, asyncio.AbstractEventLoop]] = Queue()

    async def flood(socket: Socket) -> None:
        much = Prepared.of(bytes(64 * 1024))
        while socket.offer(much):
            pass
        sockets.put((socket, asyncio.get_running_loop()))
        await socket.send("too late")

    app = Application(flood)
    with hosted(app) as host, Wire(host, "/", receive_buffer=4096) as wire:
        socket, loop = sockets.get(timeout=PATIENCE)
        asyncio.run_coroutine_threadsafe(socket.close(CloseCode.REVOKED), loop).result(PATIENCE)
        assert isinstance(app.ends.get(timeout=PATIENCE), SocketClosed)
        reset = select.poll()
        reset.register(wire.link, 0)
        assert reset.poll(PATIENCE * 1000)


TEXTS = ["", "x", "é" * 62, "x" * 126, "x" * 65535, "x" * 65536, "x" * 65537, "é" * 100_001]


def test_a_prepared_message_is_whole() -> None:
    """With every length of its head, and in fragments."""
    prepared = [Prepared.of(text.encode()) for text in TEXTS]

    async def recite(socket: Socket) -> None:
        for message in prepared:
            await socket.send(message)
        assert all(socket.offer(message) for message in prepared[:4])

    with hosted(Application(recite)) as host, Wire(host, "/") as wire:
        assert wire.until_closed()[1:] == (TEXTS + TEXTS[:4], Closed(1000))


def test_a_server_that_is_not_ours_will_do() -> None:
    """A socket then sends everything by itself, and learns of the end by receiving."""

    async def recite(socket: Socket) -> None:
        for text in TEXTS:
            message = Prepared.of(text.encode())
            assert not socket.offer(message)
            await socket.send(message)
        await socket.receive()

    app = Application(recite)
    with hosted(app, protocol=WSProtocol) as host, Wire(host, "/") as wire:
        assert [wire.receive() for _ in TEXTS] == TEXTS
        wire.control(CloseConnection(1000))
        assert isinstance(app.ends.get(timeout=PATIENCE), SocketClosed)


def test_a_flood_of_small_messages_lets_others_have_their_turn() -> None:
    """Whoever takes them one after another is never alone with them for long."""
    alone = 0

    async def take(socket: Socket) -> None:
        nonlocal alone
        turns = 0

        async def other() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        others = asyncio.create_task(other())
        seen, run = 0, 0
        for _ in range(10_000):
            await socket.receive()
            run = run + 1 if turns == seen else 0
            alone, seen = max(alone, run), turns
        others.cancel()

    app = Application(take)
    with hosted(app) as host, Wire(host, "/") as wire:
        wire.link.sendall(frame(1, b"x") * 10_000)
        wire.until_closed()
    assert 0 < alone <= 64
