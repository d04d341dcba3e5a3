"""`SSHProcess`: a process in a guest, as one session channel of an SSH connection (RFC 4254 §6)."""

from __future__ import annotations

import asyncio
import signal
from collections import deque
from contextlib import suppress
from typing import Protocol

import asyncssh

from ecompute_server.guest.interface import GuestLost, Stream
from ecompute_server.guest.ssh.limits import HELD, READ, WRITE
from ecompute_server.guest.ssh.signals import new_mark


class Carrier(Protocol):
    """The connection below a process."""

    @property
    def is_connected(self) -> bool:
        """Whether it is still there."""

    async def clear(self) -> None:
        """Wait while the connection is full."""

    async def kill(self, process: SSHProcess, name: str) -> bool:
        """Send a signal past the channel, and tell whether it arrived."""

    def left(self, process: SSHProcess) -> None:
        """The process may still run, and nobody here wants it any more."""

    def ended(self, process: SSHProcess) -> None:
        """The channel is gone."""


class SSHProcess(asyncssh.SSHClientSession[bytes]):
    """An `ecompute_server.guest.interface.GuestProcess`.

    The first half is what callers use, the second half what asyncssh calls. One task may read, one write and
    one wait, at the same time.
    """

    def __init__(self, carrier: Carrier, *, has_terminal: bool) -> None:
        self.mark = new_mark()
        self._carrier = carrier
        self._has_terminal = has_terminal
        self._channel: asyncssh.SSHClientChannel[bytes]
        self.has_channel = False
        """Whether the guest opened a channel for it; nothing can have been started before."""
        self._chunks: deque[tuple[Stream, bytes]] = deque()
        self._held = 0
        self._paused = False
        self._all_came = False
        self._status: int | None = None
        self._loss: GuestLost | None = None
        self._news = asyncio.Event()
        self._over = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()

    async def read(self) -> tuple[Stream, bytes] | None:
        while not self._chunks:
            if self._all_came:
                return None
            if self._loss is not None:
                raise self._loss
            self._news.clear()
            await self._news.wait()
        stream, data = self._chunks.popleft()
        if len(data) > READ:
            self._chunks.appendleft((stream, data[READ:]))
            data = data[:READ]
        self._held -= len(data)
        if self._paused and self._held < HELD:
            self._paused = False
            self._channel.resume_reading()
        return stream, data

    async def write(self, data: bytes) -> None:
        for start in range(0, len(data), WRITE):
            await self._carrier.clear()
            await self._writable.wait()
            if self._loss is not None:
                raise self._loss
            if self._status is not None:
                raise GuestLost("The process has ended.")
            try:
                self._channel.write(data[start : start + WRITE])
            except OSError as error:
                raise GuestLost("The process takes no more input.") from error

    async def write_eof(self) -> None:
        self._channel.write_eof()

    async def resize(self, rows: int, cols: int) -> None:
        self._channel.change_terminal_size(cols, rows)

    async def signal(self, name: str) -> None:
        if self._is_over:
            return
        if not await self._carrier.kill(self, name):
            self._channel.send_signal(name)

    async def wait(self) -> int:
        await self._over.wait()
        if self._status is None:
            assert self._loss is not None
            raise self._loss
        return self._status

    async def close(self) -> None:
        # when a channel closes an SSH server ends what has a terminal, and leaves all else running
        was_running = not self._is_over
        self.hang_up()
        if was_running and not self._has_terminal:
            self._carrier.left(self)

    def hang_up(self) -> None:
        """Close the channel at once; whoever waits for the process learns that it is lost."""
        self._lose(GuestLost("The process was hung up from this side."))
        # not `close`, which first waits for the guest to take all input
        self._channel.abort()

    @property
    def _is_over(self) -> bool:
        return self._loss is not None or self._status is not None

    # --- called by asyncssh

    def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
        self._channel = chan
        self.has_channel = True
        chan.set_write_buffer_limits(high=HELD)

    def data_received(self, data: bytes, datatype: int | None) -> None:
        stream = Stream.ERROR if datatype == asyncssh.EXTENDED_DATA_STDERR else Stream.OUTPUT
        self._chunks.append((stream, data))
        self._held += len(data)
        if self._held >= HELD and not self._paused:
            self._paused = True
            self._channel.pause_reading()
        self._news.set()

    def eof_received(self) -> bool:
        self._all_came = True
        self._news.set()
        return True  # its input stays open

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def exit_status_received(self, status: int) -> None:
        self._set_status(status)

    def exit_signal_received(self, signal: str, core_dumped: bool, msg: str, lang: str) -> None:
        self._set_status(128 + _signal_number(signal))

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is None and self._loss is None and self._carrier.is_connected:
            # the guest closed the channel in order; asyncssh may have kept the end of its output from us
            self._all_came = True
            self._lose(GuestLost("The guest ended the process without saying how it went."))
        else:
            self._lose(GuestLost("The connection to the guest broke."))
        self._carrier.ended(self)

    def _set_status(self, status: int) -> None:
        self._status = status
        self._over.set()
        # a writer that waits for room must learn that nobody will make it
        self._writable.set()

    def _lose(self, loss: GuestLost) -> None:
        if self._loss is None:
            self._loss = loss
        self._over.set()
        self._news.set()
        self._writable.set()


def _signal_number(name: str) -> int:
    """This host's number for a signal's name; 0 for one that it does not know."""
    with suppress(KeyError):
        return int(signal.Signals[f"SIG{name}"])
    return 0
