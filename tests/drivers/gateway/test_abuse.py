"""What strangers do to a gateway: it ends, its memory returns, and neighbours notice nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from .child import ADDRESSES
from .harness import DOMAIN

pytestmark = pytest.mark.anyio

PATIENCE = 60.0
MOST_GROWTH_KB = 4096
"""What malloc and Python's arenas may keep for themselves; one connection that was not let go holds files."""
HELLO_RECORD = b"\x16\x03\x01\x02\x00"  # a handshake record of 512 bytes, RFC 8446 section 5.1
UPGRADE = b"GET /socket HTTP/1.1\r\nHost: one.%b\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"


class Gateway:
    """The child process and how it is visited."""

    def __init__(self, process: subprocess.Popen[str], told: dict[str, Any]) -> None:
        self.plain, self.https, self.shared = told["plain"], told["https"], told["shared"]
        self.context = ssl.create_default_context(cafile=told["root"])
        self._process = process
        self._proc = Path("/proc") / str(process.pid)

    def resident_kb(self) -> int:
        """What it has in memory now, cycles collected."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(file=self._process.stdin, flush=True)
        assert self._process.stdout.readline() == "collected\n"
        status = (self._proc / "status").read_text()
        return int(status.split("VmRSS:")[1].split()[0])

    @property
    def files(self) -> int:
        return sum(1 for _ in (self._proc / "fd").iterdir())

    @asynccontextmanager
    async def tcp(
        self, port: int | None = None, name: str = "one"
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """A visitor over plain TCP, gone without a word at the end."""
        reader, writer = await asyncio.open_connection(ADDRESSES[name], port or self.plain)
        try:
            yield reader, writer
        finally:
            writer.transport.abort()

    @asynccontextmanager
    async def tls(
        self, name: str = "one"
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """A visitor over TLS, gone without a word at the end."""
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.shared, ssl=self.context, server_hostname=f"{name}.{DOMAIN}"
        )
        try:
            yield reader, writer
        finally:
            writer.transport.abort()

    async def neighbour_is_well(self) -> None:
        """The other container answers on both of its ports."""
        async with self.tcp(name="two") as (reader, writer):
            writer.write(b"still here?")
            assert await reader.readexactly(11) == b"still here?"
        async with self.tls("two") as (reader, writer):
            writer.write(b"GET / HTTP/1.1\r\nHost: two.%b\r\n\r\n" % DOMAIN.encode())
            assert (await reader.readuntil(b"hello")).startswith(b"HTTP/1.1 200 OK\r\n")

    async def settles(self, files: int) -> None:
        """Wait until no more files are open than that."""
        deadline = time.monotonic() + PATIENCE
        while self.files > files:
            assert time.monotonic() < deadline, f"{self.files} files are open, {files} were"
            await asyncio.sleep(0.01)  # nothing tells what another process closes


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    command = [sys.executable, "-m", "tests.drivers.gateway.child"]
    root = Path(__file__).parents[3]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield Gateway(process, json.loads(process.stdout.readline()))
        finally:
            process.stdin.close()
            process.wait(PATIENCE)


async def many(count: int, visit: Callable[[], Awaitable[None]], *, at_once: int) -> None:
    turns = asyncio.Semaphore(at_once)

    async def one() -> None:
        async with turns:
            await visit()

    async with asyncio.TaskGroup() as group:
        for _ in range(count):
            group.create_task(one())


async def ten_thousand_connections(gateway: Gateway, times: int) -> None:
    async def visit() -> None:
        with contextlib.suppress(ConnectionError):
            async with gateway.tcp() as (reader, writer):
                writer.write(b"x")
                await reader.read(1)

    await many(2500 * times, visit, at_once=50)


async def a_thousand_handshakes(gateway: Gateway, times: int) -> None:
    async def visit() -> None:
        async with gateway.tls() as (reader, writer):
            writer.write(b"GET / HTTP/1.0\r\n\r\n")
            assert (await reader.read()).endswith(b"hello")

    await many(250 * times, visit, at_once=20)


async def connections_that_say_nothing(gateway: Gateway, times: int) -> None:
    """On each kind of port, and left open until the gateway ends them or they are dropped."""
    for _ in range(times):
        async with AsyncExitStack() as stack:
            for port in (gateway.plain, gateway.https):
                for _ in range(100):
                    await stack.enter_async_context(gateway.tcp(port))
            for _ in range(20):
                await stack.enter_async_context(gateway.tls())
            await gateway.neighbour_is_well()


async def hellos_that_never_end(gateway: Gateway, times: int) -> None:
    """A byte of a hello, then nothing: the handshake's time ends it."""

    async def visit() -> None:
        async with gateway.tcp(gateway.https) as (reader, writer):
            for byte in HELLO_RECORD:
                writer.write(bytes([byte]))
                await writer.drain()
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""

    await many(100 * times, visit, at_once=100 * times)


