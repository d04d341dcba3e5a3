"""One WebSocket as the client sees it, after the upgrade: bytes in, bytes out, and what time demands.

wsproto frames; this adds what it leaves to its user: pings are answered, silence is noticed, sending is cut
into small frames, messages are bounded, closing has two sides. The opening handshake is checked here too
(RFC 6455, 4.1); it travels as an ordinary HTTP request.
"""

from __future__ import annotations

from abc import abstractmethod
from base64 import b64encode
from collections.abc import Iterable, Mapping
from typing import Protocol

from wsproto.connection import Connection as Framing
from wsproto.connection import ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, TextMessage
from wsproto.utilities import ProtocolError, generate_accept_token

from ecompute.errors import ConnectError, Error, InvalidAnswer, one_line

MAX_FRAME = 32 * 1024
"""Bytes of one frame sent: masking is slow on large ones, and servers need not take more."""
MAX_MESSAGE = 32 * 1024 * 1024
"""Bytes of one text received: a snapshot of 10,000 containers has about five million."""

QUIET = 30.0
"""Seconds without sending after which a ping goes out: a server may close a connection that was silent for
60 s, and a peer that went away tells nobody."""
SILENCE = 75.0
"""Seconds without receiving after which the peer counts as gone: two pings and their answers."""

CLOSE_WITHIN = 3.0
"""Seconds that the peer has to agree to a close, and to take what is still to be sent."""
MAX_OUTGOING = 256 * 1024
"""Bytes in the outbox above which a sender has to wait."""

NORMAL, PROTOCOL_ERROR, NO_STATUS, ABNORMAL, TOO_BIG = 1000, 1002, 1005, 1006, 1009
_FAREWELLS = {
    1001: "The server is going away",
    1008: "The server revoked the access: the credential may be no longer valid",
    1011: "The container's machine is gone: it was stopped, deleted or failed (`containers.get` tells)",
}


class Sink(Protocol):
    """Who takes what a WebSocket receives. Raising an `Error` from `on_bytes` or `on_text` ends it."""

    @property
    @abstractmethod
    def full(self) -> bool:
        """Whether nothing more is to be read for now."""

    def on_bytes(self, data: bytes, starts: bool) -> None:
        """Binary data, in pieces as they come; `starts` says whether a piece is the first of its message."""

    def on_text(self, text: str) -> None:
        """One whole text message."""

    def lost(self, error: Error | None) -> None:
        """The end; None when it was agreed."""


def upgrade_headers(key: bytes, subprotocols: Iterable[str] = ()) -> dict[str, str]:
    """The headers that ask for a WebSocket; `key` is 16 random bytes."""
    headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": b64encode(key).decode("ascii"),
    }
    offered = ", ".join(subprotocols)
    return {**headers, "Sec-WebSocket-Protocol": offered} if offered else headers


def check_upgrade(headers: Mapping[str, str], key: bytes, subprotocols: Iterable[str] = ()) -> str | None:
    """The subprotocol that a 101 answer has chosen, if any; header names in lower case.

    Raises:
        InvalidAnswer: the answer breaks the handshake.
    """
    tokens = {t.strip().lower() for t in headers.get("connection", "").split(",")}
    if headers.get("upgrade", "").strip().lower() != "websocket" or "upgrade" not in tokens:
        raise InvalidAnswer("The server agreed to another protocol than WebSocket.", status=101)
    accepted = generate_accept_token(b64encode(key)).decode("ascii")
    if headers.get("sec-websocket-accept", "").strip() != accepted:
        raise InvalidAnswer("The server's answer to the WebSocket handshake has a wrong key.", status=101)
    if headers.get("sec-websocket-extensions"):
        raise InvalidAnswer("The server chose a WebSocket extension that was not offered.", status=101)
    chosen = headers.get("sec-websocket-protocol")
    if chosen is not None and chosen not in tuple(subprotocols):
        raise InvalidAnswer("The server chose a WebSocket subprotocol that was not offered.", status=101)
    return chosen


