"""How the server gets into a guest: to see that it answers, and to open shells for the terminal.

A guest is reached by its container's id; where it lives is the driver's matter.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Protocol

from attrs import field, frozen


class GuestError(Exception):
    """The guest could not be reached, or refused; `str()` is one sentence without secrets."""


class GuestLost(GuestError):
    """A connection that worked has broken: the guest or its machine went away."""


class Stream(IntEnum):
    """The standard streams of a process in a guest, numbered as POSIX does."""

    INPUT = 0
    OUTPUT = 1
    ERROR = 2


@frozen
class Login:
    """What opens a guest: the server's own key for this container, and the host key that the guest must show.

    `client_key` is an OpenSSH private key (PEM text), `host_key` the public line.
    """

    container_id: str
    client_key: str = field(repr=False)
    host_key: str


@frozen
class Terminal:
    """The pseudo-terminal that a process gets."""

    rows: int
    cols: int
    type: str = "xterm-256color"


class GuestProcess(Protocol):
    """A shell or a command in a guest. Memory is bounded both ways: what is not read stops the guest's
    writer.
    """

    async def read(self) -> tuple[Stream, bytes] | None:
        """The next output, at most 32 KiB, in the order of its stream; None when all output has ended.

        Raises:
            GuestLost: the connection broke before the output ended.
        """

    async def write(self, data: bytes) -> None:
        """Give bytes to standard input; waits while the guest does not take them.

        Raises:
            GuestLost: nothing reads there any more.
        """

    async def write_eof(self) -> None:
        """Close standard input. Nothing happens when it is closed already."""

    async def resize(self, rows: int, cols: int) -> None:
        """Tell the pseudo-terminal its new size."""

    async def signal(self, name: str) -> None:
        """Send a signal by its name without `SIG` (RFC 4254 §6.10)."""

    async def wait(self) -> int:
        """The exit status, once the process has ended: 128 + number for a signal, as a shell tells it.

        Raises:
            GuestLost: the connection broke before the status came.
        """

    async def close(self) -> None:
        """Hang up. Safe to call at any time, more than once."""


class Guests(Protocol):
    """The ways into all guests of this server."""

    async def answer(self, login: Login) -> None:
        """Return when the guest's SSH server has said its banner; one connection, tried once.

        Raises:
            GuestError: it did not, within a few seconds.
        """

    async def open(self, login: Login, *, command: str | None, terminal: Terminal | None) -> GuestProcess:
        """Start a login shell (`command` None) or a command by the shell, as root.

        With a terminal both output streams arrive as `Stream.OUTPUT`, as a pseudo-terminal has only one.

        Raises:
            GuestError: no connection, another host key than the pinned one, or the key was refused.
        """

    async def close(self) -> None:
        """Hang up everywhere."""
