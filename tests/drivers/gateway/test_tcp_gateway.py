"""What people get through a published port."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
from pathlib import Path

import pytest

from ecompute_server.gateway.interface import GatewayError
from ecompute_server.gateway.limits import Limits

from .harness import LOOPBACK, echo, free_port, is_turned_away, place, reset, turns, until, visit

pytestmark = pytest.mark.anyio


async def ask(port: int, question: bytes) -> bytes:
    async with visit(port) as (reader, writer):
        writer.write(question)
        writer.write_eof()
        return await reader.read()


async def test_bytes_pass_unchanged_both_ways_at_once() -> None:
    """All byte values, more than any buffer, in both directions together."""
    given = bytes(range(256)) * 20_000
    async with place() as here:
        assert await ask(await here.publish(echo), given) == given


async def test_two_hundred_at_once() -> None:
    """A crowd on one port is let in a few at a time, and all are served."""
    async with place() as here:
        port = await here.publish(echo)
        answers = await asyncio.gather(*(ask(port, b"%d" % number * 1000) for number in range(200)))
        assert answers == [b"%d" % number * 1000 for number in range(200)]


async def test_a_visitor_may_end_its_half() -> None:
    """The guest sees the end of the question, and its answer still arrives."""

    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"%d" % len(await reader.read()))

    async with place() as here:
        assert await ask(await here.publish(count), bytes(300_000)) == b"300000"


async def test_a_guest_may_end_its_half() -> None:
    """The visitor sees the end of the answer, and what it sends afterwards still arrives."""
    received: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"go on")
        writer.write_eof()
        received.set_result(await reader.read())

    async with place() as here, visit(await here.publish(greet)) as (reader, writer):
        assert await reader.read() == b"go on"
        writer.write(b"more")
        writer.write_eof()
        assert await received == b"more"


async def test_containers_have_the_same_port_side_by_side() -> None:
    """Each address leads to its own container."""
    async with place() as here:
        port = free_port()
        for number, name in ((2, "first"), (3, "second")):

            async def tell(
                reader: asyncio.StreamReader, writer: asyncio.StreamWriter, name: str = name
            ) -> None:
                writer.write(name.encode())

            await here.fleet.serve(name, 80, tell)
            await here.gateway.publish(name, f"127.77.255.{number}", port, 80)
        for number, name in ((2, "first"), (3, "second")):
            reader, writer = await asyncio.open_connection(f"127.77.255.{number}", port)
            assert await reader.read() == name.encode()
            writer.transport.abort()


async def test_nobody_listens_in_the_guest() -> None:
    """The visitor's connection ends at once, and the next one is tried anew."""
    async with place() as here:
        port = free_port()
        await here.gateway.publish("box", LOOPBACK, port, 80)
        for _ in range(20):
            assert await is_turned_away(port)
        assert here.fleet.asked == 20


async def test_a_guest_that_accepts_and_resets() -> None:
    """A forward that finds nobody behind it looks like this."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reset(writer)

    async with place() as here:
        assert await is_turned_away(await here.publish(refuse))


async def test_a_guest_that_dies_in_the_middle() -> None:
    """What is missing shows as an error, not as an orderly end."""

    async def die(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"begin")
        await writer.drain()
        await reader.read(1)
        reset(writer)

    async with place() as here, visit(await here.publish(die)) as (reader, writer):
        assert await reader.readexactly(5) == b"begin"
        writer.write(b"x")
        with pytest.raises(ConnectionError):
            await reader.read()


async def test_a_visitor_that_dies_in_the_middle() -> None:
    """The guest's side is reset too."""
    broken = asyncio.Event()

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"begin")
        try:
            await reader.read()
        except ConnectionError:
            broken.set()

    async with place() as here, visit(await here.publish(wait)) as (reader, writer):
        await reader.readexactly(5)
        reset(writer)
        await broken.wait()