async def what_is_no_tls(gateway: Gateway, times: int) -> None:
    async def visit() -> None:
        with contextlib.suppress(ConnectionError):
            async with gateway.tcp(gateway.https) as (reader, writer):
                writer.write(b"GET / HTTP/1.1\r\nHost: one\r\n\r\n" + bytes(100_000))
                await reader.read()

    await many(100 * times, visit, at_once=20)


async def visitors_who_never_read(gateway: Gateway, times: int) -> None:
    """The guest pours, the visitor takes nothing: what waits is what the sockets hold."""
    async with AsyncExitStack() as stack:
        for _ in range(25 * times):
            _, writer = await stack.enter_async_context(gateway.tls())
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            writer.write(b"GET /pour HTTP/1.1\r\nHost: one.%b\r\n\r\n" % DOMAIN.encode())
            await writer.drain()
            _, talk = await stack.enter_async_context(gateway.tcp())
            talk.transport.pause_reading()  # type: ignore[attr-defined]
            talk.write(bytes(1_000_000))
        await gateway.neighbour_is_well()


async def websockets_that_never_end(gateway: Gateway, times: int) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(50 * times):
            reader, writer = await stack.enter_async_context(gateway.tls())
            writer.write(UPGRADE % DOMAIN.encode())
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"x" * 100_000)
            await reader.readexactly(100_000)
        await gateway.neighbour_is_well()


async def guests_that_die(gateway: Gateway, times: int) -> None:
    async def visit() -> None:
        async with gateway.tls() as (reader, writer):
            writer.write(b"GET /die HTTP/1.1\r\nHost: one.%b\r\n\r\n" % DOMAIN.encode())
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await reader.readexactly(1_000_000)

    await many(50 * times, visit, at_once=10)


async def heads_without_end(gateway: Gateway, times: int) -> None:
    async def visit() -> None:
        with contextlib.suppress(ConnectionError):
            async with gateway.tls() as (reader, writer):
                writer.write(b"GET / HTTP/1.1\r\n")
                for number in range(3000):
                    writer.write(b"X-%d: %b\r\n" % (number, b"x" * 100))
                await writer.drain()
                await reader.read()

    await many(25 * times, visit, at_once=5)


@pytest.mark.parametrize(
    "abuse",
    [
        ten_thousand_connections,
        a_thousand_handshakes,
        connections_that_say_nothing,
        hellos_that_never_end,
        what_is_no_tls,
        visitors_who_never_read,
        websockets_that_never_end,
        guests_that_die,
        heads_without_end,
    ],
    ids=lambda abuse: abuse.__name__,
)
async def test_abuse_leaves_nothing_behind(
    gateway: Gateway, abuse: Callable[[Gateway, int], Awaitable[None]]
) -> None:
    """Twice the same: the second time no file and no memory more is kept, and the neighbour answers."""
    files = gateway.files
    await abuse(gateway, 2)
    await gateway.settles(files)
    before = gateway.resident_kb()
    await abuse(gateway, 2)
    await gateway.settles(files)
    assert gateway.resident_kb() - before < MOST_GROWTH_KB
    await gateway.neighbour_is_well()
