"""What every way into guests must do: one check per promise of the interface, run against each driver.

A driver's tests bring a guest that runs, as a `Bench`, and run each of `CHECKS` on it; the guest needs a
POSIX shell and the usual small commands. Then each of `LAST_CHECKS`, each with a guest of its own.

A check fails by `AssertionError` or by the error that it did not expect. It waits for output and ends, never
for a time to pass.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from attrs import frozen

from ecompute_server.guest.interface import (
    GuestError,
    GuestLost,
    GuestProcess,
    Guests,
    Login,
    Stream,
    Terminal,
)

LARGE = 4_000_000
"""Bytes: more than all buffers on the way together."""
READ_LIMIT = 32 * 1024


@frozen
class Bench:
    """What a driver brings to its checks: a running guest whose mount paths include `/root`."""

    guests: Guests
    login: Login
    """Opens the guest."""
    stranger: Login
    """The same guest and host key, with a client key that the guest does not know."""
    impostor: Login
    """The same guest and client key, with another host key than the guest's."""
    absent: Login
    """A container that has no running machine."""
    halt: Callable[[], Awaitable[None]]
    """Ends the guest's machine at once."""
    restart: Callable[[], Awaitable[None]]
    """Stops the guest's machine and starts it again, up to where its SSH server answers."""
    deadline: float = 20.0
    """Seconds within which a step ends even on a busy host."""


Check = Callable[[Bench], Coroutine[Any, Any, None]]


@frozen
class Ended:
    """What a process left behind."""

    status: int
    output: bytes
    error: bytes


@asynccontextmanager
async def opened(
    bench: Bench, command: str | None, terminal: Terminal | None = None
) -> AsyncIterator[GuestProcess]:
    """A process, closed at the end; all of it within the deadline."""
    async with asyncio.timeout(bench.deadline):
        process = await bench.guests.open(bench.login, command=command, terminal=terminal)
        try:
            yield process
        finally:
            await process.close()


async def gathered(process: GuestProcess) -> Ended:
    """All output up to the end, and the status."""
    outputs = {Stream.OUTPUT: b"", Stream.ERROR: b""}
    while (chunk := await process.read()) is not None:
        stream, data = chunk
        assert 0 < len(data) <= READ_LIMIT, f"{len(data)} bytes in one read"
        outputs[stream] += data
    return Ended(await process.wait(), outputs[Stream.OUTPUT], outputs[Stream.ERROR])


async def run(bench: Bench, command: str, given: bytes = b"") -> Ended:
    """Run a command to its end, with `given` as all of its input."""
    async with opened(bench, command) as process:
        writing = asyncio.create_task(_give(process, given))
        try:
            return await gathered(process)
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)


async def _write_on(process: GuestProcess) -> None:
    while True:
        await process.write(b"too late\n")


async def _give(process: GuestProcess, given: bytes) -> None:
    await process.write(given)
    await process.write_eof()


PROMPT = b"# "
"""How root's prompt ends."""


class Screen:
    """What a terminal showed so far."""

    def __init__(self, process: GuestProcess) -> None:
        self._process = process
        self.shown = b""

    async def until(self, text: bytes) -> bytes:
        """Read on until `text` is shown; gives what was shown up to its end, and forgets that."""
        while text not in self.shown:
            chunk = await self._process.read()
            assert chunk is not None, f"the output ended with {self.shown!r}, without {text!r}"
            stream, data = chunk
            assert stream is Stream.OUTPUT, "a terminal has one stream only"
            self.shown += data
        before, found, self.shown = self.shown.partition(text)
        return before + found


@asynccontextmanager
async def conversation(bench: Bench) -> AsyncIterator[tuple[GuestProcess, Screen]]:
    """A login shell on a terminal that has answered once and waits for the next line.

    What is typed before a prompt may be thrown away, or be taken in another mode of the terminal.
    """
    async with opened(bench, None, Terminal(24, 80)) as process:
        screen = Screen(process)
        await process.write(b"echo he''llo\r")
        await screen.until(b"hello\r\n")
        await screen.until(PROMPT)
        yield process, screen


async def check_a_guest_answers(bench: Bench) -> None:
    async with asyncio.timeout(bench.deadline):
        await bench.guests.answer(bench.login)


async def check_a_guest_that_is_not_there_cannot_be_reached(bench: Bench) -> None:
    async with asyncio.timeout(bench.deadline):
        with raises(GuestError):
            await bench.guests.answer(bench.absent)
        with raises(GuestError):
            await bench.guests.open(bench.absent, command="true", terminal=None)


async def check_another_host_key_than_the_pinned_one_is_an_error(bench: Bench) -> None:
    async with asyncio.timeout(bench.deadline):
        with raises(GuestError):
            await bench.guests.open(bench.impostor, command="true", terminal=None)


async def check_a_key_that_the_guest_does_not_know_is_refused(bench: Bench) -> None:
    async with asyncio.timeout(bench.deadline):
        with raises(GuestError):
            await bench.guests.open(bench.stranger, command="true", terminal=None)


