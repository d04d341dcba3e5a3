"""WebSockets to the tested server, one frame at a time and as wrong as a test needs them.

The client's own WebSockets hide what a test has to see: frames as they come, close codes, refusals.
"""

from __future__ import annotations

import base64
import secrets
import time
from collections import deque
from collections.abc import Mapping
from urllib.parse import quote, urlsplit

from attrs import frozen
from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage
from wsproto.utilities import LocalProtocolError, RemoteProtocolError, generate_accept_token

from .history import Heard, History, Sent
from .raw import connect
from .verdict import Lost
from .wire import NOTHING, Answer, Wire


@frozen
class Closed:
    """The other side has closed, or is gone: then the code is 1006."""

    code: int
    reason: str = ""


@frozen
class Ponged:
    """The answer to a ping."""

    payload: bytes


Received = str | bytes | Closed | Ponged

GONE = Closed(1006)

_SHOWN = 200
_MOST = 256 * 1024 * 1024
_MOST_FRAMES = 200_000
"""What comes on one WebSocket, of which no check asks for a tenth."""
_MOST_WRITTEN = 2_000
"""Messages of one WebSocket that a report has."""


class Socket:
    """One WebSocket. `answer` is that to the handshake; only a 101 opens it. Close it, or use it in `with`.

    Messages come whole from `receive`, frames as `frame_sizes` tells. Pings are answered.
    """

    def __init__(
        self,
        wire: Wire,
        path: str,
        *,
        token: str | None = None,
        in_query: bool = False,
        subprotocols: tuple[str, ...] = (),
        headers: Mapping[str, str] = NOTHING,
    ) -> None:
        self.frame_sizes: list[int] = []
        self._frame_size = 0
        self.subprotocol: str | None = None
        self.answering = True
        self._waiting: deque[Received] = deque()
        self._pieces: list[str | bytes] = []
        self._framing = Connection(ConnectionType.CLIENT)
        self._closed: Closed | None = None
        self._history: History | None = None
        self._received = 0
        self._written = 0
        self._symbol = ""
        wire.turn()
        self._line = connect(wire)
        try:
            self.answer: Answer = self._open(wire, path, token, in_query, subprotocols, headers)
        except BaseException:
            self._line.close()
            raise
        if not self.is_open:
            self._closed = GONE
            self._line.close()

    def __enter__(self) -> Socket:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.drop()

    def listen(self, history: History, symbol: str) -> None:
        """Write down what is said from now on."""
        self._history, self._symbol = history, symbol

    @property
    def is_open(self) -> bool:
        """Whether the handshake succeeded."""
        return self.answer.status == 101

    def _open(
        self,
        wire: Wire,
        path: str,
        token: str | None,
        in_query: bool,
        subprotocols: tuple[str, ...],
        headers: Mapping[str, str],
    ) -> Answer:
        key = base64.b64encode(secrets.token_bytes(16))
        parts = urlsplit(wire.target.url)
        sent = {
            "Host": parts.netloc.rpartition("@")[2],
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": key.decode(),
        }
        if subprotocols:
            sent["Sec-WebSocket-Protocol"] = ", ".join(subprotocols)
        if token is not None and in_query:
            path += f"{'&' if '?' in path else '?'}token={quote(token, safe='')}"
        elif token is not None:
            sent["Authorization"] = f"Bearer {token}"
        sent |= headers
        lines = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
        self._line.send(f"GET {parts.path}{path} HTTP/1.1\r\n{lines}\r\n".encode())
        answer = self._line.answer(wire.target.timeout)
        if answer is None:
            shown = path.partition("?")[0]
            raise Lost(f"The server closed the connection without an answer to the handshake of {shown}.")
        if answer.status == 101:
            if answer.headers.get("sec-websocket-accept") != generate_accept_token(key).decode():
                raise Lost("The handshake's Sec-WebSocket-Accept is not the one of RFC 6455, 4.2.2.")
            self.subprotocol = answer.headers.get("sec-websocket-protocol")
            self._take(self._line.rest())
        return answer

    def send(self, data: str | bytes) -> None:
        """A message of one frame.

        Raises:
            Lost: the connection is gone.
        """
        self._told(Sent(self._symbol, data))
        self._put(TextMessage(data) if isinstance(data, str) else BytesMessage(data))

    def ping(self, payload: bytes = b"") -> None:
        """A ping, which `receive` tells the answer of."""
        self._put(Ping(payload))

    def close(self, code: int = 1000) -> None:
        """Begin to close; `receive` tells how the other side answers."""
        self._put(CloseConnection(code))

    def raw(self, data: bytes, *, told: bool = True) -> None:
        """Bytes as they are, on the open connection; `told` says whether they are written down.

        Raises:
            Lost: the connection is gone.
        """
        if told:
            self._told(Sent(self._symbol, data, raw=True))
        self._line.send(data)

    def note(self, data: str | bytes) -> None:
        """Write down as a message of one's own what goes out by `push`."""
        self._told(Sent(self._symbol, data))

    def push(self, data: bytes, quiet: float) -> int:
        """As `raw`, but only what is taken, as `Line.push` has it."""
        return self._line.push(data, quiet)

    def narrow(self) -> None:
        """Keep little of what is not read, so that it soon has to wait on the other side."""
        self._line.narrow()

    def _put(self, event: TextMessage | BytesMessage | Ping | CloseConnection) -> None:
        try:
            data = self._framing.send(event)
        except LocalProtocolError:
            raise Lost("The WebSocket is closed already.") from None
        self._line.send(data)

    def receive(self, within: float = 10.0) -> Received | None:
        """The next message, or None when there is none in that many seconds. After the end, how it ended.

        Raises:
            Lost: messages come without end.
        """
        deadline = time.monotonic() + within
        while not self._waiting:
            if self._closed is not None:
                return self._heard(self._closed)
            left = deadline - time.monotonic()
            if left <= 0 or not self._line.wait(left):
                return None
            data = self._line.read()
            if not data:
                self._closed = GONE
                continue
            self._take(data)
        return self._heard(self._waiting.popleft())

    def control(self, within: float) -> Closed | Ponged | None:
        """The next pong or the end, whatever messages come before; None when none comes in that many seconds.

        Raises:
            Lost: messages come without end.
        """
        deadline = time.monotonic() + within
        while True:
            received = self.receive(max(0.0, deadline - time.monotonic()))
            if not isinstance(received, str | bytes):
                return received
            if time.monotonic() > deadline:
                return None

    def _heard(self, received: Received) -> Received:
        if isinstance(received, Closed):
            self._told(Heard(self._symbol, received.code))
        elif not isinstance(received, Ponged):
            self._told(Heard(self._symbol, received[:_SHOWN]))
        return received

    def _told(self, step: Sent | Heard) -> None:
        self._written += 1
        if self._history is not None and self._written <= _MOST_WRITTEN:
            self._history.add(step)

    def _take(self, data: bytes) -> None:
        if not data:
            return
        self._received += len(data)
        if self._received > _MOST or len(self.frame_sizes) > _MOST_FRAMES:
            raise Lost("The WebSocket brings more than any check asks for.")
        try:
            self._framing.receive_data(data)
            for event in self._framing.events():
                match event:
                    case TextMessage() | BytesMessage():
                        self._pieces.append(
                            bytes(event.data) if isinstance(event, BytesMessage) else event.data
                        )
                        # a frame comes in parts, as the network brings it
                        self._frame_size += len(event.data)
                        if event.frame_finished:
                            self.frame_sizes.append(self._frame_size)
                            self._frame_size = 0
                        if event.message_finished:
                            self._finish()
                    case Ping():
                        if self.answering:
                            self._answer(event.response())
                    case Pong():
                        self._waiting.append(Ponged(bytes(event.payload)))
                    case CloseConnection():
                        if self._framing.state is not ConnectionState.CLOSED:
                            self._answer(event.response())
                        self._closed = Closed(int(event.code), event.reason or "")
                        self._waiting.append(self._closed)
        except RemoteProtocolError as error:
            self._closed = Closed(1002, f"the server broke RFC 6455: {error}")
            self._waiting.append(self._closed)

    def _finish(self) -> None:
        first, *others = self._pieces
        if isinstance(first, str):
            self._waiting.append("".join([first, *(str(piece) for piece in others)]))
        else:
            self._waiting.append(b"".join([first, *(p for p in others if isinstance(p, bytes))]))
        self._pieces.clear()

    def _answer(self, event: Pong | CloseConnection) -> None:
        if self._closed is not None:
            return
        try:
            self._line.send(self._framing.send(event))
        except (Lost, LocalProtocolError):
            self._closed = self._closed or GONE

    def hung_up(self, within: float) -> bool:
        """Whether the other side ends the connection before so many seconds are over."""
        return self._line.ended(within)

    def drop(self) -> None:
        """Let go of the connection without a word."""
        self._line.close()
        self._closed = self._closed or GONE
