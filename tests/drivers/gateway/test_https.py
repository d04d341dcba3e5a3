"""What visitors of a published site get: TLS, and HTTP through to the guest and back."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import socket
import ssl
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import h11
import pytest

from ecompute.contract.catalog import HTTPS_PORT
from ecompute_server.gateway import streams
from ecompute_server.gateway.https.exchange import Exchange
from ecompute_server.gateway.https.requests import Reader
from ecompute_server.gateway.interface import GatewayError
from ecompute_server.gateway.limits import Limits
from ecompute_server.gateway.listeners import ListeningGateway, SharedListener
from ecompute_server.gateway.tls.certificates import MadeCertificates

from .harness import DEADLINE, DOMAIN, LOOPBACK, Fleet, Handler, Place, free_port, place, until

pytestmark = pytest.mark.anyio

NAME = "box.compute.localhost"
PAGE = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nX-Odd-CASE: kept\r\n\r\nhello"

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def site(handler: Handler, limits: Limits | None = None) -> AsyncIterator[tuple[Place, int]]:
    """A gateway with one site behind it, and the site's port."""
    async with place(limits, port_offset=free_port() - HTTPS_PORT) as here:
        yield here, await here.publish_site(handler)


@asynccontextmanager
async def secure(
    here: Place, port: int, name: str | None = NAME, address: str = LOOPBACK
) -> AsyncIterator[Streams]:
    """A visitor who verifies the certificate for that name."""
    reader, writer = await asyncio.open_connection(address, port, ssl=here.trusting, server_hostname=name)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def ask(here: Place, port: int, request: bytes) -> bytes:
    """All that comes back on one connection."""
    async with secure(here, port) as (reader, writer):
        writer.write(request)
        return await reader.read()


def get(path: str = "/", *lines: str, host: str = NAME, version: str = "1.1") -> bytes:
    return "\r\n".join([f"GET {path} HTTP/{version}", f"Host: {host}", *lines, "", ""]).encode()


CLOSE = "Connection: close"


async def head_of(reader: asyncio.StreamReader) -> bytes:
    return await reader.readuntil(b"\r\n\r\n")


async def hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers request after request with the same page."""
    while await head_of(reader):
        writer.write(PAGE)


class Recorder:
    """A guest that keeps the heads it gets."""

    def __init__(self, answer: bytes = PAGE) -> None:
        self.heads: list[bytes] = []
        self.answer = answer

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            self.heads.append(await head_of(reader))
            writer.write(self.answer)

    @property
    def lines(self) -> list[str]:
        return self.heads[-1].decode().lower().split("\r\n")


async def test_the_guests_answer_passes_as_it_is() -> None:
    """Byte for byte: nothing added, nothing written differently."""
    async with site(hello) as (here, port):
        assert await ask(here, port, get("/", CLOSE)) == PAGE


async def test_the_shared_listener_leads_by_name() -> None:
    """Two containers, one address and port; each name reaches its own."""

    def named(name: str) -> Handler:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await head_of(reader)
            writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + name.encode())
            writer.close()

        return answer

    async with place(port_offset=free_port() - HTTPS_PORT) as here:
        await here.publish_site(named("one"), container_id="one", address="127.77.250.11")
        await here.publish_site(named("two"), container_id="two", address="127.77.250.12")
        shared = here.gateway.shared_port
        assert shared is not None
        for name in ("one", "two"):
            host = f"{name}.compute.localhost"
            async with secure(here, shared, host) as (reader, writer):
                writer.write(get(host=f"{host}:{shared}"))
                assert (await reader.read()).endswith(b"\r\n\r\n" + name.encode())


async def test_the_address_itself_may_be_visited() -> None:
    """A client that goes by the address tells no name, and the certificate is good for the address too."""
    async with place(port_offset=free_port() - HTTPS_PORT) as here:
        port = await here.publish_site(hello, address="127.77.250.13")
        async with secure(here, port, "127.77.250.13", "127.77.250.13") as (reader, writer):
            writer.write(get("/", CLOSE, host=f"127.77.250.13:{port}"))
            assert await reader.read() == PAGE


@pytest.mark.parametrize("name", ["other.compute.localhost", "localhost", "compute.localhost"])
async def test_another_name_is_refused_in_the_handshake(name: str) -> None:
    """On the container's address and at the shared listener, with the alert made for it."""
    async with site(hello) as (here, port):
        for each in (port, here.gateway.shared_port):
            assert each is not None
            with pytest.raises(ssl.SSLError, match="UNRECOGNIZED_NAME"):
                async with secure(here, each, name):
                    pass


