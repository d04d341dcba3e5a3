"""The terminals of simulated guests, as somebody at the keyboard sees them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from ecompute_server.guest.checks import Bench, Screen, gathered, opened, raises, run
from ecompute_server.guest.interface import GuestError, GuestLost, GuestProcess, Terminal
from ecompute_server.guest.simulated import SimulatedGuests
from ecompute_server.hypervisor.checks import Facts
from ecompute_server.hypervisor.interface import FactKind, MachineSpec
from ecompute_server.hypervisor.simulated import SimulatedHypervisor

Running = Callable[..., AbstractAsyncContextManager[Bench]]
PROMPT = b"root@abcd1234.compute.localhost:~# "


@asynccontextmanager
async def keyboard(bench: Bench) -> AsyncIterator[tuple[GuestProcess, Screen]]:
    async with opened(bench, None, Terminal(24, 80)) as process:
        screen = Screen(process)
        assert await screen.until(PROMPT) == PROMPT
        yield process, screen


MORE = b"> "

TYPED: dict[str, list[tuple[bytes, bytes, bytes]]] = {
    "a line": [(b"echo hi\r", b"echo hi\r\nhi\r\n", PROMPT)],
    "an erased character": [(b"echo hix\x7f\r", b"echo hix\b \b\r\nhi\r\n", PROMPT)],
    "an erased character of several bytes": [
        ("echo hiä\x7f\r".encode(), "echo hiä\b \b\r\nhi\r\n".encode(), PROMPT)
    ],
    "nothing to erase": [(b"\x7f\x08echo hi\r", b"echo hi\r\nhi\r\n", PROMPT)],
    "an erased word": [
        (b"echo hi wrong\x17\r", b"echo hi wrong" + b"\b \b" * 5 + b"\r\nhi\r\n", PROMPT),
    ],
    "an erased line": [(b"wrong\x15echo hi\r", b"wrong" + b"\b \b" * 5 + b"echo hi\r\nhi\r\n", PROMPT)],
    "a control character": [(b"echo \x01\x08hi\r", b"echo ^A\b \b\b \bhi\r\nhi\r\n", PROMPT)],
    "an abandoned line": [(b"wrong\x03", b"wrong^C\r\n", PROMPT), (b"echo\r", b"echo\r\n\r\n", PROMPT)],
    "an empty line": [(b"\r", b"\r\n", PROMPT)],
    "an unfinished line": [
        (b"echo 'h\r", b"echo 'h\r\n", MORE),
        (b"i'\r", b"i'\r\nh\r\ni\r\n", PROMPT),
    ],
    "an abandoned second line": [(b"echo 'h\r", b"echo 'h\r\n", MORE), (b"\x03", b"^C\r\n", PROMPT)],
    "a loop": [
        (b"for i in 1 2\r", b"for i in 1 2\r\n", MORE),
        (b"do echo $i\r", b"do echo $i\r\n", MORE),
        (b"done\r", b"done\r\n1\r\n2\r\n", PROMPT),
    ],
    "a fault": [(b"fi\r", b'fi\r\nsh: syntax error: unexpected "fi"\r\n', PROMPT)],
    "a tab": [(b"echo '\t'\r", b"echo '\t'\r\n\t\r\n", PROMPT)],
    "standard error": [(b"nonesuch\r", b"nonesuch\r\nsh: nonesuch: not found\r\n", PROMPT)],
    "the kind of terminal": [(b"echo $TERM\n", b"echo $TERM\r\nxterm-256color\r\n", PROMPT)],
}


@pytest.mark.parametrize("case", TYPED)
def test_what_is_typed_is_shown(case: str, running: Running) -> None:
    """Echo, editing and output, byte for byte up to the next prompt."""

    async def main() -> None:
        async with running() as bench, keyboard(bench) as (process, screen):
            for keys, shown, prompt in TYPED[case]:
                await process.write(keys)
                assert await screen.until(prompt) == shown + prompt

    asyncio.run(main())


def test_the_prompt_follows_the_directory(running: Running) -> None:
    """With `~` for the home directory."""

    async def main() -> None:
        async with running() as bench, keyboard(bench) as (process, screen):
            await process.write(b"mkdir sub; cd sub\r")
            await screen.until(b":~/sub# ")
            await process.write(b"cd /tmp\r")
            await screen.until(b":/tmp# ")

    asyncio.run(main())


def test_a_command_reads_what_is_typed(running: Running) -> None:
    """Line by line; Ctrl-D ends its input and not the shell's."""

    async def main() -> None:
        async with running() as bench, keyboard(bench) as (process, screen):
            await process.write(b"cat; echo do''ne\r")
            await screen.until(b"\r\n")
            await process.write(b"line\r")
            assert await screen.until(b"line\r\nline\r\n") == b"line\r\nline\r\n"
            await process.write(b"\x04")
            assert await screen.until(PROMPT) == b"done\r\n" + PROMPT

    asyncio.run(main())


