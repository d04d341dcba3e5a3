"""One request under way to the guest and its answer, as the bytes tell it. No input, no output.

The answer passes as it is, byte for byte: h11 only reads along, to know where it ends, whether the connection
serves for more, and whether it became another protocol's.
"""

from __future__ import annotations

import asyncio

import h11

from .requests import MAX_HEAD, too_many_lines

MOST_INTERIM = 32
"""Answers of 1xx before the one that counts."""
_EVENTS = 64
"""Events of h11 between two turns of everybody else: about a millisecond."""
_SAFE = frozenset({b"GET", b"HEAD", b"OPTIONS"})


class Exchange:
    """From the request's head to the answer's last byte, over one connection into the guest."""

    def __init__(self, request: h11.Request, *, version: bytes) -> None:
        """`request` is what `requests.for_guest` made; the guest gets it in the visitor's `version`."""
        self._connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
        head = self._connection.send(request) or b""
        if version == b"1.0":
            line, _, rest = head.partition(b"\r\n")
            head = line.removesuffix(b"1.1") + b"1.0\r\n" + rest
        self.head = head
        self.repeatable = request.method in _SAFE
        """Whether it may be sent a second time when the guest gave no answer (RFC 9110, section 9.2.2)."""
        self.sent = False
        """Whether the request is whole."""
        self.passed = False
        """Whether a byte of the answer was passed on, so that no other answer can be given."""
        self.delivered = False
        """Whether the visitor has all of the answer; set by whoever passes it on."""
        self.upgraded = False
        """Whether the connection is another protocol's from now on (RFC 9110, section 7.8)."""
        self._held = bytearray()
        self._interim = 0
        self._headed = False
        # neither ended nor said more than was asked
        self._clean = True

    def body(self, data: bytes, *, last: bool) -> bytes:
        """A piece of the request's body as the guest gets it; `last` says that the request is whole."""
        out = b""
        if data:
            self.repeatable = False
            out = self._connection.send(h11.Data(data=data)) or b""
        if last:
            self.sent = True
            # trailers would be headers that nobody has looked at
            out += self._connection.send(h11.EndOfMessage()) or b""
        return out

    async def answer(self, data: bytes) -> bytes:
        """What of the guest's bytes may be passed on; no bytes at all are the guest's end. Gives others their
        turn while it reads along, since a few bytes may be as many chunks.

        Raises:
            h11.RemoteProtocolError: this is no answer.
        """
        self._clean = self._clean and bool(data)
        if not self.passed:
            self._held += data
        self._connection.receive_data(data)
        if not self._headed and too_many_lines(self._connection):
            raise h11.RemoteProtocolError("too many headers")
        may_pass = self.passed
        count = 0
        while self._read_on():
            may_pass = True
            count += 1
            if count % _EVENTS == 0:
                await asyncio.sleep(0)
        if not may_pass:
            return b""
        out = data if self.passed else bytes(self._held)
        if self.complete and not self.upgraded and (beyond := len(self._connection.trailing_data[0])):
            self._clean = False
            out = out[:-beyond]
        self._held.clear()
        self.passed = self.passed or bool(out)
        return out

    def _read_on(self) -> bool:
        """Read one event; False when there is none that lets something pass."""
        event = self._connection.next_event()
        if isinstance(event, h11.InformationalResponse):
            self._interim += 1
            if self._interim > MOST_INTERIM:
                raise h11.RemoteProtocolError("too many interim answers")
            self.upgraded = event.status_code == 101
            return True
        self._headed = self._headed or isinstance(event, h11.Response)
        return isinstance(event, h11.Response | h11.Data)

    @property
    def complete(self) -> bool:
        """Whether the answer is whole."""
        return self._connection.their_state in (h11.DONE, h11.MUST_CLOSE, h11.CLOSED)

    @property
    def settled(self) -> bool:
        """Whether there is nothing more to wait for."""
        return self.complete or self.upgraded

    @property
    def serves_on(self) -> bool:
        """Whether the guest's connection may carry another request."""
        connection = self._connection
        return self._clean and connection.our_state is h11.DONE and connection.their_state is h11.DONE
