"""Bytes from one socket to the other and back, unchanged: the front end of every port that is plain TCP.

Sockets are read and written by the loop's readiness callbacks, not by its streams or protocols: on both loops
that was the fastest of what was tried, it holds nothing while both sides keep up, and at most `CHUNK` of each
direction when one does not.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable

from ecompute_server.gateway.limits import CHUNK, Limits
from ecompute_server.gateway.passage import OpenPassage
from ecompute_server.gateway.sockets import is_broken
from ecompute_server.gateway.watch import Watch


class PassThrough:
    """A `FrontEnd`: what the visitor sends goes into the guest as it is."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        # shared by all relays of this loop: filled and emptied within one callback
        self._scratch = memoryview(bytearray(CHUNK))

    async def __call__(self, visitor: socket.socket, open_passage: OpenPassage) -> None:
        """Returns when both sides have ended their sending.

        Raises:
            OSError: there is no way into the guest, one side broke, or nothing moved for too long.
        """
        async with open_passage() as passage:
            relay = Relay(visitor, passage.socket, self._scratch, passage.heard)
            watch = Watch(relay, self._limits)
            try:
                await relay.ended
                relay.judge()
            finally:
                watch.stop()
                relay.stop()


class Relay:
    """Two flows between two non-blocking sockets, from its making until `stop`. The sockets stay open."""

    def __init__(
        self,
        visitor: socket.socket,
        guest: socket.socket,
        scratch: memoryview,
        heard: Callable[[], None],
    ) -> None:
        """`heard` is called when the guest has spoken, or ended."""
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # a sentence and no exception, whose traceback would hold all that is here until the collector of
        # cycles comes by
        self._failure = ""
        self._sockets = (visitor, guest)
        self._flows = (_Flow(self, visitor, guest, scratch), _Flow(self, guest, visitor, scratch, heard))

    @property
    def moved(self) -> int:
        """How many bytes were taken and given, both ways."""
        return sum(flow.moved for flow in self._flows)

    @property
    def held(self) -> int:
        """How many bytes wait here for a side that does not take them."""
        return sum(len(flow.rest) for flow in self._flows)

    def check(self) -> None:
        """See a reset of which the loop tells nothing, because nobody waits for that socket at the moment."""
        if not self.ended.done() and any(is_broken(each) for each in self._sockets):
            self.broken("One side broke the connection.")

    def judge(self) -> None:
        """Raises:
        OSError: it ended otherwise than in order.
        """
        if self._failure:
            raise ConnectionResetError(self._failure)

    def broken(self, sentence: str) -> None:
        """End as failed."""
        self.stop()
        if not self.ended.done():
            self._failure = sentence
            self.ended.set_result(None)

    def flow_ended(self) -> None:
        """End in order once both flows have."""
        if all(flow.over for flow in self._flows) and not self.ended.done():
            self.ended.set_result(None)

    def stop(self) -> None:
        """Take the hands off both sockets; safe to call twice. uvloop keeps a socket open until then."""
        for flow in self._flows:
            flow.stop()


class _Flow:
    """One direction."""

    __slots__ = ("_heard", "_loop", "_relay", "_scratch", "_sink", "_source", "moved", "over", "rest")

    def __init__(
        self,
        relay: Relay,
        source: socket.socket,
        sink: socket.socket,
        scratch: memoryview,
        heard: Callable[[], None] | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._relay = relay
        self._source = source
        self._sink = sink
        self._scratch = scratch
        self._heard = heard
        self.rest = memoryview(b"")
        self.moved = 0
        self.over = False
        # by its number: asyncio words an error with the socket itself, which asks for both its addresses
        self._loop.add_reader(source.fileno(), self._readable)

    def stop(self) -> None:
        if not self.over:
            self.over = True
            if self.rest:
                self._loop.remove_writer(self._sink.fileno())
                self.rest = memoryview(b"")
            else:
                self._loop.remove_reader(self._source.fileno())

    def _readable(self) -> None:
        try:
            size = self._source.recv_into(self._scratch)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._tell_heard()
            return self._relay.broken(error.strerror or "One side broke the connection.")
        if self._heard is not None:
            self._tell_heard()
        if size == 0:
            return self._end()
        self.moved += size
        sent = self._send(self._scratch[:size])
        if sent is not None and sent < size:
            self.rest = memoryview(bytes(self._scratch[sent:size]))
            self._loop.remove_reader(self._source.fileno())
            self._loop.add_writer(self._sink.fileno(), self._writable)

    def _writable(self) -> None:
        sent = self._send(self.rest)
        if sent is None:
            return
        self.moved += sent
        self.rest = self.rest[sent:]
        if not self.rest:
            self._loop.remove_writer(self._sink.fileno())
            self._loop.add_reader(self._source.fileno(), self._readable)

    def _send(self, data: memoryview) -> int | None:
        """How much was taken; None when nothing will be taken any more."""
        try:
            return self._sink.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:
            # only this direction is over: an answer that the other side gave before it left is still under
            # way, and reading it tells how the connection ended
            self._finish()
            return None

    def _end(self) -> None:
        with contextlib.suppress(OSError):
            self._sink.shutdown(socket.SHUT_WR)
        self._finish()

    def _finish(self) -> None:
        self.stop()
        self._relay.flow_ended()

    def _tell_heard(self) -> None:
        heard, self._heard = self._heard, None
        if heard is not None:
            heard()
