"""Sockets read and written from coroutines: plain ones, and those under TLS.

A stream tries first and waits only when the socket is not ready, on the loop's readiness callbacks as the
plain relay does.
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
_RECORD = 16 * 1024
"""The most that one TLS record carries (RFC 8446, section 5.1)."""
_CIPHERTEXT = _RECORD + 256
"""Most that OpenSSL is given at once: about one record, or 20 ms of the costliest that it may be."""
_MOST_IDLE_TALK = 64 * 1024
"""Bytes without any application data among them, after which a visitor is only out to keep us busy."""
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
        self._drained = False
        """Whether the last read left nothing, as far as one can know: to try at once would be in vain."""
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
            data = None if self._drained else self._take(size)
            self._drained = False
            if data is None:
                await self._readable()
                continue
            self._drained = len(data) < size
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
    """The server's side of TLS on a connected non-blocking socket.

    OpenSSL is given what came piece by piece, and never the socket: in one read it would take in records that
    carry nothing for us (RFC 8446, section 4.6.3: updates of keys) for as long as somebody sends them.
    """

    def __init__(self, connection: socket.socket, context: ssl.SSLContext) -> None:
        super().__init__(connection)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._turn = asyncio.Lock()
        self._came = False
        """Whether OpenSSL may have something that was not asked for yet."""
        self._over = False
        """Whether the other side has ended its sending."""
        self._idle_talk = 0
        """Bytes since there was something for us among them."""
        self._unsent = memoryview(b"")
        """What the kernel did not take yet of what OpenSSL has written; kept here, so that who is cancelled
        in the midst of sending leaves the rest to others."""
        self._silent = False
        """Whether we have ended our sending."""
        self._refusal = ""
        """What was wrong with what came last."""

    async def handshake(self) -> None:
        """Raises:
        OSError: it failed (`ssl.SSLError`), or the connection broke.
        """
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                self._put(await super().receive(_CIPHERTEXT))
            except ssl.SSLError:
                await self._flush()  # the alert that says why
                raise
            else:
                await self._flush()
                self._came = True
                self._idle_talk = 0
                return

    async def receive(self, size: int = _PIECE) -> bytes:
        """As for a plain stream. An end without close_notify is an end as well.

        Raises:
            Interrupted, OSError: as for a plain stream.
        """
        while not self._over:
            if not self._came:
                self._put(await super().receive(_CIPHERTEXT))
            self._came = False
            if self._refusal:
                raise ssl.SSLError(self._refusal)
            data = self._plaintext()
            # an answer to an update of keys, or an alert. Never waited for: the other side may not read
            # before it has said all that it has to say
            self._flush_at_once()
            if data:
                self._idle_talk = 0
                return data
            if not self._over:
                await asyncio.sleep(0)
        return b""

    async def send(self, data: bytes | memoryview) -> None:
        """As for a plain stream."""
        rest = memoryview(data)
        while rest:
            self._raise()
            rest = rest[self.tls.write(rest[:_RECORD]) :]
            await self._flush()

    async def end(self) -> None:
        """Close TLS for what we send (close_notify, RFC 8446, section 6.1), then the connection's half. What
        the other side still sends can be received.
        """
        self._raise()
        # all that came was taken out before; if not, OpenSSL would lose it here
        with contextlib.suppress(ssl.SSLError):
            self.tls.unwrap()
        await self._flush()
        self._silent = True
        await super().end()

    def _put(self, ciphertext: bytes) -> None:
        if not ciphertext:
            self._incoming.write_eof()
            return
        self._incoming.write(ciphertext)
        self._idle_talk += len(ciphertext)
        if self._idle_talk > _MOST_IDLE_TALK:
            self.fail("There was too much that says nothing.")
            self._raise()

    def _plaintext(self) -> bytes:
        pieces = []
        try:
            while piece := self.tls.read(_PIECE):
                pieces.append(piece)
            self._over = True
        except ssl.SSLWantReadError:
            pass
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
            self._over = True
        except ssl.SSLError as error:
            # what was good before it counts
            self._refusal = str(error)
            self._came = True
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def _flush(self) -> None:
        # reader and writer both have something to say, and records must leave in their order
        async with self._turn:
            while not self._flush_some():
                await self._writable()

    def _flush_at_once(self) -> None:
        if not self._turn.locked():
            self._flush_some()
        if self._outgoing.pending > _MOST_IDLE_TALK:
            self.fail("The other side asks and does not listen.")

    def _flush_some(self) -> bool:
        """Whether the kernel took everything."""
        while self._unsent or self._outgoing.pending:
            if not self._unsent:
                self._unsent = memoryview(self._outgoing.read())
            if self._silent:
                self._unsent = memoryview(b"")  # our half is closed, and OpenSSL still has answers
                continue
            sent = self._give(self._unsent)
            if sent is None:
                return False
            self.moved += sent
            self._unsent = self._unsent[sent:]
        return True


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
