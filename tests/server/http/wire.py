"""A WebSocket client on a plain socket, which can also do what no library would."""

from __future__ import annotations

import base64
import json
import os
import socket
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import uvicorn
from attrs import frozen
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Message, Ping, Pong, TextMessage

from ecompute_server.http.protocols import HttpProtocol, WebSocketProtocol
from ecompute_server.http.serving import listen
from ecompute_server.testing import RunningServer

PATIENCE = 30.0
TERMINAL, EXEC = "ecompute.terminal.v1", "ecompute.exec.v1"


@frozen
class Closed:
    """The other side's close frame."""

    code: int
    reason: str = ""


class Wire:
    """An open WebSocket; `refusal` is set instead when the server did not agree to one."""

    def __init__(
        self,
        server: RunningServer | Host,
        path: str,
        *,
        offer: str = "",
        token: str | None = None,
        receive_buffer: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        place = urlsplit(server.url)
        self.link = socket.socket()
        self.link.settimeout(PATIENCE)
        if receive_buffer is not None:
            self.link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.link.connect((place.hostname, place.port))
        lines = [
            f"GET {path} HTTP/1.1",
            f"Host: {place.netloc}",
            "Connection: Upgrade",
            "Upgrade: websocket",
            f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
            "Sec-WebSocket-Version: 13",
            f"Authorization: Bearer {server.token if token is None else token}",
        ]
        lines += [f"Sec-WebSocket-Protocol: {offer}"] if offer else []
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        self.link.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        self._framing = Connection(ConnectionType.CLIENT)
        self._coming = self._events()
        head, rest = self._head()
        self.status = int(head.split()[1])
        self.headers = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:])
        self.refusal: dict[str, Any] | None = None
        if self.status != 101:
            while data := self.link.recv(65536):
                rest += data
            self.refusal = json.loads(rest[rest.index(b"{") : rest.rindex(b"}") + 1])
        elif rest:
            self._framing.receive_data(rest)

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.link.close()

    @property
    def subprotocol(self) -> str | None:
        return self.headers.get("sec-websocket-protocol")

    def send(self, data: str | bytes | dict[str, Any]) -> None:
        """One message; a dictionary goes as JSON."""
        text = json.dumps(data) if isinstance(data, dict) else data
        self.link.sendall(self._framing.send(Message(data=text)))

    def control(self, event: Event) -> None:
        self.link.sendall(self._framing.send(event))

    def receive(self) -> str | bytes | Pong | Closed | None:
        """The next message or pong; None at the end of the connection. Pings are answered."""
        return next(self._coming, None)

    def until_closed(self) -> tuple[bytes, list[str], Closed | None]:
        """All binary data, all texts, and the close frame if one came."""
        data, texts, closed = bytearray(), [], None
        while (message := self.receive()) is not None:
            match message:
                case bytes():
                    data += message
                case str():
                    texts.append(message)
                case Closed():
                    closed = message
                    break
                case _:
                    pass
        return bytes(data), texts, closed

    def leave(self) -> None:
        """Reset the connection."""
        self.link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.link.close()

    def _head(self) -> tuple[str, bytes]:
        data = b""
        while b"\r\n\r\n" not in data:
            piece = self.link.recv(65536)
            assert piece, "the server hung up"
            data += piece
        head, _, rest = data.partition(b"\r\n\r\n")
        return head.decode(), rest

    def _events(self) -> Iterator[str | bytes | Pong | Closed]:
        pieces: list[Any] = []
        while True:
            for event in self._framing.events():
                match event:
                    case TextMessage() | BytesMessage():
                        pieces.append(event.data)
                        if event.message_finished:
                            yield (b"" if isinstance(event, BytesMessage) else "").join(pieces)
                            pieces = []
                    case CloseConnection():
                        yield Closed(int(event.code), event.reason or "")
                    case Ping():
                        self.control(event.response())
                    case Pong():
                        yield event
                    case _:
                        pass
            data = self.link.recv(65536)
            if not data:
                return
            self._framing.receive_data(data)


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, masked: bool = True) -> bytes:
    """A client's frame, byte by byte (RFC 6455 §5.2), whatever it means."""
    head = bytes([(0x80 if fin else 0) | opcode])
    flag, size = (0x80 if masked else 0), len(payload)
    if size < 126:
        head += bytes([flag | size])
    elif size < 1 << 16:
        head += bytes([flag | 126]) + size.to_bytes(2, "big")
    else:
        head += bytes([flag | 127]) + size.to_bytes(8, "big")
    return head + (b"\0\0\0\0" if masked else b"") + payload


@frozen
class Host:
    """An application that is served."""

    url: str
    token: str = "none"


@contextmanager
def hosted(app: Any, *, ping_seconds: float = 30.0, protocol: Any = WebSocketProtocol) -> Iterator[Host]:
    """Any ASGI application on our WebSocket protocol, or on another, on a thread of its own."""
    config = uvicorn.Config(
        app,
        http=HttpProtocol,
        ws=protocol,
        ws_max_size=1024 * 1024,
        ws_per_message_deflate=False,
        ws_ping_interval=ping_seconds,
        ws_ping_timeout=ping_seconds,
        lifespan="off",
        log_config=None,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    with listen("127.0.0.1", 0) as listener:
        thread = Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            yield Host("http://{}:{}".format(*listener.getsockname()))
        finally:
            server.should_exit = True
            thread.join()
