"""An open WebSocket of the sync client: one small thread that alone touches the network.

Why a thread, and why only one. A caller that pauses between two events must still answer the server's
pings, so somebody has to read while the caller does not. Reading in one thread and writing in another holds
on a bare socket, but not under TLS: tried with echoes of 16 MiB, one connection in nine was lost. OpenSSL
forbids it, what CPython does about it varies by version, and both directions share one timeout. So the thread
owns the stream, waits for the network and for its callers at once, writes only what the system's buffer has
room for, and never waits in a read: output that nobody reads cannot stop input, nor the other way round.

Callers leave bytes in the outbox, which is bounded, and take what came from the sink, which bounds itself.
The thread ends with the connection; `close` waits for it.
"""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from .errors import Closed, ConnectError, DeadlineExceeded, Error
from .protocol.websocket import CLOSE_WITHIN, MAX_OUTGOING, Sink, WebSocket
from .transport import Stream

_READ = 256 * 1024
# A socket is reported writable when a third of its buffer is free (Linux) or 2 KiB are (BSD); as much as this
# fits without waiting, but for a peer that has stopped altogether.
_WRITE = 8 * 1024
_WRITE_WITHIN = 10.0
# bytes that came may hold no data, such as a TLS session ticket; so even a ready read is not waited for
_READ_WITHIN = 0.001
_LOOK_AGAIN = 0.02
"""How often a stream is read whose data the system does not know of."""


