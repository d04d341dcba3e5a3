"""Whatever a guest's user types or sends, the server goes on and the shell tells an end."""

from __future__ import annotations

import asyncio
import io
import tarfile
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ecompute_server.guest.checks import Bench, gathered, opened, run
from ecompute_server.guest.interface import Terminal
from ecompute_server.guest.simulated.grammar import SyntaxFault, parse

Running = Callable[..., AbstractAsyncContextManager[Bench]]

WORDS = [
    "echo",
    "cat",
    "tar",
    "x=1",
    "exit 3",
    "break",
    "/tmp/f",
    "-",
    "*",
    "~",
    "#",
    "\udc80",
    "\0",
    " ",
    " ",
    "\n",
]
OPERATORS = [";", "&&", "||", "|", ">", "<", ">>", "2>&1", "(", ")", "{", "}", "!"]
QUOTES = ["'", '"', "\\", "$", "$x", "${x", "${x:-", "$("]
RESERVED = ["if", "then", "else", "fi", "while", "true", "do", "done", "for", "in"]
PIECES = st.sampled_from([*WORDS, *OPERATORS, *QUOTES, *RESERVED])
# not st.binary(), which also tries literals that it finds in the code, such as commands that sleep
BYTES = st.lists(st.integers(0, 255), max_size=200).map(bytes)
LINES = st.lists(PIECES, max_size=25).map("".join)
many = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@settings(max_examples=400, deadline=None)
@given(st.text() | LINES)
def test_every_text_is_a_script_or_a_fault(text: str) -> None:
    """The parser ends, with a tree or with a sentence."""
    with suppress(SyntaxFault):
        parse(text)


@many
@given(LINES)
def test_every_line_ends_with_a_status(running: Running, text: str) -> None:
    """No line takes the shell down: it would be lost instead of ending."""

    async def main() -> None:
        async with running() as bench:
            if "while" not in text:  # which may well be endless
                assert 0 <= (await run(bench, text)).status < 256

    asyncio.run(main())


@many
@given(BYTES | LINES.map(lambda text: text.encode("utf-8", "surrogateescape")))
def test_a_terminal_survives_what_is_typed(running: Running, typed: bytes) -> None:
    """And can be hung up in order."""

    async def main() -> None:
        async with running() as bench, opened(bench, None, Terminal(24, 80)) as process:
            if b"while" not in typed:
                await process.write(typed)
                await process.write_eof()
                assert 0 <= (await gathered(process)).status < 256

    asyncio.run(main())


def _archive() -> bytes:
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w", format=tarfile.PAX_FORMAT) as made:
        for name in ("dir/plain", "ä" * 120):
            info = tarfile.TarInfo(name)
            info.size = 700
            made.addfile(info, io.BytesIO(bytes(700)))
    return output.getvalue()


ARCHIVE = _archive()


@many
@given(
    st.lists(st.tuples(st.integers(0, 6000), st.integers(0, 255)), max_size=8), st.integers(0, len(ARCHIVE))
)
def test_a_damaged_archive_is_unpacked_or_refused(
    running: Running, changes: list[tuple[int, int]], length: int
) -> None:
    """Whichever byte is wrong, and wherever it is cut."""
    damaged = bytearray(ARCHIVE[:length])
    for place, value in changes:
        damaged[place : place + 1] = bytes((value,))

    async def main() -> None:
        async with running() as bench:
            assert (await run(bench, "tar -xf -", bytes(damaged))).status in (0, 1)

    asyncio.run(main())