async def test_an_answer_outlives_the_end_of_its_question() -> None:
    """A guest that answers and leaves before it read all has its answer delivered."""

    async def answer_early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"too large")
        writer.write_eof()

    async with place() as here, visit(await here.publish(answer_early)) as (reader, writer):
        writer.write(bytes(1_000_000))
        assert await reader.readexactly(9) == b"too large"


async def test_a_visitor_that_never_reads_holds_up_the_guest() -> None:
    """The guest's sending stops; its bytes all arrive once the visitor reads."""
    size = 64 * 1024 * 1024
    sent = asyncio.Event()

    async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(size // 65536):
            writer.write(bytes(65536))
            await writer.drain()
        sent.set()

    async with place() as here:
        port = await here.publish(send)
        with socket.create_connection((LOOPBACK, port)) as visitor:
            await turns(5000)
            assert not sent.is_set()
            visitor.setblocking(False)
            loop, received = asyncio.get_running_loop(), 0
            while data := await loop.sock_recv(visitor, 1 << 20):
                received += len(data)
            assert received == size


async def test_withdrawing_ends_what_is_open() -> None:
    """The port is closed and its connections end; other ports of the container stay."""
    async with place() as here:
        first, second = await here.publish(echo), await here.publish(echo, target=81)
        async with visit(first) as (reader, writer), visit(second) as (other_reader, other_writer):
            writer.write(b"x")
            await reader.readexactly(1)
            await here.gateway.withdraw("box", first)
            with pytest.raises(ConnectionError):
                await reader.read()
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(LOOPBACK, first)
            other_writer.write(b"still")
            assert await other_reader.readexactly(5) == b"still"


async def test_withdrawing_all_and_what_is_not_there() -> None:
    """Every port of the container closes; doing it again, or for nobody, changes nothing."""
    async with place() as here:
        ports = [await here.publish(echo), await here.publish(echo, target=81)]
        for _ in range(2):
            await here.gateway.withdraw("box")
            await here.gateway.withdraw("box", ports[0])
            await here.gateway.withdraw("nobody")
        for port in ports:
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(LOOPBACK, port)


async def test_withdrawing_in_the_moment_of_arrival() -> None:
    """A connection that was accepted and not yet served ends as well."""
    async with place() as here:
        port = await here.publish(echo)
        with socket.create_connection((LOOPBACK, port)) as visitor:
            await here.gateway.withdraw("box")
            visitor.settimeout(30)
            with pytest.raises(ConnectionError):
                visitor.recv(1)


async def test_publishing_again_leads_elsewhere() -> None:
    """New connections take the new way, open ones keep theirs, and the port never closes."""

    async def tell(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"new")

    async with place() as here:
        port = await here.publish(echo, target=80)
        await here.fleet.serve("box", 81, tell)
        async with visit(port) as (reader, writer):
            writer.write(b"1")
            await reader.readexactly(1)
            await here.gateway.publish("box", LOOPBACK, port, 81)
            assert await ask(port, b"") == b"new"
            writer.write(b"2")
            assert await reader.readexactly(1) == b"2"


async def test_a_port_offset() -> None:
    """Where low ports may not be bound, all are moved up together."""
    port = free_port()
    async with place(port_offset=port - 22) as here:
        await here.fleet.serve("box", 22, echo)
        await here.gateway.publish("box", LOOPBACK, 22, 22)
        assert await ask(port, b"moved") == b"moved"


async def test_a_port_that_somebody_else_has() -> None:
    """The error names the address and the port, and a later try works."""
    async with place() as here:
        with socket.create_server((LOOPBACK, 0)) as other:
            port = other.getsockname()[1]
            with pytest.raises(GatewayError, match=rf"{LOOPBACK}:{port} is in use"):
                await here.gateway.publish("box", LOOPBACK, port, 80)
        await here.fleet.serve("box", 80, echo)
        await here.gateway.publish("box", LOOPBACK, port, 80)
        assert await ask(port, b"mine") == b"mine"


async def test_a_port_that_does_not_exist() -> None:
    """Also an offset that leads beyond the last port is one sentence."""
    async with place() as here:
        with pytest.raises(GatewayError, match="no such port"):
            await here.gateway.publish("box", LOOPBACK, 70_000, 80)


async def test_no_more_connections_than_allowed() -> None:
    """One too many is reset, whatever port it came to; one that ends makes room."""
    async with place(Limits(connections=2)) as here:
        first, second = await here.publish(echo), await here.publish(echo, target=81)
        async with visit(first) as (reader, writer), visit(second) as (other_reader, other_writer):
            for r, w in ((reader, writer), (other_reader, other_writer)):
                w.write(b"x")
                await r.readexactly(1)
            assert await is_turned_away(first)
            writer.write_eof()
            assert await reader.read() == b""
            await turns()
            assert await ask(first, b"room") == b"room"


async def test_few_enter_at_the_same_time() -> None:
    """Who comes third waits until the guest has spoken to one of the two before."""
    speak = asyncio.Event()

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await speak.wait()
        writer.write(b"hello")
        await reader.read()

    async with place(Limits(entering=2, entering_time=3600)) as here:
        port = await here.publish(greet)
        async with visit(port) as (first, _), visit(port), visit(port) as (third, _):
            await until(lambda: here.fleet.asked == 2)
            await turns()
            assert here.fleet.asked == 2
            speak.set()
            assert await first.readexactly(5) == b"hello"
            assert await third.readexactly(5) == b"hello"


async def test_a_silent_guest_lets_others_enter_after_a_while() -> None:
    """Protocols in which the visitor speaks first work, too."""
    async with place(Limits(entering=1, entering_time=0.01)) as here:
        port = await here.publish(echo)
        async with visit(port), visit(port), visit(port) as (reader, writer):
            writer.write(b"x")
            assert await reader.readexactly(1) == b"x"


async def test_waiting_for_the_guest_has_an_end() -> None:
    """A guest that never takes the connection costs the visitor its patience, no more."""
    async with place(Limits(entering=1, entering_time=3600, patience=0.01)) as here:
        port = await here.publish(echo)
        async with visit(port):
            assert await is_turned_away(port)


async def test_an_idle_connection_ends() -> None:
    """Nothing moved for the limit: reset."""
    async with place(Limits(idle=0.01)) as here, visit(await here.publish(echo)) as (reader, _):
        with pytest.raises(ConnectionError):
            await reader.read()


async def test_a_visitor_that_dies_while_the_guest_takes_nothing() -> None:
    """The loop waits for the guest only, and still the end is noticed."""
    stop = asyncio.Event()

    async def never_read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await stop.wait()

    async with place(Limits(look=0.01)) as here:
        port = await here.publish(never_read)
        async with visit(port) as (_, writer):
            writer.write(bytes(64 * 1024 * 1024))
            await turns(5000)
            reset(writer)
        await until(lambda: not here.gateway._houses["box"].visits)
        stop.set()


async def test_files_run_out(caplog: pytest.LogCaptureFixture) -> None:
    """Accepting pauses, says so, and goes on when there are files again."""
    async with place(Limits(accept_pause=0.01)) as here:
        port = await here.publish(echo)
        visitor = socket.socket()
        visitor.setblocking(False)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        highest = max(int(entry.name) for entry in Path("/proc/self/fd").iterdir())
        fillers = [os.dup(visitor.fileno()) for _ in range(highest)]
        try:
            top = max(int(entry.name) for entry in Path("/proc/self/fd").iterdir())
            resource.setrlimit(resource.RLIMIT_NOFILE, (top, hard))
            await asyncio.get_running_loop().sock_connect(visitor, (LOOPBACK, port))
            await until(lambda: "accepting is paused" in caplog.text)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for filler in fillers:
                os.close(filler)
        reader, writer = await asyncio.open_connection(sock=visitor)
        writer.write(b"late")
        assert await reader.readexactly(4) == b"late"
        writer.transport.abort()