async def test_no_name_is_refused_where_names_lead() -> None:
    """The shared listener cannot know whom such a visitor means."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    async with site(hello) as (here, port):
        with pytest.raises(ssl.SSLError, match="UNRECOGNIZED_NAME"):
            await asyncio.open_connection(LOOPBACK, here.gateway.shared_port, ssl=context, server_hostname="")
        _, writer = await asyncio.open_connection(LOOPBACK, port, ssl=context, server_hostname="")
        writer.transport.abort()


async def test_a_request_for_another_host_is_misdirected() -> None:
    """Who connected for one name cannot ask for another (421, RFC 9110, section 15.5.20)."""
    guest = Recorder()
    async with site(guest) as (here, port):
        for host in (
            "other.compute.localhost",
            "box.compute.localhost.evil",
            "[::1]",
            "",
            "box.compute.localhost:x",
        ):
            assert (await ask(here, port, get(host=host))).startswith(b"HTTP/1.1 421 ")
        assert guest.heads == []
        for host in (NAME, NAME.upper(), f"{NAME}.", f"{NAME}:{port}", f"{NAME}:"):
            assert await ask(here, port, get("/", CLOSE, host=host)) == PAGE


async def test_many_requests_on_one_connection() -> None:
    """One connection into the guest carries them all, pipelined ones too."""
    async with site(hello) as (here, port), secure(here, port) as (reader, writer):
        for _ in range(3):
            writer.write(get())
            assert await reader.readexactly(len(PAGE)) == PAGE
        writer.write(get("/1") + get("/2") + get("/3", CLOSE))
        assert await reader.read() == PAGE * 3
        assert here.fleet.asked == 1


async def test_empty_lines_in_front_of_a_request() -> None:
    """They are none of it, in the first request and behind a body (RFC 9112, section 2.2)."""
    post = get("/", "Content-Length: 2").replace(b"GET", b"POST") + b"ok"

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while b"content-length" in (await head_of(reader)).lower():
            assert await reader.readexactly(2) == b"ok"
            writer.write(PAGE)
        writer.write(PAGE)

    async with site(take) as (here, port):
        assert (
            await ask(here, port, b"\r\n\r\n" + post + b"\r\n" + post + b"\r\n" + get("/", CLOSE)) == PAGE * 3
        )


async def test_addresses_are_told_and_never_believed() -> None:
    """The guest learns the visitor's address, the scheme and the host from the gateway alone."""
    guest = Recorder()
    forged = (
        "X-Forwarded-For: 6.6.6.6",
        "x-forwarded-proto: gopher",
        "X_Forwarded_For: 6.6.6.6",
        "X-Forwarded-Port: 1",
        "X.Forwarded.For: 6.6.6.6",
        "Proxy: http://6.6.6.6",
        "Forwarded: for=6.6.6.6",
        "X-Real-IP: 6.6.6.6",
        "Proxy-Connection: x",
        "TE: gzip",
        "Connection: close, X-Forwarded-For, x-secret",
        "X-Secret: 6.6.6.6",
        "X-Mine: stays",
    )
    async with site(guest) as (here, port):
        await ask(here, port, get("/a?b=c", *forged))
        assert guest.lines[0] == "get /a?b=c http/1.1"
        assert sorted(guest.lines[1:-2]) == [
            "connection: close",
            f"host: {NAME}",
            "x-forwarded-for: 127.0.0.1",
            f"x-forwarded-host: {NAME}",
            "x-forwarded-proto: https",
            "x-mine: stays",
        ]


