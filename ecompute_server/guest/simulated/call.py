"""One call of a command in a simulated guest: its arguments, its streams, and what all commands share."""

from __future__ import annotations

import errno
import os
import posixpath
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from attrs import frozen

from ecompute_server.guest.simulated.devices import device, is_readonly
from ecompute_server.guest.simulated.streams import FileStream, Sink, Source, Text
from ecompute_server.hypervisor.interface import MachineSpec
from ecompute_server.hypervisor.simulated import Files

if TYPE_CHECKING:
    from ecompute_server.guest.simulated.shell import Shell

READ = os.O_RDONLY
WRITE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND


class UsageFault(Exception):
    """The arguments make no sense; `str()` says why."""


@frozen
class Io:
    """The three standard streams."""

    input: Source
    output: Sink
    error: Sink


@frozen
class Call:
    """What a command is given. It returns its exit status; an `OSError` that it lets out is told as a shell
    command tells it, with status 1, a `UsageFault` with status 2.
    """

    shell: Shell
    name: str
    args: Sequence[str]
    io: Io

    @property
    def files(self) -> Files:
        return self.shell.files

    @property
    def spec(self) -> MachineSpec:
        return self.shell.machine.spec

    def path(self, name: str) -> str:
        """The absolute path that an argument means."""
        return posixpath.join(self.shell.directory, name) if name else ""

    async def print(self, text: str) -> None:
        await self.io.output.write(encode(text))

    async def complain(self, text: str) -> None:
        await self.io.error.write(encode(f"{self.name}: {text}\n"))

    async def complain_of(self, error: OSError, name: str) -> None:
        await self.complain(f"{name}: {error.strerror}")

    @contextmanager
    def source(self, name: str) -> Iterator[Source]:
        """The file of that name, or standard input for `-`, to be read."""
        if name == "-":
            yield self.io.input
            return
        stream = open_stream(self.shell, name, READ)
        try:
            yield stream
        finally:
            if isinstance(stream, FileStream):
                stream.close()

    def options(self, flags: str, valued: str = "") -> tuple[dict[str, str], list[str]]:
        """The single-letter options and the operands; `valued` letters take a value.

        Raises:
            UsageFault: another option stands there.
        """
        found: dict[str, str] = {}
        rest = list(self.args)
        while rest and rest[0].startswith("-") and rest[0] != "-":
            cluster = rest.pop(0)[1:]
            if cluster == "-":
                break
            while cluster:
                letter, cluster = cluster[0], cluster[1:]
                if letter in valued:
                    if not cluster and not rest:
                        raise UsageFault(f"option requires an argument -- '{letter}'")
                    found[letter] = cluster or rest.pop(0)
                    break
                if letter not in flags:
                    raise UsageFault(f"unrecognized option '{letter}'")
                found[letter] = ""
        return found, rest


Command = Callable[[Call], Awaitable[int]]


def open_stream(shell: Shell, name: str, flags: int) -> FileStream | Text:
    """Open a guest's file or device; a file must be closed."""
    try:
        path = shell.files.real_path(posixpath.join(shell.directory, name) if name else "")
        found = device(path, shell.machine.spec)
        if found is None:
            return FileStream(shell.files.open(path, flags))
    except OSError as error:
        error.filename = name  # as the user wrote it
        raise
    if flags != READ and is_readonly(path):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), name)
    return found


def encode(text: str) -> bytes:
    """A guest's text as bytes; undecodable bytes come back as they were."""
    return text.encode("utf-8", "surrogateescape")


def decode(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")
