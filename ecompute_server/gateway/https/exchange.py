"""One request under way to the guest and its answer, as the bytes tell it. No I/O.

The answer passes as it is, byte for byte: h11 only reads along, to know where it ends, whether the connection
serves for more, and whether it became another protocol's.
"""

from __future__ import annotations

import h11

from .requests import MAX_HEAD

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
        self.upgraded = False
        """Whether the connection is another protocol's from now on (RFC 9110, section 7.8)."""
        self._held = bytearray()
        # neither ended nor said more than was asked
        self._clean = True

    def body(self, event: h11.Data | h11.EndOfMessage) -> bytes:
        """A piece of the request's body as the guest gets it."""
        if isinstance(event, h11.EndOfMessage):
            self.sent = True
            # trailers would be headers that nobody has looked at
            return self._connection.send(h11.EndOfMessage()) or b""
        self.repeatable = False
        return self._connection.send(event) or b""

    def answer(self, data: bytes) -> bytes:
        """What of the guest's bytes may be passed on; no bytes at all are the guest's end.

        Raises:
            h11.RemoteProtocolError: this is no answer.
        """
        self._clean = self._clean and bool(data)
        if not self.passed:
            self._held += data
        self._connection.receive_data(data)
        may_pass = self.passed
        while True:
            event = self._connection.next_event()
            if isinstance(event, h11.InformationalResponse):
                may_pass = True
                self.upgraded = event.status_code == 101
            elif isinstance(event, h11.Response | h11.Data):
                may_pass = True
            else:
                break
        if not may_pass:
            return b""
        out = data if self.passed else bytes(self._held)
        if self.complete and not self.upgraded and (beyond := len(self._connection.trailing_data[0])):
            self._clean = False
            out = out[:-beyond]
        self._held.clear()
        self.passed = self.passed or bool(out)
        return out

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
