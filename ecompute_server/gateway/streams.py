"""Sockets read and written from coroutines: plain ones, and those under TLS.

A stream tries first and waits only when the socket is not ready, on the loop's readiness callbacks as the
plain relay does. TLS is OpenSSL's own on the socket: nothing is copied through memory buffers, and a
connection that does nothing holds no buffer at all.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl

from ecompute_server.gateway.sockets import is_broken

_PIECE = 32 * 1024
"""Most that is read at once. A download over HTTPS with 64 KiB took a quarter more processor time, with
128 KiB twice as much: `serve` has the C library give large pieces back to the system at once.
"""
_TURN = 8
"""So many reads in a row that did not have to wait, before others get their turn on the loop."""


class Interrupted(Exception):
    """A read was ended by `interrupt`; nothing was lost."""


class Stream:
    """A connected non-blocking socket; one reader and one writer at a time. Owns the socket."""

    def __init__(self, connection: socket.socket) -> None:
        self._loop = asyncio.get_running_loop()
        self._socket = connection
        self._reading: asyncio.Future[None] | None = None
        self._writing: asyncio.Future[None] | None = None
        self._watched = False
        self._interrupted = False
        self._failure = ""
        self._unwaited = 0
        self.moved = 0
        """How many bytes were taken and given."""

    async def receive(self, size: int = _PIECE) -> bytes:
        """Some bytes, none at the end of the other side's sending.

        Raises:
            Interrupted: `interrupt` was called since the last read began.
            OSError: the connection broke, or `fail` was called.
        """
        while True:
            if self._interrupted:
                self._interrupted = False
                raise Interrupted
            data = self._take(size)
            if data is None:
                await self._readable()
                continue
            self.moved += len(data)
            self._unwaited += 1
            if self._unwaited >= _TURN:
                self._unwaited = 0
                await asyncio.sleep(0)
            return data

    async def send(self, data: bytes | memoryview) -> None:
        """Return when the kernel has all of it.

        Raises:
            OSError: the connection broke, or `fail` was called.
        """
        rest = memoryview(data)
        while rest:
            sent = self._give(rest)
            if sent is None:
                await self._writable()
                continue
            self.moved += sent
            rest = rest[sent:]

    async def end(self) -> None:
        """Send no more, and say so."""
        self._raise()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def interrupt(self) -> None:
        """End the read that waits now, or the next one."""
        self._interrupted = True
        _wake(self._reading)

    def fail(self, sentence: str) -> None:
        """Have whoever waits, now or later, end with an error that says so."""
        self._failure = self._failure or sentence
        _wake(self._reading)
        _wake(self._writing)

    def check(self) -> None:
        """See a reset of which the loop tells nothing, because nobody waits for the socket at the moment."""
        if self._socket.fileno() >= 0 and is_broken(self._socket):
            self.fail("The other side broke the connection.")

    def detach(self) -> None:
        """Have the loop forget the socket, which stays open. Safe to call twice."""
        if self._socket.fileno() >= 0:
            self._unwatch()
            if self._writing is not None:
                self._loop.remove_writer(self._socket.fileno())

    def _take(self, size: int) -> bytes | None:
        """What there is, None when that must be waited for."""
        self._raise()
        try:
            return self._socket.recv(size)
        except (BlockingIOError, InterruptedError):
            return None

    def _give(self, data: memoryview) -> int | None:
        self._raise()
        try:
            return self._socket.send(data)
        except (BlockingIOError, InterruptedError):
            return None

    def _raise(self) -> None:
        if self._failure:
            # made anew each time: a kept one would hold, by its traceback, all that is around it
            raise ConnectionAbortedError(self._failure)

    async def _readable(self) -> None:
        self._unwaited = 0
        self._reading = self._loop.create_future()
        # left in place between reads: to take it away and set it again is two calls of the kernel; by its
        # number, because asyncio words an error with the socket itself, which asks for both its addresses
        if not self._watched:
            self._watched = True
            self._loop.add_reader(self._socket.fileno(), self._on_readable)
        try:
            await self._reading
        finally:
            self._reading = None

    def _on_readable(self) -> None:
        if self._reading is None:
            self._unwatch()
        else:
            _wake(self._reading)

    def _unwatch(self) -> None:
        if self._watched:
            self._watched = False
            self._loop.remove_reader(self._socket.fileno())

    async def _writable(self) -> None:
        self._writing = self._loop.create_future()
        self._loop.add_writer(self._socket.fileno(), _wake, self._writing)
        try:
            await self._writing
        finally:
            self._writing = None
            if self._socket.fileno() >= 0:
                self._loop.remove_writer(self._socket.fileno())


class TlsStream(Stream):
    """The server's side of TLS, on a socket of `ssl.SSLContext.wrap_socket` without its handshake."""

    _socket: ssl.SSLSocket

    def __init__(self, connection: ssl.SSLSocket) -> None:
        super().__init__(connection)

    async def handshake(self) -> None:
        """Raises:
        OSError: it failed (`ssl.SSLError`), or the connection broke.
        """
        while True:
            try:
                return self._socket.do_handshake()
            except ssl.SSLWantReadError:
                await self._readable()
            except ssl.SSLWantWriteError:
                await self._writable()
            self._raise()

    async def end(self) -> None:
        """Close TLS for what we send (close_notify, RFC 8446 section 6.1), then the connection's half."""
        while True:
            self._raise()
            try:
                self._socket.unwrap()
            except ssl.SSLWantWriteError:
                await self._writable()
                continue
            except (OSError, ValueError):
                pass  # the other side's close_notify may still be under way, or the connection is gone
            return await super().end()

    def _take(self, size: int) -> bytes | None:
        self._raise()
        try:
            return self._socket.recv(size)
        except (ssl.SSLWantReadError, InterruptedError):
            return None
        except ssl.SSLWantWriteError:
            # only an answer to a renewed key can be meant, and that goes out with the next data
            return None

    def _give(self, data: memoryview) -> int | None:
        self._raise()
        try:
            return self._socket.send(data)
        except (ssl.SSLWantWriteError, InterruptedError):
            return None


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