class Connection:
    """One WebSocket, from its opening to its end.

    `changed` guards the sink and tells when it has changed; the sink is only called while it is held.
    """

    def __init__(self, stream: Stream, sink: Sink, changed: threading.Condition) -> None:
        self._stream = stream
        self._changed = changed
        self._websocket = WebSocket(sink, time.monotonic())
        self._end_by: float | None = None
        self._done = False
        self._watched = 0
        try:
            self._bell, self._ear = socket.socketpair()
        except OSError as error:
            stream.close()
            raise ConnectError(
                f"There is no way to wait for it: {error.strerror}.", maybe_sent=True
            ) from error
        self._bell.setblocking(False)
        self._ear.setblocking(False)
        self._thread = threading.Thread(target=self._run, name="ecompute-websocket", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:
            # the system gives no thread, so that nobody else will close these
            for end in (stream, self._bell, self._ear):
                end.close()
            raise ConnectError("The system has no thread for it.", maybe_sent=True) from error
        except BaseException:
            # Ctrl-C may come while it starts; then nobody else knows of this connection
            with self._changed:
                self._end_by = time.monotonic()
                self._ring()
            raise

    def wait(self, ready: Callable[[], bool], deadline: float | None, late: str) -> None:
        """Wait until `ready`, which is asked whenever something has changed.

        Raises:
            DeadlineExceeded: it was not so in time; `late` is the sentence, without its full stop.
        """
        with self._changed:
            timeout = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not self._changed.wait_for(ready, timeout):
                raise DeadlineExceeded(f"{late}.")

    @property
    def has_room(self) -> bool:
        """Whether `send` has no need to wait: there is room, or the connection has ended."""
        return self._websocket.finished or self._websocket.outgoing < MAX_OUTGOING

    def send(
        self,
        fill: Callable[[WebSocket], None],
        deadline: float | None = None,
        late: str = "The server did not take the data in time",
    ) -> None:
        """Queue a message, once there is room for it.

        Raises:
            DeadlineExceeded: the server took too little in time; nothing of this message was queued.
            Closed: the connection has ended.
        """
        websocket = self._websocket
        self.wait(lambda: self.has_room, deadline, late)
        with self._changed:
            if websocket.finished:
                raise Closed("The connection has ended.") from websocket.error
            fill(websocket)
            self._ring()

    def resume(self) -> None:
        """Say that a full sink has room again."""
        with self._changed:
            self._ring()

    def close(self) -> None:
        """Close in agreement with the server, or without it after a few seconds. Safe to call again."""
        with self._changed:
            self._websocket.close()
            self._end_by = self._end_by or time.monotonic() + CLOSE_WITHIN
            self._ring()
        self._thread.join(CLOSE_WITHIN + 1)
        if self._thread.is_alive():
            self._stream.interrupt()
            self._thread.join()

    def abandon(self) -> None:
        """End it at once, without a word to the server and without waiting. Takes no lock, since the garbage
        collector may come here out of any line of any thread.
        """
        self._end_by = time.monotonic()
        with suppress(OSError):  # when full, it is ringing already; when closed, all is over
            self._bell.send(b"!")

    def _ring(self) -> None:
        if not self._done:
            with suppress(BlockingIOError):  # when full, it is ringing already
                self._bell.send(b"!")

    def _run(self) -> None:
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(self._ear, selectors.EVENT_READ)
                # what came with the handshake's answer is known to the stream alone
                self._receive()
                while self._turn(selector):
                    pass
        except Error as error:
            self._lose(error)
        except (OSError, ValueError):
            # the pool that the socket is of was closed by another thread
            self._lose(Closed("The connection was closed."))
        except BaseException:
            self._lose(ConnectError("The connection's thread has failed.", maybe_sent=True))
            raise
        finally:
            self._stream.close()
            with self._changed:
                self._websocket.lost(Closed("The connection was closed."))
                self._done = True
                self._bell.close()
                self._ear.close()
                self._changed.notify_all()

    def _lose(self, error: Error) -> None:
        with self._changed:
            self._websocket.lost(error)
            self._changed.notify_all()

    def _turn(self, selector: selectors.BaseSelector) -> bool:
        """Wait for something to do, and do it; False at the end."""
        now = time.monotonic()
        with self._changed:
            websocket = self._websocket
            websocket.tick(now)
            if websocket.finished:
                self._changed.notify_all()
                self._end_by = self._end_by or now + CLOSE_WITHIN
            if self._end_by is not None and now >= self._end_by:
                return False
            if websocket.finished and not websocket.outgoing:
                return False
            reads, writes = websocket.wants_data, websocket.outgoing > 0
            until = websocket.due if self._end_by is None else min(websocket.due, self._end_by)
        readable, writable = self._select(selector, reads, writes, max(0.0, until - now))
        if writable:
            with self._changed:
                data = websocket.take(_WRITE, time.monotonic())
                self._changed.notify_all()
            self._stream.write(data, _WRITE_WITHIN)
        if readable:
            self._receive()
        return True

    def _select(
        self, selector: selectors.BaseSelector, reads: bool, writes: bool, timeout: float
    ) -> tuple[bool, bool]:
        """Wait for the network or the bell; tells whether to read and whether there is room to write."""
        sock = self._stream.socket
        hidden = reads and self._stream.hides_data
        if hidden:
            timeout = min(timeout, _LOOK_AGAIN)
        mask = selectors.EVENT_READ * reads | selectors.EVENT_WRITE * writes
        if sock is None:
            mask, timeout = 0, 0.0 if writes else timeout
        elif mask != self._watched:
            self._watch(selector, sock, mask)
        readable, writable = hidden, writes and sock is None
        for key, events in selector.select(timeout):
            if key.fileobj is self._ear:
                with suppress(BlockingIOError):
                    self._ear.recv(4096)
            else:
                readable = readable or bool(events & selectors.EVENT_READ)
                writable = writable or bool(events & selectors.EVENT_WRITE)
        return readable, writable

    def _watch(self, selector: selectors.BaseSelector, sock: socket.socket, mask: int) -> None:
        if not self._watched:
            selector.register(sock, mask)
        elif mask:
            selector.modify(sock, mask)
        else:
            selector.unregister(sock)
        self._watched = mask

    def _receive(self) -> None:
        data = self._stream.read(_READ, _READ_WITHIN)
        if data is not None:
            with self._changed:
                self._websocket.receive(data, time.monotonic())
                self._changed.notify_all()