@pytest.mark.parametrize(("key", "status"), [(b"\x03", 130), (b"\x1c", 131)])
def test_a_signal_key_is_in_the_status(key: bytes, status: int, running: Running) -> None:
    """Whatever runs: a wait, an endless pipeline, a loop, a substitution."""

    async def main() -> None:
        async with running() as bench, keyboard(bench) as (process, screen):
            for command in (
                b"sleep 1000",
                b"yes | cat > /dev/null",
                b"while true; do true; done",
                b"x=$(sleep 9)",
            ):
                await process.write(command + b"\r")
                await screen.until(b"\r\n")
                await process.write(key)
                await screen.until(PROMPT)
                await process.write(b"echo =$?\r")
                await screen.until(b"\r\n=%d\r\n" % status)
                await screen.until(PROMPT)

    asyncio.run(main())


def test_ctrl_c_stops_a_flood_that_nobody_reads(running: Running) -> None:
    """Also while all buffers are full."""

    async def main() -> None:
        async with running() as bench, keyboard(bench) as (process, screen):
            await process.write(b"yes\r")
            await screen.until(b"y\r\ny\r\n")
            typing = asyncio.create_task(process.write(b"\x03"))
            await screen.until(PROMPT)
            await typing

    asyncio.run(main())


def test_a_raw_terminal_passes_bytes_as_they_are(running: Running) -> None:
    """No echo, no line ends of its own, no signal keys."""

    async def main() -> None:
        async with running() as bench, keyboard(bench) as (process, screen):
            await process.write(b"stty raw -echo; echo go; head -c 5 | sha256sum; stty sane\r")
            await screen.until(b"go\n")
            await process.write(b"\x03\r\x04\x7fz")
            expected = await run(bench, "printf '\\003\\r\\004\\177z' | sha256sum")
            assert await screen.until(b"\n") == expected.output
            await screen.until(PROMPT)

    asyncio.run(main())


def test_a_password_is_not_shown(running: Running) -> None:
    """`stty -echo`, as scripts do it."""

    async def main() -> None:
        async with running() as bench, keyboard(bench) as (process, screen):
            await process.write(b"stty -echo; echo pass''word:; read x; stty echo; echo $x | wc -c\r")
            await screen.until(b"password:\r\n")
            await process.write(b"secret\r")
            assert await screen.until(PROMPT) == b"7\r\n" + PROMPT

    asyncio.run(main())


def test_a_login_shell_minds_the_signals_that_shells_mind(running: Running) -> None:
    """INT interrupts, TERM is ignored, HUP ends it; a strange name does nothing."""

    async def main() -> None:
        async with running() as bench, keyboard(bench) as (process, screen):
            await process.write(b"sleep 1000\r")
            await screen.until(b"\r\n")
            await process.signal("TERM")
            await process.signal("NONESUCH")
            await process.signal("INT")
            await screen.until(PROMPT)
            await process.signal("HUP")
            assert (await gathered(process)).status == 128 + 1

    asyncio.run(main())


def test_a_hang_up_ends_the_shell_after_what_was_typed(running: Running) -> None:
    """`write_eof` on a terminal."""

    async def main() -> None:
        async with running() as bench, keyboard(bench) as (process, _):
            await process.write(b"echo la''st\r")
            await process.write_eof()
            ended = await gathered(process)
            assert (ended.status, b"last\r\n" in ended.output) == (0, True)

    asyncio.run(main())


@pytest.mark.parametrize("command", ["poweroff", "reboot"])
def test_a_guest_can_end_itself(
    command: str, tmp_path: Path, make_spec: Callable[..., MachineSpec], login: object
) -> None:
    """Its processes are lost, its fact is told, and its mount paths are there again."""

    async def main(act: Callable[[SimulatedHypervisor, SimulatedGuests, Facts], Awaitable[None]]) -> None:
        hypervisor, facts = SimulatedHypervisor(tmp_path, boot_time=0), Facts(deadline=10)
        await hypervisor.open(facts)
        guests = SimulatedGuests(hypervisor)
        await hypervisor.start(make_spec())
        await facts.until("abcd1234", 1, FactKind.STARTED, FactKind.READY)
        await act(hypervisor, guests, facts)
        await guests.close()
        await hypervisor.close()

    async def act(hypervisor: SimulatedHypervisor, guests: SimulatedGuests, facts: Facts) -> None:
        process = await guests.open(login, command=f"echo x > kept; {command}", terminal=None)  # type: ignore[arg-type]
        async with asyncio.timeout(10):
            with raises(GuestLost):
                await process.wait()
        if command == "poweroff":
            await facts.until("abcd1234", 1, FactKind.STARTED, FactKind.READY, FactKind.STOPPED)
            with raises(GuestError):
                await guests.answer(login)  # type: ignore[arg-type]
            await hypervisor.start(make_spec(generation=2))
            await facts.until("abcd1234", 2, FactKind.STARTED, FactKind.READY)
        else:
            await facts.until("abcd1234", 1, FactKind.STARTED, FactKind.READY, FactKind.READY)
        process = await guests.open(login, command="cat kept", terminal=None)  # type: ignore[arg-type]
        assert (await gathered(process)).output == b"x\n"
        guests.fail_next_answer("the guest is silent")
        with pytest.raises(GuestError, match="silent"):
            await guests.answer(login)  # type: ignore[arg-type]
        await guests.answer(login)  # type: ignore[arg-type]

    asyncio.run(main(act))