class WebSocket:
    """An open WebSocket. Not thread-safe by itself; `now` is any clock that only goes forward."""

    def __init__(self, sink: Sink, now: float, *, max_message: int = MAX_MESSAGE) -> None:
        self.finished: bool = False
        """Nothing more will be received; what is in the outbox may still be sent."""
        self.error: Error | None = None
        """Why it finished, None for an agreed end."""
        self._sink = sink
        self._max_message = max_message
        self._framing = Framing(ConnectionType.CLIENT)
        self._outbox = bytearray()
        # growing in place: many pieces, kept until the last comes, leave as many holes in the memory
        self._text = bytearray()
        self._within_bytes = False
        self._closing = False
        self._heard = self._sent = now

    # time

    @property
    def due(self) -> float:
        """When `tick` has something to do."""
        return min(self._heard + SILENCE, self._sent + QUIET)

    def tick(self, now: float) -> None:
        """Let time pass: ping a quiet peer, give up a silent one."""
        if not self.wants_data:
            self._heard = now  # who does not listen cannot complain of silence
        if now >= self._heard + SILENCE:
            self.lost(
                ConnectError("The server has been silent for too long.", maybe_sent=True, timed_out=True)
            )
        elif now >= self._sent + QUIET:
            self._sent = now
            self._send(Ping())

    # sending

    @property
    def outgoing(self) -> int:
        """How many bytes wait to be sent."""
        return len(self._outbox)

    def take(self, limit: int, now: float) -> bytes:
        """Bytes for the network, at most `limit` of them."""
        data = bytes(self._outbox[:limit])
        del self._outbox[:limit]
        self._sent = now
        return data

    def send_bytes(self, data: bytes) -> None:
        """Queue binary messages of at most `MAX_FRAME` bytes; nothing once closing has begun."""
        for start in range(0, len(data), MAX_FRAME):
            self._send(BytesMessage(data[start : start + MAX_FRAME]))

    def send_text(self, text: str) -> None:
        """Queue one short text message."""
        self._send(TextMessage(text))

    def send(self, message: str | bytes) -> None:
        """Queue one message of the kind that it is."""
        if isinstance(message, str):
            self.send_text(message)
        else:
            self.send_bytes(message)

    def close(self, code: int = NORMAL) -> None:
        """Begin to close, after what is queued; the peer's agreement finishes it."""
        self._closing = True
        self._send(CloseConnection(code))

    def _send(self, event: Event) -> None:
        if not self.finished and self._framing.state is ConnectionState.OPEN:
            self._outbox += self._framing.send(event)

    # receiving

    @property
    def wants_data(self) -> bool:
        """Whether `receive` is to be fed: the sink has room, or what comes is no longer for it."""
        return self._closing or not self._sink.full

    def receive(self, data: bytes, now: float) -> None:
        """What the network brought; no bytes are its end."""
        if self.finished:
            return
        self._heard = now
        if not data:
            agreed = self._framing.state is ConnectionState.LOCAL_CLOSING
            self._finish(None if agreed else _broken_off())
            return
        try:
            self._framing.receive_data(data)
            for event in self._framing.events():
                self._handle(event)
        except ProtocolError:
            self._break_off(_broken_protocol(), PROTOCOL_ERROR)
        except Error as error:
            self._break_off(error, PROTOCOL_ERROR)

    def lost(self, error: Error) -> None:
        """The network failed. What was to be sent is dropped."""
        self._outbox.clear()
        if not self.finished:
            self._finish(error)

    def _handle(self, event: Event) -> None:
        match event:
            case _ if self.finished:
                pass
            case Ping():
                self._send(event.response())
            case BytesMessage() | TextMessage() if self._closing:
                pass  # whoever closes has stopped listening
            case BytesMessage():
                starts, self._within_bytes = not self._within_bytes, not event.message_finished
                self._sink.on_bytes(bytes(event.data), starts)
            case TextMessage():
                self._collect(event)
            case CloseConnection():
                self._farewell(event)
            case _:
                pass

    def _collect(self, event: TextMessage) -> None:
        self._text += event.data.encode()
        if len(self._text) > self._max_message:
            self._break_off(InvalidAnswer("The server sent a message too large to take."), TOO_BIG)
        elif event.message_finished:
            text = self._text.decode()
            self._text = bytearray()
            self._sink.on_text(text)

    def _farewell(self, event: CloseConnection) -> None:
        code = int(event.code)
        state = self._framing.state
        if state is ConnectionState.CLOSED:  # we began, and this is the agreement
            self._finish(None)
        elif state is ConnectionState.REMOTE_CLOSING:
            self._outbox += self._framing.send(event.response())
            agreed = code in (NORMAL, NO_STATUS)
            self._finish(None if agreed else _ended(code, event.reason))
        else:  # how wsproto tells of a frame that it cannot read
            self._break_off(_broken_protocol(), code)

    def _break_off(self, error: Error, code: int) -> None:
        self.close(code)
        self._finish(error)

    def _finish(self, error: Error | None) -> None:
        self.finished, self.error = True, error
        self._text.clear()
        self._sink.lost(error)


def _broken_off() -> ConnectError:
    return ConnectError("The connection broke off.", maybe_sent=True, close_code=ABNORMAL)


def _broken_protocol() -> InvalidAnswer:
    return InvalidAnswer("The server broke the WebSocket protocol.")


def _ended(code: int, reason: str | None) -> ConnectError:
    said = f": {one_line(reason)}" if reason else ""
    told = _FAREWELLS.get(code, "The server ended the connection")
    return ConnectError(f"{told} (close code {code}{said}).", maybe_sent=True, close_code=code)