async def check_a_command_has_two_streams_and_a_status(bench: Bench) -> None:
    ended = await run(bench, "echo one; echo two >&2; exit 3")
    assert ended == Ended(3, b"one\n", b"two\n")


async def check_a_command_runs_as_root_at_home(bench: Bench) -> None:
    assert (await run(bench, "whoami; pwd")).output == b"root\n/root\n"


async def check_a_command_is_a_whole_shell_line(bench: Bench) -> None:
    ended = await run(bench, "x='a  b'; echo \"$x\" | cat && false || echo $?")
    assert ended == Ended(0, b"a  b\n1\n", b"")


async def check_input_and_output_carry_all_bytes(bench: Bench) -> None:
    given = bytes(range(256)) * 300
    assert await run(bench, "cat", given) == Ended(0, given, b"")


async def check_an_empty_input_ends_at_once(bench: Bench) -> None:
    assert (await run(bench, "wc -c")).output.split() == [b"0"]


async def check_input_that_was_closed_can_be_closed_again(bench: Bench) -> None:
    async with opened(bench, "cat") as process:
        await process.write(b"x")
        await process.write_eof()
        await process.write_eof()
        assert await gathered(process) == Ended(0, b"x", b"")


async def check_a_large_output_comes_whole(bench: Bench) -> None:
    ended = await run(bench, f"head -c {LARGE} /dev/zero")
    assert (ended.status, len(ended.output)) == (0, LARGE)


async def check_a_large_input_goes_whole(bench: Bench) -> None:
    ended = await run(bench, "wc -c", bytes(LARGE))
    assert ended.output.split() == [str(LARGE).encode()]


async def check_what_is_not_read_holds_up_the_guest(bench: Bench) -> None:
    """The command's second step begins only after its output was read."""
    name = "/tmp/held-up"
    async with opened(bench, f"rm -f {name}; head -c {LARGE} /dev/zero; touch {name}") as process:
        assert await process.read() is not None
        assert (await run(bench, f"test -e {name}")).status == 1
        await gathered(process)
    assert (await run(bench, f"test -e {name}; s=$?; rm -f {name}; exit $s")).status == 0


async def check_what_the_guest_does_not_take_holds_up_the_writer(bench: Bench) -> None:
    async with opened(bench, "sleep 1000") as process:
        writing = asyncio.create_task(process.write(bytes(LARGE)))
        await run(bench, "true")
        assert not writing.done()
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)


async def check_writing_to_what_has_ended_is_an_error(bench: Bench) -> None:
    async with opened(bench, "true") as process:
        await process.wait()
        with raises(GuestLost):
            await _write_on(process)


async def check_a_signal_ends_a_command(bench: Bench) -> None:
    for name, number in (("TERM", 15), ("KILL", 9), ("INT", 2)):
        async with opened(bench, "echo begun; sleep 1000") as process:
            assert await process.read() == (Stream.OUTPUT, b"begun\n")
            await process.signal(name)
            assert (await gathered(process)).status == 128 + number


async def check_a_terminal_shows_what_is_typed_and_what_is_answered(bench: Bench) -> None:
    async with conversation(bench) as (process, screen):
        await process.write(b"echo a''b\r")
        assert b"echo a''b\r\n" in await screen.until(b"ab\r\n")


async def check_a_terminal_has_its_type_and_its_size(bench: Bench) -> None:
    async with opened(bench, None, Terminal(33, 99, "vt100")) as process:
        screen = Screen(process)
        await process.write(b"stty size; echo $TERM.\r")
        await screen.until(b"33 99\r\n")
        await screen.until(b"vt100.\r\n")
        await process.resize(50, 132)
        await process.write(b"stty size\r")
        await screen.until(b"50 132\r\n")


async def check_ctrl_c_interrupts_what_runs_and_not_the_shell(bench: Bench) -> None:
    async with conversation(bench) as (process, screen):
        # in a process of its own: between two commands a shell may miss the signal
        await process.write(b"(echo be''gun; sleep 1000)\r")
        await screen.until(b"begun\r\n")
        await process.write(b"\x03")
        await screen.until(PROMPT)
        await process.write(b"echo st''ill here\r")
        await screen.until(b"still here\r\n")


async def check_ctrl_d_on_an_empty_line_ends_the_shell(bench: Bench) -> None:
    async with conversation(bench) as (process, _):
        await process.write(b"\x04")
        assert (await gathered(process)).status == 0


async def check_exit_ends_the_shell_with_its_status(bench: Bench) -> None:
    async with conversation(bench) as (process, _):
        await process.write(b"exit 7\r")
        assert (await gathered(process)).status == 7


async def check_a_command_may_have_a_terminal(bench: Bench) -> None:
    async with opened(bench, "stty size; echo error >&2", Terminal(10, 40)) as process:
        assert await gathered(process) == Ended(0, b"10 40\r\nerror\r\n", b"")


