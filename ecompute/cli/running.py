"""`run` and `terminal`: what runs in a container, by the API alone."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated, BinaryIO

from cyclopts import Parameter

from ecompute.contract.catalog import TERMINAL_SIZE

from .common import Connection, Container, open_async_client, open_client
from .exits import CommandError, Exit
from .names import find
from .output import by_name
from .ssh import line_of

_PIECE = 64 * 1024
_INPUT = 0


def run(
    container: Container,
    /,
    *command: Annotated[
        str,
        Parameter(
            required=True,
            help="Program and arguments; a single word is a shell line, such as 'ls *.txt | wc -l'.",
            allow_leading_hyphen=True,
        ),
    ],
    no_stdin: Annotated[
        bool, Parameter(name=("--no-stdin", "-n"), negative="", help="Give it no standard input.")
    ] = False,
    connection: Connection | None = None,
) -> int:
    """Run a command in a container, without SSH, as root and without a terminal. Its standard streams are
    this command's, and so is its exit status; 255 tells of a failure beside it.
    """
    import asyncio

    with open_client(connection) as client:
        box = find(client, container)
    line = line_of(command)
    with by_name(box):
        return asyncio.run(_run(connection, box.id, line, has_input=not no_stdin and sys.stdin is not None))


async def _run(connection: Connection | None, id: str, line: str, *, has_input: bool) -> int:
    # the async client, since its commands print while there is no input yet
    async with open_async_client(connection) as client:
        result = await client.run(
            id,
            line,
            input=_standard_input() if has_input else None,
            on_output=_writer(sys.stdout.buffer),
            on_error=_writer(sys.stderr.buffer),
            timeout=None if connection is None else connection.timeout,
        )
    return result.exit_status


def _writer(stream: BinaryIO) -> Callable[[bytes], Awaitable[None]]:
    """What writes to a stream, whose reader may take its time: the connection must not wait for it."""
    from anyio import to_thread

    def put(data: bytes) -> None:
        stream.write(data)
        stream.flush()

    async def write(data: bytes) -> None:
        await to_thread.run_sync(put, data)

    return write


async def _standard_input() -> AsyncIterator[bytes]:
    """What comes on standard input, as it comes."""
    import asyncio

    loop = asyncio.get_running_loop()
    while True:
        ready = asyncio.Event()
        try:
            loop.add_reader(_INPUT, ready.set)
        except (OSError, NotImplementedError):
            # a file, which has its next bytes at once
            pass
        else:
            try:
                await ready.wait()
            finally:
                loop.remove_reader(_INPUT)
        data = os.read(_INPUT, _PIECE)
        if not data:
            return
        yield data


def terminal(container: Container, /, *, connection: Connection | None = None) -> int:
    """Open a shell in a container, without SSH. Ends with the shell's exit status."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise CommandError("A terminal needs one on this side too: `ecompute run` takes files and pipes.")
    with open_client(connection) as client:
        box = find(client, container)
        size = os.get_terminal_size(sys.stdout.fileno())
        rows, cols = (min(max(length, 1), TERMINAL_SIZE[-1]) for length in (size.lines, size.columns))
        with by_name(box), client.terminal(box, rows=rows, cols=cols) as shell:
            return shell.interact() or Exit.OK
