"""Shells and commands in a container, as checks talk to them."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from ecompute.contract import catalog
from ecompute.contract.messages import Stream

from .credential import Who
from .frames import BINARY, TEXT, frame
from .lab import Lab
from .sockets import Closed, Socket
from .verdict import Lost

INPUT = bytes([Stream.INPUT])
EOF = '{"type":"eof"}'
_NOTED = 4096
"""Bytes of a message that are still worth their place in a report."""
_MESSAGES_TIME = 10
"""All messages of a conversation that is waited for, in times of what one may take."""


def path_of(container: str) -> str:
    """Where the terminal of a container is."""
    return f"/compute/containers/{container}/terminal"


class Conversation:
    """A terminal's WebSocket, of whatever subprotocol: what came out of it, and how it ended."""

    def __init__(self, lab: Lab, socket: Socket) -> None:
        self.socket = socket
        self.output: bytearray = bytearray()
        self.texts: list[str] = []
        self.binary_after_text: bool = False
        self.closed: Closed | None = None
        self._lab = lab

    @classmethod
    def open(
        cls, lab: Lab, container: str, query: str = "", subprotocol: str | None = None, who: Who = None
    ) -> Conversation:
        """A conversation in a running container.

        Raises:
            NotThere: the server refuses it.
        """
        offered = () if subprotocol is None else (subprotocol,)
        return cls(lab, lab.opened(path_of(container) + query, who, subprotocols=offered))

    def say(self, data: str | bytes) -> None:
        """One message."""
        self.socket.send(data)

    def control(self, **message: Any) -> None:
        """One control message."""
        self.socket.send(json.dumps(message))

    def read(self, within: float) -> bool:
        """Take the next message; whether there was one."""
        match self.socket.receive(within):
            case bytes() as data:
                self.binary_after_text = bool(self.texts)
                self.took(data)
            case str() as text:
                self.texts.append(text)
            case Closed() as closed:
                self.closed = closed
                return False
            case None:
                return False
        return True

    def took(self, data: bytes) -> None:
        """A binary message."""
        self.output += data

    def until(self, mark: bytes) -> bool:
        """Read until this has come out; whether it has, before the end or a long silence."""
        start, wait = 0, self._patience()
        while (found := self.output.find(mark, start)) < 0:
            start = max(0, len(self.output) - len(mark))
            if not self.read(wait()):
                return False
        return found >= 0

    def end(self) -> int | None:
        """Read to the end; the close code, or None where it does not come."""
        wait = self._patience()
        while self.read(wait()):
            pass
        return self.closed.code if self.closed else None

    def _patience(self) -> Callable[[], float]:
        """Seconds to wait for the next message. A server that says a little now and then is not waited for
        without end.
        """
        timeout = self._lab.target.timeout
        deadline = time.monotonic() + _MESSAGES_TIME * timeout
        return lambda: min(timeout, max(0.0, deadline - time.monotonic()))

    def pour(self, messages: Sequence[str | bytes]) -> threading.Thread:
        """Send messages from another thread, so that what comes back can be read meanwhile."""
        for message in messages:
            if len(message) <= _NOTED:
                self.socket.note(message)
        frames = [
            frame(TEXT, message.encode()) if isinstance(message, str) else frame(BINARY, message)
            for message in messages
        ]
        return self.pour_raw(frames)

    def pour_raw(self, frames: Sequence[bytes]) -> threading.Thread:
        """As `pour`, with frames, or the rest of one that was begun."""
        # an answer to a ping must not come between the parts of a frame
        self.socket.answering = False
        thread = threading.Thread(target=self._pour, args=(frames,), daemon=True)
        thread.start()
        return thread

    def _pour(self, frames: Sequence[bytes]) -> None:
        # whoever reads learns of the end as well
        with suppress(Lost):
            for each in frames:
                self.socket.raw(each, told=False)


def shell_of(lab: Lab, typed: str, query: str = "", subprotocol: str | None = None) -> Conversation:
    """A shell of the shared container that was given this to do, at its end.

    Raises:
        NotThere: the server refuses it.
    """
    shell = Conversation.open(lab, lab.running(), query, subprotocol)
    shell.say(typed.encode() + b"\n")
    shell.end()
    return shell


def has_line(shell: Conversation, text: str) -> bool:
    """Whether a line of the output ends with this, and with no more digits before it."""
    return re.search(rb"(?<![0-9])" + re.escape(text.encode()) + rb"\r?\n", bytes(shell.output)) is not None


def smallest_side(lab: Lab) -> int:
    """The least number of rows or columns that the `stty size` of the guest tells as it is: busybox takes 1
    for a mistake, and tells a usual size instead.

    Raises:
        NotThere: the server refuses the shell.
    """
    # nothing that a report needs
    mark = lab.history.mark()
    shell = shell_of(lab, "stty rows 1 cols 1; stty size; exit")
    lab.history.rewind(mark)
    return 1 if has_line(shell, "1 1") else 2


def given_back(lab: Lab, size: int, pieces: Sequence[bytes]) -> Conversation:
    """A shell whose terminal passes so many bytes through as they are, and which gives back its input.

    Raises:
        NotThere: the server refuses it.
    """
    shell = Conversation.open(lab, lab.running())
    # what is typed is echoed with the quotation marks, so that it is not taken for the output
    shell.say(f'stty raw -echo; echo rea""dy; head -c {size}; stty sane; exit\n')
    if shell.until(b"ready\n"):
        del shell.output[: shell.output.index(b"ready\n") + 6]
    sender = shell.pour(pieces)
    shell.end()
    sender.join(lab.target.timeout)
    return shell


class Command(Conversation):
    """A command of `ecompute.exec.v1`: its streams apart, and its status."""

    def __init__(self, lab: Lab, socket: Socket) -> None:
        super().__init__(lab, socket)
        self.error: bytearray = bytearray()
        self.stray: list[bytes] = []

    @classmethod
    def start(cls, lab: Lab, container: str, command: str, query: str = "", **more: Any) -> Command:
        """Have a command started.

        Raises:
            NotThere: the server refuses it.
        """
        opened = cls(lab, lab.opened(path_of(container) + query, subprotocols=(catalog.EXEC_PROTOCOL,)))
        opened.control(command=command, **more)
        return opened

    @classmethod
    def run(cls, lab: Lab, container: str, command: str, *pieces: bytes, **more: Any) -> Command:
        """A command from its start to its end, with these pieces of input and the end of it.

        Raises:
            NotThere: the server refuses it.
        """
        opened = cls.start(lab, container, command, **more)
        sender = opened.pour([*(INPUT + piece for piece in pieces), EOF])
        opened.end()
        sender.join(lab.target.timeout)
        return opened

    def took(self, data: bytes) -> None:
        """A binary message, whose first byte is its stream."""
        match data[:1]:
            case b"\x01" if len(data) > 1:
                self.output.extend(data[1:])
            case b"\x02" if len(data) > 1:
                self.error.extend(data[1:])
            case _:
                self.stray.append(data)

    @property
    def statuses(self) -> list[Any]:
        """The exit statuses that were told: one, of a right server."""
        found = []
        for text in self.texts:
            message = json.loads(text)
            if isinstance(message, dict) and message.get("type") == "exit":
                found.append(message.get("status"))
        return found
