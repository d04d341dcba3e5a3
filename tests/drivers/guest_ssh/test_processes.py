"""What a process in a guest does, and what its guest may do to it."""

from __future__ import annotations

import asyncio

import asyncssh
import pytest

from ecompute_server.guest.interface import GuestLost, Stream, Terminal
from ecompute_server.guest.ssh import Limits
from ecompute_server.guest.ssh.limits import HELD, READ, WINDOW

from .harness import LOGIN, Bench, all_output, bench, turns

pytestmark = pytest.mark.anyio

Process = asyncssh.SSHServerProcess[bytes]


async def stay(process: Process) -> None:
    await process.stdin.read()
    process.exit(0)


async def test_two_streams_and_a_status() -> None:
    """Each stream in its order, at most 32 KiB in one read."""

    async def speak(process: Process) -> None:
        process.stderr.write(b"complaint")
        process.stdout.write(bytes(100_000))
        process.exit(7)

    async with bench() as here:
        here.guest.commands["speak"] = speak
        process = await here.open("speak")
        received = {Stream.OUTPUT: 0, Stream.ERROR: 0}
        while (piece := await process.read()) is not None:
            assert 0 < len(piece[1]) <= READ
            received[piece[0]] += len(piece[1])
        assert received == {Stream.OUTPUT: 100_000, Stream.ERROR: 9}
        assert await process.read() is None
        assert await process.wait() == 7


async def test_a_terminal_has_a_type_and_a_size() -> None:
    """Both reach the guest, and so does a new size."""

    async def tell(process: Process) -> None:
        process.stdout.write(f"{process.term_type} {process.term_size[:2]}\n".encode())
        try:
            await process.stdin.read()
        except asyncssh.TerminalSizeChanged as change:
            process.stdout.write(f"{change.width} {change.height}\n".encode())
        process.exit(0)

    async with bench() as here:
        here.guest.commands["shell"] = tell
        process = await here.guests.open(LOGIN, command=None, terminal=Terminal(24, 80))
        assert await process.read() == (Stream.OUTPUT, b"xterm-256color (80, 24)\n")
        await process.resize(50, 132)
        assert await process.read() == (Stream.OUTPUT, b"132 50\n")


@pytest.mark.parametrize(("name", "status"), [("TERM", 143), ("KILL", 137), ("ODD", 128)])
async def test_the_end_by_a_signal_is_a_status(name: str, status: int) -> None:
    """As a shell tells it; a signal that nobody knows adds nothing."""

    async def die(process: Process) -> None:
        process.exit_with_signal(name)

    async with bench() as here:
        here.guest.commands["die"] = die
        assert await (await here.open("die")).wait() == status


async def test_a_signal_reaches_the_process() -> None:
    """By the guest's own `kill` if that finds it, else by the request of the protocol."""
    async with bench() as here:
        here.guest.commands["stay"] = stay
        process = await here.open("stay")
        await process.signal("TERM")
        assert await here.guest.signals.get() == "TERM"
        assert process.mark in here.guest.killers[0]
        assert "kill -s TERM" in here.guest.killers[0]
        assert await process.wait() == 143
        await process.signal("TERM")
        assert len(here.guest.killers) == 1


async def test_what_is_no_signal_s_name_reaches_no_shell() -> None:
    """It is left to the protocol's request, which has no shell behind it."""
    async with bench() as here:
        here.guest.commands["stay"] = stay
        process = await here.open("stay")
        await process.signal("TERM; reboot")
        await turns()
        assert here.guest.killers == []


async def test_a_close_hangs_up_what_has_no_terminal() -> None:
    """An SSH server would let it run on."""
    async with bench() as here:
        here.guest.commands["stay"] = stay
        process = await here.open("stay")
        await process.close()
        await process.close()
        with pytest.raises(GuestLost):
            await process.wait()
        while not here.guest.killers:  # noqa: ASYNC110 - what is waited for has no event of its own
            await asyncio.sleep(0)
        assert "kill -s HUP" in here.guest.killers[0]
        await process.write_eof()
        await process.resize(1, 1)
        await process.signal("TERM")


async def test_a_process_that_says_no_status() -> None:
    """Its output ends in order, and waiting for it fails."""

    async def vanish(process: Process) -> None:
        process.stdout.write(b"last words")
        process.stdout.write_eof()
        process.close()

    async with bench() as here:
        here.guest.commands["vanish"] = vanish
        process = await here.open("vanish")
        assert await all_output(process) == b"last words"
        with pytest.raises(GuestLost):
            await process.wait()


async def test_a_connection_that_breaks() -> None:
    """What came is read first; then reading, waiting and writing say that the guest is lost."""

    async def break_off(process: Process) -> None:
        process.stdout.write(b"begin")
        await process.stdin.read(1)
        process.channel.get_connection().abort()

    async with bench() as here:
        here.guest.commands["break off"] = break_off
        process = await here.open("break off")
        assert await process.read() == (Stream.OUTPUT, b"begin")
        await process.write(b"x")
        for attempt in (process.read, process.wait, lambda: process.write(b"more")):
            with pytest.raises(GuestLost):
                await attempt()


async def test_output_that_is_not_read_stops_the_guest() -> None:
    """Memory is bounded by what is held and one window, and nothing is lost."""
    size = 4_000_000

    async def pour(process: Process) -> None:
        process.stdout.write(bytes(size))
        process.exit(0)

    async with bench() as here:
        here.guest.commands["pour"] = pour
        process = await here.open("pour")
        await turns(2000)
        came = process._held + sum(len(data) for data, _ in process._channel._recv_buf)
        assert HELD <= came <= HELD + READ + 2 * WINDOW
        assert len(await all_output(process)) == size


async def test_a_guest_that_takes_nothing_stops_the_writer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Although it allows a gigabyte ahead, no more piles up here than the connection's buffer."""
    async with bench() as here:
        writing, process = await write_into_the_void(here)
        transport = process._channel.get_connection()._transport
        assert transport is not None
        assert transport.get_write_buffer_size() < 1_000_000
        assert not writing.done()
        writing.cancel()


async def test_a_guest_that_takes_nothing_for_long_is_lost() -> None:
    """The writer does not wait for ever."""
    async with bench(Limits(keepalive=0.01, keepalive_count=1)) as here:
        writing, _ = await write_into_the_void(here)
        with pytest.raises(GuestLost):
            await writing


async def write_into_the_void(here: Bench) -> tuple[asyncio.Task[None], asyncssh.SSHClientSession[bytes]]:
    here.guest.commands["stay"] = stay
    process = await here.open("stay")
    transport = here.guest.connections[0].link._transport
    assert isinstance(transport, asyncio.ReadTransport)
    transport.pause_reading()
    writing = asyncio.create_task(process.write(bytes(64_000_000)))
    await turns(2000)
    return writing, process
