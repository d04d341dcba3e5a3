"""What goes wrong between a client and its server ends in a documented exception or is mended in silence;
never in a hang, and nothing is left behind.
"""

from __future__ import annotations

import json
import os
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import anyio
import pytest

import ecompute

from .blunt_server import BluntServer, after_a_request, endless, speaking, unasked
from .conftest import script
from .fake_server import LIMIT, FakeServer, Hangup, Request, render
from .held import held, settled
from .test_calls import BOX

pytestmark = pytest.mark.anyio

Serve = Callable[..., FakeServer]
Speak = Callable[[Callable[[socket.socket], None]], BluntServer]
Connect = Callable[..., Any]

PAGE = b"<!DOCTYPE html><html><body>" + b"<p>Something went wrong, somewhere.</p>\n" * 20 + b"</body></html>"
DAY = 86_400.0


@pytest.fixture(autouse=True)
async def nothing_is_left() -> AsyncIterator[None]:
    """No test holds more sockets, threads or tasks at its end than at its beginning."""
    before = held()
    yield
    await settled(before)


@pytest.fixture
def speak() -> Iterator[Speak]:
    """Starts servers that do not speak HTTP, which end with the test."""
    with ExitStack() as stack:
        yield lambda how: stack.enter_context(speaking(how))


async def every_way(client: Any, expected: tuple[type[Exception], ...]) -> None:
    """Ask for something, wait for events, watch, and open a terminal: each ends as expected."""
    for use in (
        client.session(),
        client.containers.list(),
        client.events().__aenter__(),
        client.watch().__aenter__(),
        client.terminal("abc12345").__aenter__(),
        client.run("abc12345", "true"),
    ):
        with pytest.raises(expected):
            await use
    with pytest.raises((*expected, ecompute.OutcomeUnknown)):
        await client.containers.create("box", [1])