@pytest.mark.parametrize(
    "request_",
    [
        b"POST / HTTP/1.1\r\nHost: H\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        b"POST / HTTP/1.1\r\nHost: H\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.0\r\nHost: H\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: H\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: H\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: H\r\nContent-Length: +3\r\n\r\nabc",
        b"POST / HTTP/1.1\r\nHost: H\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: H\r\nHost: H\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET http://elsewhere/ HTTP/1.1\r\nHost: H\r\n\r\n",
        b"CONNECT H:443 HTTP/1.1\r\nHost: H\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: H\r\nX: a\x00b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: H\r\n X: folded?\r\n: nameless\r\n\r\n",
        b"GET / HTTP/2.0\r\nHost: H\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: H\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: H\r\n" + b"a:\n" * 20_000 + b"\r\n",
        b"GET *x HTTP/1.1\r\nHost: H\r\n\r\n",
        b"GET * HTTP/1.1\r\nHost: H\r\n\r\n",
    ],
    ids=range(20),
)
async def test_a_doubtful_request_is_refused(request_: bytes) -> None:
    """With an answer of its own, and no part of it is a request of its own in the guest."""
    guest = Recorder()
    async with site(guest) as (here, port):
        answer = await ask(here, port, request_.replace(b"Host: H", b"Host: " + NAME.encode()))
        assert answer[:10] in (b"HTTP/1.1 4", b"HTTP/1.1 5")
        assert answer.split(b" ")[1] in (b"400", b"431", b"501", b"505")
        assert len(guest.heads) <= request_.count(b"zz")


async def test_a_request_in_ones_and_twos() -> None:
    """A hello and a head cut into single bytes are the same to the guest."""
    guest = Recorder()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    async with site(guest) as (here, port):
        tls = here.trusting.wrap_bio(incoming, outgoing, server_hostname=NAME)
        reader, writer = await asyncio.open_connection(LOOPBACK, port)

        async def flush() -> None:
            for byte in outgoing.read():
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0)

        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                await flush()
                incoming.write(await reader.read(65536))
        for byte in get("/", CLOSE):
            tls.write(bytes([byte]))
            await flush()
        incoming.write(await reader.read(65536))
        assert tls.read(65536) == PAGE
        writer.close()


async def test_an_old_client() -> None:
    """HTTP/1.0 stays HTTP/1.0, also without a host, and its connection ends with the answer."""
    guest = Recorder()
    async with site(guest) as (here, port):
        assert await ask(here, port, b"GET /old HTTP/1.0\r\n\r\n") == PAGE
        assert guest.lines[0] == "get /old http/1.0"
        assert f"host: {NAME}" in guest.lines
        async with secure(here, port) as (reader, writer):
            for _ in range(2):
                writer.write(get(version="1.0")[:-2] + b"Connection: keep-alive\r\n\r\n")
                assert await reader.readexactly(len(PAGE)) == PAGE


async def test_an_answer_that_ends_with_its_connection() -> None:
    """What a guest ends by closing ends for the visitor, with TLS closed in order."""

    async def old(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * 300_000)
        writer.close()

    async with site(old) as (here, port):
        assert await ask(here, port, get()) == b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * 300_000


