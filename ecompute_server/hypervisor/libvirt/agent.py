"""The host's side of the guest agent's messages (docs/guest-agent.md), without any I/O.

Two nouns: lines of bytes become messages, and a `Conversation` decides what to answer. The guest is not
trusted: whatever it sends, the worst that happens is that nothing happens.
"""

from __future__ import annotations

import base64
import json
from typing import Any, TypeGuard

from attrs import define, field, frozen

from ecompute_server.hypervisor.interface import HypervisorError, Identity, Usage
from ecompute_server.hypervisor.libvirt.domain import VOLUME_SERIAL

MAX_LINE = 64 * 1024
MAX_REASON = 300
MAX_KB = 1 << 50
"""More than any machine has, and little enough to be counted with."""

NETWORK = {"address": "10.0.2.15/24", "gateway": "10.0.2.2", "dns": ["10.0.2.3"]}
"""What QEMU's user network hands out; fixed in its documentation and the same for every guest."""


@frozen
class Hello:
    configured: bool
    id: int | None = None


@frozen
class Ready:
    id: int


@frozen
class Refused:
    id: int
    message: str


Message = Hello | Ready | Refused | Usage


@define
class Lines:
    """Cuts a byte stream into those lines that may be messages: at most 64 KiB, and a `{` in front.

    The rest is dropped as cheaply as it can be: a guest may send nothing but line ends for ever.
    """

    _buffer: bytearray = field(factory=bytearray)
    _dropping: bool = False

    def feed(self, data: bytes) -> list[bytes]:
        end, *others = data.split(b"\n")
        self._take(end)
        if not others:
            return []
        first = bytes(self._buffer)
        self._buffer.clear()
        self._dropping = False
        *whole, rest = others
        self._take(rest)
        return [line for line in (first, *whole) if line.startswith(b"{") and len(line) <= MAX_LINE]

    def _take(self, piece: bytes) -> None:
        """A piece of a line whose end has not come yet."""
        if self._dropping or not piece:
            return
        self._buffer += piece
        if len(self._buffer) > MAX_LINE or not self._buffer.startswith(b"{"):
            self._buffer.clear()
            self._dropping = True


def parse(line: bytes) -> Message | None:
    """One line as a message, None for anything that the protocol does not know."""
    try:
        message = json.loads(line.decode(errors="replace"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(message, dict):
        return None
    number = message.get("id")
    if not isinstance(number, int) or isinstance(number, bool):
        number = None
    match message.get("type"), number:
        case "hello", _:
            configured = message.get("configured")
            return Hello(configured, number) if isinstance(configured, bool) else None
        case "ready", int(number):
            return Ready(number)
        case "error", int(number):
            text = message.get("message")
            return Refused(number, _one_line(text)) if isinstance(text, str) else None
        case "usage", _:
            return _usage(message)
    return None


def _usage(message: dict[str, Any]) -> Usage | None:
    available, used = message.get("memory_available_kb"), message.get("storage_used_kb")
    if _is_amount(available) and _is_amount(used):
        return Usage(memory_available=available * 1024, storage_used=used * 1024)
    return None


def _is_amount(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_KB


def _one_line(text: str) -> str:
    """Printable text alone: no line ends, halves of surrogate pairs or marks that turn writing round."""
    printable = "".join(letter if letter.isprintable() else " " for letter in text[: 4 * MAX_REASON])
    return " ".join(printable.split())[:MAX_REASON].rstrip() or "the guest gave no reason"


def _line(message: dict[str, Any]) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def hello(number: int) -> bytes:
    return _line({"type": "hello", "id": number})


def poweroff(number: int) -> bytes:
    return _line({"type": "poweroff", "id": number})


def configure(number: int, identity: Identity, *, clock: float, entropy: bytes) -> bytes:
    """Raises:
    HypervisorError: the identity does not fit into one line.
    """
    line = _line(
        {
            "type": "configure",
            "id": number,
            "clock": clock,
            "entropy": base64.b64encode(entropy).decode(),
            "hostname": identity.hostname,
            "machine_id": identity.machine_id,
            "host_key": identity.host_key,
            "authorized_keys": list(identity.authorized_keys),
            "network": NETWORK,
            "volume": VOLUME_SERIAL,
            "mount_paths": list(identity.mount_paths),
        }
    )
    if len(line) > MAX_LINE:
        raise HypervisorError(
            f"The identity of {identity.hostname!r} takes {len(line)} bytes, more than the guest agent's"
            f" {MAX_LINE}: give it fewer or shorter keys and paths."
        )
    return line


@frozen
class Hear:
    """The guest is to be told its identity under this number."""

    number: int


@frozen
class Report:
    """The guest took its identity, or `refused` says why not."""

    refused: str | None = None


@define
class Conversation:
    """What has been said with one running guest, and what that makes of the next message.

    A guest that has just been started is sent its identity before it says anything; its first `hello` then
    needs no answer. Every other `hello` of an unconfigured guest (a reboot, a restore, an agent that died)
    asks for the identity again.
    """

    _number: int = 0
    _pending: int | None = None
    _asked: int | None = None
    _first_hello_expected: bool = False
    waiting: bool = False
    """An unconfigured guest asked for an identity that was not there yet."""

    def next_number(self) -> int:
        self._number += 1
        return self._number

    def configure(self, *, first: bool = False) -> Hear:
        """The identity goes out now; `first` when the guest has not run yet."""
        self.waiting = False
        self._first_hello_expected = first
        self._pending = self.next_number()
        return Hear(self._pending)

    def ask(self) -> int:
        """The number of a `hello` to a guest that ran before this server knew it."""
        self._asked = self.next_number()
        return self._asked

    def receive(self, message: Message, *, identity_known: bool) -> Hear | Report | None:
        match message:
            case Ready(number) if number == self._pending:
                self._pending = None
                return Report()
            case Refused(number, reason) if number == self._pending:
                self._pending = None
                return Report(refused=reason)
            case Hello():
                return self._receive_hello(message, identity_known=identity_known)
        return None

    def _receive_hello(self, message: Hello, *, identity_known: bool) -> Hear | Report | None:
        answers = message.id is not None and message.id == self._asked
        if answers:
            self._asked = None
        elif message.id is not None:
            return None
        if self._first_hello_expected:
            self._first_hello_expected = False
            return None
        if message.configured and self._pending is None:
            return Report() if answers else None
        if not identity_known:
            self.waiting = True
            return None
        return self.configure()