async def check_a_shell_without_a_terminal_runs_what_it_is_given(bench: Bench) -> None:
    async with opened(bench, None) as process:
        await process.write(b"cd /tmp\npwd\n")
        await process.write_eof()
        ended = await gathered(process)
        assert (ended.status, ended.output) == (0, b"/tmp\n")


async def check_shells_side_by_side_do_not_mix(bench: Bench) -> None:
    commands = [f"for i in 1 2 3; do echo {number}; done" for number in range(5)]
    ends = await asyncio.gather(*(run(bench, command) for command in commands))
    assert [ended.output for ended in ends] == [f"{number}\n".encode() * 3 for number in range(5)]


async def check_a_file_stays_for_the_next_command(bench: Bench) -> None:
    given = bytes(range(256)) * 100
    assert (await run(bench, "cat > /root/kept", given)).status == 0
    assert (await run(bench, "cat /root/kept; rm /root/kept")).output == given


async def check_a_tree_is_copied_by_tar(bench: Bench) -> None:
    made = await run(bench, "cd /tmp && rm -rf t u && mkdir -p t/sub u && echo hi > t/sub/f && tar -cf - t")
    assert (made.status, made.error) == (0, b"")
    unpacked = await run(
        bench, "tar -xf - -C /tmp/u && cat /tmp/u/t/sub/f && rm -rf /tmp/t /tmp/u", made.output
    )
    assert unpacked == Ended(0, b"hi\n", b"")


async def check_a_close_ends_the_process_and_may_come_again(bench: Bench) -> None:
    process = await bench.guests.open(bench.login, command="sleep 1000", terminal=None)
    async with asyncio.timeout(bench.deadline):
        await process.close()
        await process.close()
        with raises(GuestLost):
            await process.wait()


async def check_the_end_of_the_machine_is_the_loss_of_its_processes(bench: Bench) -> None:
    async with opened(bench, "echo begun; sleep 1000") as process:
        assert await process.read() == (Stream.OUTPUT, b"begun\n")
        await bench.halt()
        with raises(GuestLost):
            while await process.read() is not None:
                pass
        with raises(GuestLost):
            await process.wait()
        with raises(GuestLost):
            await _write_on(process)
        with raises(GuestError):
            await bench.guests.open(bench.login, command="true", terminal=None)


async def check_mount_paths_outlive_a_stop_and_other_files_do_not(bench: Bench) -> None:
    await run(bench, "echo kept > /root/f; mkdir -m 700 /root/d; ln -s f /root/l; echo gone > /tmp/f")
    async with asyncio.timeout(bench.deadline):
        await bench.restart()
    assert (
        await run(bench, "cat /root/f /root/l; ls -ld /root/d | head -c 10; echo; cat /tmp/f")
    ).output == (b"kept\nkept\ndrwx------\n")


async def check_a_close_of_all_hangs_up_everywhere(bench: Bench) -> None:
    async with opened(bench, "sleep 1000") as process:
        await bench.guests.close()
        with raises(GuestLost):
            await process.wait()


CHECKS: tuple[Check, ...] = (
    check_a_guest_answers,
    check_a_guest_that_is_not_there_cannot_be_reached,
    check_another_host_key_than_the_pinned_one_is_an_error,
    check_a_key_that_the_guest_does_not_know_is_refused,
    check_a_command_has_two_streams_and_a_status,
    check_a_command_runs_as_root_at_home,
    check_a_command_is_a_whole_shell_line,
    check_input_and_output_carry_all_bytes,
    check_an_empty_input_ends_at_once,
    check_input_that_was_closed_can_be_closed_again,
    check_a_large_output_comes_whole,
    check_a_large_input_goes_whole,
    check_what_is_not_read_holds_up_the_guest,
    check_what_the_guest_does_not_take_holds_up_the_writer,
    check_writing_to_what_has_ended_is_an_error,
    check_a_signal_ends_a_command,
    check_a_terminal_shows_what_is_typed_and_what_is_answered,
    check_a_terminal_has_its_type_and_its_size,
    check_ctrl_c_interrupts_what_runs_and_not_the_shell,
    check_ctrl_d_on_an_empty_line_ends_the_shell,
    check_exit_ends_the_shell_with_its_status,
    check_a_command_may_have_a_terminal,
    check_a_shell_without_a_terminal_runs_what_it_is_given,
    check_shells_side_by_side_do_not_mix,
    check_a_file_stays_for_the_next_command,
    check_a_tree_is_copied_by_tar,
    check_a_close_ends_the_process_and_may_come_again,
)
"""Every check that leaves the guest as it was."""

LAST_CHECKS: tuple[Check, ...] = (
    check_mount_paths_outlive_a_stop_and_other_files_do_not,
    check_the_end_of_the_machine_is_the_loss_of_its_processes,
    check_a_close_of_all_hangs_up_everywhere,
)
"""The checks after which the guest, or the way to it, is gone."""


@contextmanager
def raises(expected: type[Exception]) -> Iterator[None]:
    """The block must raise this error."""
    try:
        yield
    except expected:
        return
    raise AssertionError(f"{expected.__name__} was not raised")