async def test_a_large_answer_and_a_slow_reader() -> None:
    """Back-pressure reaches the guest: it cannot send more than the sockets between hold."""
    block, sent = bytes(range(256)) * 256, 0
    blocks = 1600
    stuck = asyncio.Event()

    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await head_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (len(block) * blocks))
        for _ in range(blocks):
            writer.write(block)
            sent += 1
            try:
                async with asyncio.timeout(0.2 if not stuck.is_set() else None):
                    await writer.drain()
            except TimeoutError:
                stuck.set()
                await writer.drain()

    digest = hashlib.sha256()
    async with site(pour) as (here, port), secure(here, port) as (reader, writer):
        writer.write(get())
        await head_of(reader)
        await stuck.wait()
        assert sent < blocks / 2
        for _ in range(blocks):
            digest.update(await reader.readexactly(len(block)))
        assert digest.digest() == hashlib.sha256(block * blocks).digest()


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_large_request(chunked: bool) -> None:
    """A body passes as it comes, with its length or in chunks, and the answer may begin before its end."""
    piece = b"p" * 50_000

    async def weigh(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await head_of(reader)).lower()
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")
        size = 0
        if b"transfer-encoding: chunked" in head:
            while length := int(await reader.readline(), 16):
                size += len((await reader.readexactly(length + 2))[:-2])
            await reader.readline()
        else:
            size = len(await reader.readexactly(100 * len(piece)))
        said = b"%d" % size
        writer.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(said), said))

    async with site(weigh) as (here, port), secure(here, port) as (reader, writer):
        length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {100 * len(piece)}"
        writer.write(get("/", length).replace(b"GET", b"POST"))
        assert b"2\r\nok\r\n" in await reader.readuntil(b"ok\r\n")
        for _ in range(100):
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
            await writer.drain()
        if chunked:
            writer.write(b"0\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n")
        assert await reader.readuntil(b"0\r\n\r\n") == b"7\r\n5000000\r\n0\r\n\r\n"
        writer.write(get("/", length).replace(b"GET", b"POST"))
        assert b"ok" in await reader.readuntil(b"ok\r\n")


async def test_expectations_pass_through() -> None:
    """The guest decides whether a body is wanted, and its interim answer reaches the visitor."""

    async def careful(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert b"expect: 100-continue" in (await head_of(reader)).lower()
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n" + await reader.readexactly(4))

    async with site(careful) as (here, port), secure(here, port) as (reader, writer):
        writer.write(get("/", "Expect: 100-continue", "Content-Length: 4").replace(b"GET", b"PUT"))
        assert await head_of(reader) == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"body")
        assert (await reader.readuntil(b"body")).startswith(b"HTTP/1.1 200 ")


