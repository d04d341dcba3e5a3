"""What travels on the WebSockets.

The events channel carries feed messages. The terminal's frames are bytes; where a subprotocol was agreed on,
its text frames are control messages. A type that is not listed here is to be ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Any

from attrs import field, frozen

from .resources import Container


@frozen
class ContainerSnapshot:
    """The whole list, newest first: the first message, and again when a slow reader has missed changes."""

    containers: tuple[Container, ...]


@frozen
class ContainerStatus:
    """A container is new or has changed its status. `status_reason` comes with `failed`."""

    container_id: str
    status: str
    external_ip: str | None = None
    status_reason: str | None = None
    extra: Mapping[str, Any] = field(factory=dict, kw_only=True, repr=False, hash=False)


@frozen
class ContainerDeleted:
    """A container is gone."""

    container_id: str
    extra: Mapping[str, Any] = field(factory=dict, kw_only=True, repr=False, hash=False)


FeedMessage = ContainerSnapshot | ContainerStatus | ContainerDeleted
"""Every message of the feed."""

MESSAGE_TYPES: Mapping[str, type[ContainerSnapshot | ContainerStatus | ContainerDeleted]] = {
    "containers": ContainerSnapshot,
    "container_status": ContainerStatus,
    "container_deleted": ContainerDeleted,
}
"""The `type` on the wire of each message class."""


@frozen
class Resize:
    """To the server: the window has another size. Sizes outside 1 to 1000 are taken as the nearest."""

    rows: int
    cols: int


@frozen
class Execute:
    """To the server, the first message of `ecompute.exec.v1`, and without a type: a shell line to run.

    It runs as root. With `pty` it gets a pseudo-terminal, of the size that the query asked for, and all
    output is stream 1.
    """

    command: str
    pty: bool = False


@frozen
class EndOfInput:
    """To the server: standard input ends here."""


@frozen
class Signal:
    """To the server: send the process a signal, named without `SIG` (RFC 4254 §6.10)."""

    name: str


@frozen
class Exit:
    """To the client, last: what the process ended with, 128 + number for a signal, as a shell tells it."""

    status: int


ControlMessage = Resize | EndOfInput | Signal | Exit
"""Every control message that says its type."""

CONTROL_TYPES: Mapping[str, type[ControlMessage]] = {
    "resize": Resize,
    "eof": EndOfInput,
    "signal": Signal,
    "exit": Exit,
}
"""The `type` on the wire of each control message."""


class Stream(IntEnum):
    """The first byte of a binary frame of `ecompute.exec.v1`: which standard stream the rest belongs to."""

    INPUT = 0
    OUTPUT = 1
    ERROR = 2


class CloseCode(IntEnum):
    """Why the server ends a WebSocket (RFC 6455 §7.4.1)."""

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    INVALID_DATA = 1007
    REVOKED = 1008
    TOO_LARGE = 1009
    GUEST_LOST = 1011


CLOSE_MEANINGS: Mapping[CloseCode, str] = {
    CloseCode.NORMAL: "The shell or the command has ended.",
    CloseCode.GOING_AWAY: "The server is shutting down; connect again in a moment.",
    CloseCode.PROTOCOL_ERROR: "A frame broke the protocol, or a message came out of its order.",
    CloseCode.INVALID_DATA: "A text was no UTF-8, or a message is none of the subprotocol's.",
    CloseCode.REVOKED: "The credential was revoked or has expired.",
    CloseCode.TOO_LARGE: "A message was larger than the server takes.",
    CloseCode.GUEST_LOST: "The guest went away, or could not start what was asked.",
}
"""What each close code means. A client that says nothing for a minute is dropped without one."""