# --- somebody else answers ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "how",
    [
        pytest.param(unasked(b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"), id="ssh"),
        pytest.param(unasked(b"220 mail.example ESMTP ready\r\n"), id="smtp"),
        pytest.param(after_a_request(b"Hello. This is plain text.\n"), id="text"),
        pytest.param(after_a_request(os.urandom(512)), id="noise"),
        pytest.param(after_a_request(b"\x15\x03\x01\x00\x02\x02\x46"), id="tls alert"),
        pytest.param(after_a_request(b""), id="nothing"),
        pytest.param(lambda sock: None, id="hangs up"),
        pytest.param(after_a_request(b"HTTP/1.1 200 OK\r\nContent-Le"), id="half a head"),
        pytest.param(after_a_request(b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n{"), id="half a body"),
        pytest.param(
            after_a_request(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n{"),
            id="half a chunk",
        ),
        pytest.param(endless(b"HTTP/1.1 200 OK\r\n", b"X-More: and more\r\n"), id="a head without end"),
    ],
)
async def test_something_else_listens_there(
    speak: Speak, connect: Connect, how: Callable[[socket.socket], None]
) -> None:
    """What is no HTTP, or breaks off in the middle of it, is a connection that failed; who says one line and
    then waits for ours, as SSH does, is one that did not answer.
    """
    async with connect(speak(how), timeout=0.2) as client:
        await every_way(client, (ecompute.ConnectError, ecompute.DeadlineExceeded))


@pytest.mark.parametrize("status", [200, 404, 500, 503])
async def test_a_web_page_answers(serve: Serve, connect: Connect, status: int) -> None:
    """A wrong address is known by its pages, whatever status they have; messages do not repeat them."""
    server = serve(lambda r: r.answer(PAGE, status, Content_Type="text/html"))
    async with connect(server) as client:
        await every_way(client, (ecompute.InvalidAnswer, ecompute.APIError, ecompute.Unsupported))
        with pytest.raises(ecompute.Error) as caught:
            await client.containers.list()
    assert "<p>" not in str(caught.value)


async def test_five_hundred_pages(serve: Serve, connect: Connect) -> None:
    """An error page of half a megabyte makes a short sentence."""
    server = serve(lambda r: r.answer(PAGE * 500, 500, Content_Type="text/html"))
    async with connect(server) as client:
        with pytest.raises(ecompute.InternalError) as caught:
            await client.containers.list()
    assert len(str(caught.value)) < 300


async def test_a_page_without_end(speak: Speak, connect: Connect) -> None:
    """An answer that never ends is given up when it is larger than any of this API."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n"
    async with connect(speak(endless(head, b"<p>more</p>" * 10_000))) as client:
        with pytest.raises(ecompute.InvalidAnswer, match="too large"):
            await client.containers.list()


# --- TLS ------------------------------------------------------------------------------------------


async def test_tls_is_refused(serve: Serve, connect: Connect, tls: tuple[ssl.SSLContext, Path]) -> None:
    """A certificate that nobody vouches for, or of another host, is told as such, and nothing is sent."""
    context, authority = tls
    server = serve(lambda r: r.answer(BOX), context)
    elsewhere = server.url.replace("localhost", "127.0.0.1")
    for url, verify in ((server.url, True), (elsewhere, str(authority))):
        async with connect(url, verify=verify) as client:
            with pytest.raises(ecompute.ConnectError, match="certificate is not trusted") as caught:
                await client.containers.create("box", [1])
            assert not caught.value.maybe_sent
            await every_way(client, (ecompute.ConnectError,))
    assert server.seen == []


async def test_no_common_version_of_tls(
    serve: Serve, connect: Connect, tls: tuple[ssl.SSLContext, Path]
) -> None:
    """Parties that have no version in common end in an exception, and nothing is sent."""
    _, authority = tls
    ours = ssl.create_default_context(cafile=str(authority))
    ours.maximum_version = ssl.TLSVersion.TLSv1_2
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.load_cert_chain(authority.with_name("chain.pem"))
    theirs.minimum_version = ssl.TLSVersion.TLSv1_3
    server = serve(lambda r: r.answer(BOX), theirs)
    async with connect(server, verify=ours) as client:
        await every_way(client, (ecompute.ConnectError,))
    assert server.seen == []


async def test_in_clear_to_a_tls_port(
    serve: Serve, connect: Connect, tls: tuple[ssl.SSLContext, Path]
) -> None:
    """http:// where https:// is spoken is a connection that failed."""
    server = serve(lambda r: r.answer(BOX), tls[0])
    async with connect(server.url.replace("https", "http")) as client:
        await every_way(client, (ecompute.ConnectError,))
    assert server.seen == []


@pytest.mark.parametrize(
    "answer",
    [
        render(400, b"<html>That was no HTTP</html>"),
        b"",
        b"SSH-2.0-OpenSSH_9.2p1\r\n",
    ],
)
async def test_tls_to_a_port_in_clear(speak: Speak, connect: Connect, answer: bytes) -> None:
    """https:// where http:// is spoken is one too, and nothing is sent."""
    url = speak(after_a_request(answer)).url.replace("http", "https")
    async with connect(url) as client:
        with pytest.raises(ecompute.ConnectError) as caught:
            await client.session()
        assert not caught.value.maybe_sent
        await every_way(client, (ecompute.ConnectError,))


# --- the server goes away -------------------------------------------------------------------------


async def test_gone_at_every_byte(serve: Serve, connect: Connect) -> None:
    """A read whose answer breaks off anywhere is asked again, and nobody notices."""
    whole = render(200, json.dumps(BOX).encode())
    cuts = iter(range(len(whole)))
    broken = threading.Event()

    def handle(request: Request) -> None:
        if broken.is_set():
            broken.clear()
            request.answer(BOX)
            return
        broken.set()
        request.wire.send(whole[: next(cuts)])
        request.wire.drop()

    server = serve(handle)
    async with connect(server) as client:
        for _ in range(len(whole)):
            assert (await client.containers.get("abc12345")).name == "box"
    assert len(server.seen) == 2 * len(whole)


async def test_a_feed_gone_at_every_byte(serve: Serve, connect: Connect) -> None:
    """Wherever the answer to the opening or a frame breaks off, the feed comes back with what is missing."""
    sent = _bytes_of_a_feed()
    cuts = iter(range(len(sent)))

    def handle(request: Request) -> None:
        cut = next(cuts, None)
        if cut is not None:
            request.wire.send(_feed_for(request)[:cut])
            request.wire.drop()
        socket = request.upgrade()
        socket.snapshot(a="pending")
        socket.status("a", "running")
        socket.serve_until_closed()

    server = serve(handle)
    patient = connect(server, retries=ecompute.Retries(attempts=1000, first=0))
    async with patient as client, client.events() as events:
        first = await events.receive(LIMIT)
        assert isinstance(first, ecompute.Snapshot)
        told = await events.receive(LIMIT)
        assert isinstance(told, ecompute.StatusChanged)
        assert told.status == "running"
    assert len(server.seen) == len(sent) + 1


def _feed_for(request: Request) -> bytes:
    """The answer to an opening and the frames behind it, as bytes."""
    taken: list[bytes] = []
    keeping = Request(request.wire, request.method, request.target, request.headers, request.body)
    keeping.wire = _Taking(taken)  # type: ignore[assignment]
    socket = keeping.upgrade()
    socket.snapshot(a="pending")
    socket.status("a", "running")
    return b"".join(taken)


class _Taking:
    def __init__(self, taken: list[bytes]) -> None:
        self.send = taken.append


def _bytes_of_a_feed() -> bytes:
    headers = {"sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ=="}
    return _feed_for(Request(None, "GET", "/compute/ws", headers, b""))  # type: ignore[arg-type]


async def test_gone_for_good(serve: Serve, connect: Connect) -> None:
    """A server that ends while it is asked is told, by every kind of call."""
    server = serve(lambda r: r.wire.drop())
    async with connect(server) as client:
        await every_way(client, (ecompute.ConnectError,))
        server.stop()
        await every_way(client, (ecompute.ConnectError,))


# --- answers that are almost right ----------------------------------------------------------------


async def test_json_torn_anywhere(serve: Serve, connect: Connect) -> None:
    """A complete answer with incomplete JSON is no answer of this API, wherever it ends."""
    whole = json.dumps({"containers": [BOX]}).encode()
    cuts = iter(range(len(whole)))
    server = serve(lambda r: r.answer(whole[: next(cuts)]))
    async with connect(server) as client:
        for _ in range(len(whole)):
            with pytest.raises(ecompute.InvalidAnswer):
                await client.containers.list()


async def test_fields_that_are_missing_or_too_many(serve: Serve, connect: Connect) -> None:
    """Without a field that every server sends the answer is none; what nobody knows is kept."""
    bodies = [{name: value for name, value in BOX.items() if name != missing} for missing in BOX]
    bodies += [{**BOX, name: value} for name, value in (("x", None), ("ünï", [1, {"a": 2}]), ("extra", {}))]
    queue = iter(bodies)
    server = serve(lambda r: r.answer(next(queue)))
    refused, taken = {}, []
    async with connect(server) as client:
        for missing in [*BOX, "", "", ""]:
            try:
                taken.append(await client.containers.get("abc12345"))
            except ecompute.InvalidAnswer as error:
                refused[missing] = str(error)
    assert {"id", "name", "status"} <= set(refused) <= set(BOX)
    assert all(missing in sentence for missing, sentence in refused.items())
    assert {"x", "ünï", "extra", "colour"} <= {name for box in taken for name in box.extra}


# --- the time of day jumps ------------------------------------------------------------------------


class Clock:
    """The time of day, which somebody sets."""

    def __init__(self) -> None:
        self.jump = 0.0
        self._real = time.time

    def __call__(self) -> float:
        return self._real() + self.jump


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time of day of this process."""
    clock = Clock()
    monkeypatch.setattr(time, "time", clock)
    return clock


@pytest.mark.parametrize("jump", [DAY, -DAY])
async def test_a_clock_that_jumps_changes_nothing(
    serve: Serve, connect: Connect, clock: Clock, jump: float
) -> None:
    """Calls, retries, feeds and waiting keep their deadlines when somebody sets the clock."""

    def jumping(handle: Callable[[Request], None]) -> Callable[[Request], None]:
        def handler(request: Request) -> None:
            clock.jump += jump
            handle(request)

        return handler

    def feed(request: Request) -> None:
        socket = request.upgrade()
        socket.snapshot(abc12345="pending")
        clock.jump -= jump
        socket.status("abc12345", "running")
        clock.jump += 2 * jump
        socket.status("abc12345", "stopped")
        socket.serve_until_closed()

    server = serve(
        script(
            jumping(lambda r: r.wire.drop()),
            jumping(lambda r: r.refuse(503, "unavailable", Retry_After="0")),
            jumping(lambda r: r.answer(BOX)),
            jumping(feed),
        )
    )
    async with connect(server, timeout=LIMIT) as client:
        assert (await client.containers.get("abc12345")).name == "box"
        async with client.events() as events:
            told = [await events.receive(LIMIT) for _ in range(3)]
            with pytest.raises(ecompute.DeadlineExceeded):
                await events.receive(0.05)
    assert [type(event).__name__ for event in told] == ["Snapshot", "StatusChanged", "StatusChanged"]


async def test_a_clock_that_stands_still_ends_no_deadline(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A silent server is given up in time although the time of day does not go on."""
    monkeypatch.setattr(time, "time", lambda: 1_700_000_000.0)
    released = threading.Event()
    server = serve(lambda r: released.wait(LIMIT))
    try:
        async with connect(server) as client:
            with anyio.fail_after(LIMIT):
                for use in (
                    client.containers.list(timeout=0.05),
                    client.events(timeout=0.05).__aenter__(),
                    client.watch(timeout=0.05).__aenter__(),
                ):
                    with pytest.raises(ecompute.DeadlineExceeded):
                        await use
    finally:
        released.set()


async def test_how_long_an_outcome_can_be_settled_goes_by_the_time_of_day(
    serve: Serve, connect: Connect, clock: Clock
) -> None:
    """The server's day is a day of the calendar: a process that slept through it repeats nothing."""
    answers = script(*[_lost] * 20)

    def handle(request: Request) -> None:
        if request.method == "POST":
            answers(request)
        request.answer({"error": "No.", "code": "unauthenticated"}, 401, Idempotency_Supported="true")

    server = serve(handle)
    async with connect(server) as client:
        with pytest.raises(ecompute.OutcomeUnknown) as caught:
            await client.containers.create("box", [1])
        clock.jump += DAY
        sent = len(server.seen)
        with pytest.raises(ecompute.InvalidArgument, match="too old"):
            await client.resolve(caught.value)
    assert len(server.seen) == sent


def _lost(request: Request) -> None:
    request.wire.drop()
    raise Hangup