async def test_an_answer_before_the_body() -> None:
    """A guest that refuses early is heard, and the rest of the body ends with the connection."""

    async def impatient(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async with site(impatient) as (here, port), secure(here, port) as (reader, writer):
        writer.write(get("/", "Content-Length: 100000000").replace(b"GET", b"PUT") + bytes(10_000))
        assert (await reader.read()).startswith(b"HTTP/1.1 413 ")


async def test_events_come_one_by_one() -> None:
    """A stream of events is not held back until it is full."""
    go_on = asyncio.Event()

    async def stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
        await go_on.wait()
        writer.write(b"data: 2\n\n")
        writer.close()

    async with site(stream) as (here, port), secure(here, port) as (reader, writer):
        writer.write(get())
        assert (await reader.readuntil(b"data: 1\n\n")).endswith(b"\r\n\r\ndata: 1\n\n")
        go_on.set()
        assert await reader.read() == b"data: 2\n\n"


async def test_a_visitor_who_leaves_frees_the_guest() -> None:
    """A guest that streams for ever, or thinks for ever, is let go when its visitor is gone."""
    left: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    async def think(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        try:
            left.set_result(await reader.read() == b"")
        except ConnectionError:
            left.set_result(True)

    async with site(think) as (here, port):
        async with secure(here, port) as (_, writer):
            writer.write(get())
            await writer.drain()
            await until(lambda: here.fleet.asked > 0)
        assert await left


UPGRADE = ("Connection: Upgrade", "Upgrade: websocket")
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"


async def test_an_upgrade_makes_it_a_tunnel() -> None:
    """After 101 bytes pass both ways until both sides have ended, also those sent along with the heads."""

    async def mirror(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await head_of(reader)).lower()
        assert b"\r\nupgrade: websocket\r\n" in head
        assert b"\r\nconnection: upgrade\r\n" in head
        writer.write(SWITCHED + b"first")
        while data := await reader.read(65536):
            writer.write(data)
        writer.write(b"last")
        writer.close()

    given = bytes(range(256)) * 8000
    async with site(mirror) as (here, port), secure(here, port) as (reader, writer):
        writer.write(get("/socket", *UPGRADE) + given)
        assert await reader.readexactly(len(SWITCHED)) == SWITCHED
        assert await reader.readexactly(5) == b"first"
        assert await reader.readexactly(len(given)) == given
        writer.write(b"GET / HTTP/1.1\r\nnot any more")
        assert await reader.readuntil(b"not any more") == b"GET / HTTP/1.1\r\nnot any more"
        writer.close()


async def test_a_guest_that_ends_its_half_of_a_tunnel_first() -> None:
    """What the visitor still sends arrives whole, and as it was sent."""
    given = bytes(range(256)) * 20_000
    got: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(SWITCHED + b"only listening")
        writer.write_eof()
        got.set_result(await reader.read())

    def talk(context: ssl.SSLContext, port: int) -> None:
        # asyncio's own client takes the end of one half for the end of both
        plain = socket.create_connection((LOOPBACK, port), timeout=DEADLINE)
        with context.wrap_socket(plain, server_hostname=NAME) as visitor:
            visitor.sendall(get("/", *UPGRADE) + given[:1000])
            while visitor.recv(65536):
                pass
            visitor.sendall(given[1000:])

    async with site(listen) as (here, port):
        await asyncio.to_thread(talk, here.trusting, port)
        assert await got == given


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_last_words_in_a_tunnel_whose_other_half_has_ended(version: ssl.TLSVersion) -> None:
    """They come with the visitor's own end, in one piece, and reach the guest."""
    got: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(SWITCHED)
        writer.write_eof()
        got.set_result(await reader.read())

    def talk(context: ssl.SSLContext, port: int) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_hostname=NAME)
        with socket.create_connection((LOOPBACK, port), timeout=DEADLINE) as plain:

            def until_done(step: Callable[[], object]) -> None:
                while True:
                    try:
                        step()
                        return
                    except ssl.SSLWantReadError:
                        plain.sendall(outgoing.read())
                        incoming.write(plain.recv(65536))

            until_done(tls.do_handshake)
            tls.write(get("/", *UPGRADE))

            def hear_out() -> None:
                with contextlib.suppress(ssl.SSLZeroReturnError):
                    while tls.read(65536):
                        pass

            until_done(hear_out)
            tls.write(b"last words")
            with contextlib.suppress(ssl.SSLError):
                tls.unwrap()
            plain.sendall(outgoing.read())

    async with site(listen) as (here, port):
        context = here.trusting
        context.minimum_version = context.maximum_version = version
        await asyncio.to_thread(talk, context, port)
        assert await got == b"last words"


async def test_a_tunnel_that_breaks_is_broken_for_the_guest() -> None:
    """What comes before a wrong record arrives, and the guest sees no end in order."""
    got = bytearray()
    ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(SWITCHED)
        try:
            while data := await reader.read(65536):
                got.extend(data)
            ended.set_result("in order")
        except ConnectionError:
            ended.set_result("broken")

    def talk(context: ssl.SSLContext, port: int) -> None:
        plain = socket.create_connection((LOOPBACK, port), timeout=DEADLINE)
        with context.wrap_socket(plain, server_hostname=NAME) as visitor:
            visitor.sendall(get("/", *UPGRADE) + b"good")
            assert visitor.recv(65536).startswith(b"HTTP/1.1 101 ")
            # a record that nobody has encrypted
            os.write(visitor.fileno(), b"\x17\x03\x03\x00\x20" + bytes(32))
            with contextlib.suppress(OSError):
                while visitor.recv(65536):
                    pass

    async with site(listen) as (here, port):
        await asyncio.to_thread(talk, here.trusting, port)
        assert await ended == "broken"
        assert bytes(got) == b"good"


async def test_updates_of_keys_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Records that carry nothing end the connection, and others are served meanwhile."""
    monkeypatch.setattr(streams, "_MOST_IDLE_TALK", 4000)
    async with site(hello) as (here, port):
        client = await asyncio.create_subprocess_exec(
            *("openssl", "s_client", "-connect", f"{LOOPBACK}:{port}", "-servername", NAME),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        assert client.stdin is not None
        try:
            with contextlib.suppress(ConnectionError):
                while client.returncode is None:
                    client.stdin.write(b"k\n")
                    await client.stdin.drain()
                    assert await ask(here, port, get("/", CLOSE)) == PAGE
            assert await client.wait() is not None
        finally:
            if client.returncode is None:
                client.kill()
                await client.wait()


async def test_a_few_bytes_that_are_many_chunks() -> None:
    """They are read a few at a time, in a request and in an answer, and others have their turn in between."""
    count = 2000
    chunks = b"1\r\nx\r\n" * count
    reader = Reader(get("/", "Transfer-Encoding: chunked").replace(b"GET", b"POST") + chunks)
    assert reader.head() is not None
    assert reader.piece() == (b"x" * 64, False)
    request = h11.Request(method="GET", target="/", headers=[("Host", "h")])
    exchange = Exchange(request, version=b"1.1")
    exchange.body(b"", last=True)
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    task = asyncio.create_task(others())
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks
    assert await exchange.answer(answer) == answer
    task.cancel()
    assert turns >= count // 64 - 2


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 100 Continue\r\n\r\n" * 100 + PAGE,
        b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 1000 + b"\r\n",
    ],
    ids=["interim answers", "headers"],
)
async def test_a_guest_that_says_too_much(head: bytes) -> None:
    """It is cut off."""
    exchange = Exchange(h11.Request(method="GET", target="/", headers=[("Host", "h")]), version=b"1.1")
    exchange.body(b"", last=True)
    with pytest.raises(h11.RemoteProtocolError, match="too many"):
        await exchange.answer(head)


async def test_an_upgrade_that_the_guest_declines() -> None:
    """It stays HTTP, and what follows is read as a request."""
    guest = Recorder()
    async with site(guest) as (here, port):
        forged = get("/two", "X-Forwarded-For: 6.6.6.6", CLOSE)
        assert await ask(here, port, get("/one", *UPGRADE) + forged) == PAGE * 2
        assert "x-forwarded-for: 127.0.0.1" in guest.lines


@pytest.mark.parametrize(
    "answer",
    [b"", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 200 OK\r\nContent-Le", b"HTTP/1.1 101 Surprise\r\n\r\n"],
)
async def test_no_answer_is_a_page_that_says_so(answer: bytes) -> None:
    """502 for a guest that closes or is no web server."""

    async def wrong(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(answer)
        writer.close()

    async with site(wrong) as (here, port):
        page = await ask(here, port, get())
        assert page.startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
        assert b"Content-Type: text/plain" in page


async def test_nobody_listens() -> None:
    """502 as well where the guest cannot be reached."""
    async with place(port_offset=free_port() - HTTPS_PORT) as here:
        await here.gateway.publish("box", LOOPBACK, HTTPS_PORT, 1)
        port = HTTPS_PORT + here.port_offset
        assert (await ask(here, port, get())).startswith(b"HTTP/1.1 502 ")


async def test_an_answer_that_breaks_off_is_seen_to() -> None:
    """A guest that dies in the midst makes an error at the visitor, never a short answer that looks whole."""

    async def dying(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nonly this")
        writer.close()

    async with site(dying) as (here, port), secure(here, port) as (reader, writer):
        writer.write(get())
        await head_of(reader)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1000)


async def test_a_guest_that_ended_an_idle_connection() -> None:
    """The next request on the visitor's connection is asked on a new one into the guest."""

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(PAGE)
        writer.close()

    async with site(once) as (here, port), secure(here, port) as (reader, writer):
        for count in range(1, 4):
            writer.write(get())
            assert await reader.readexactly(len(PAGE)) == PAGE
            assert here.fleet.asked == count


async def test_time_limits() -> None:
    """A hello, a head and a pause between requests may take only so long."""
    limits = Limits(handshake=0.05, head=0.05, keep_alive=0.05, farewell=0.05)
    async with site(hello, limits) as (here, port):
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        with pytest.raises(ConnectionError):
            assert await reader.read() == b"never"
        writer.close()
        async with secure(here, port) as (reader, _):
            assert await reader.read() == b""
        assert (await ask(here, port, b"GET / HTTP/1.1\r\nHo")).startswith(b"HTTP/1.1 408 ")
        async with secure(here, port) as (reader, writer):
            writer.write(get())
            assert await reader.read() == PAGE


async def test_nothing_moves_for_too_long() -> None:
    """A tunnel on which neither side speaks is broken off."""

    async def quiet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(SWITCHED)
        await reader.read()

    async with site(quiet, Limits(idle=0.1)) as (here, port), secure(here, port) as (reader, writer):
        writer.write(get("/", *UPGRADE))
        await head_of(reader)
        with pytest.raises(ConnectionError):
            await reader.read(1)


async def test_withdrawal_ends_what_is_open() -> None:
    """A site that is taken back is gone at once, on both ways that lead to it."""
    async with site(hello) as (here, port):
        shared = here.gateway.shared_port
        assert shared is not None
        async with secure(here, port) as (one, _), secure(here, shared) as (two, _):
            await here.gateway.withdraw("box", HTTPS_PORT)
            for reader in (one, two):
                with pytest.raises(ConnectionError):
                    assert await reader.read() == b"never"
        with pytest.raises(ssl.SSLError, match="UNRECOGNIZED_NAME"):
            async with secure(here, shared):
                pass


async def test_a_limit_for_all_ways_together() -> None:
    """The container's limit of connections counts those of the shared listener too."""
    async with site(hello, Limits(connections=1)) as (here, port), secure(here, port):
        shared = here.gateway.shared_port
        assert shared is not None
        async with secure(here, shared) as (reader, _):
            with pytest.raises(ConnectionError):
                assert await reader.read() == b"never"


async def test_a_port_that_somebody_else_has() -> None:
    """It is said, the site is still reached by its name, and its own port opens as soon as it can."""
    async with place(port_offset=free_port() - HTTPS_PORT) as here:
        port = HTTPS_PORT + here.port_offset
        with socket.create_server((LOOPBACK, port)), pytest.raises(GatewayError, match="in use"):
            await here.publish_site(hello)
        shared = here.gateway.shared_port
        assert shared is not None
        assert here.gateway.published("box") == {HTTPS_PORT}
        assert await ask(here, shared, get("/", CLOSE)) == PAGE
        await here.gateway.publish("box", LOOPBACK, HTTPS_PORT, 80)
        assert await ask(here, port, get("/", CLOSE)) == PAGE


async def test_a_shared_port_that_somebody_else_has(caplog: pytest.LogCaptureFixture) -> None:
    """One that was asked for is an error; the default one is left out and told."""
    with socket.create_server((LOOPBACK, 0)) as taken, tempfile.TemporaryDirectory() as keys:
        port = taken.getsockname()[1]
        for required in (True, False):
            gateway = ListeningGateway(
                Fleet().connect,
                certificates=MadeCertificates(Path(keys), DOMAIN),
                domain=DOMAIN,
                shared=SharedListener(LOOPBACK, port, required=required),
            )
            if required:
                with pytest.raises(GatewayError, match="in use"):
                    await gateway.open()
            else:
                await gateway.open()
                assert "sites are not reached by their names" in caplog.text
            await gateway.close()
