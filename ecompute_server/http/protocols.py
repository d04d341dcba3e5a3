"""The HTTP server's protocols, with the limits and answers that uvicorn leaves out.

A peer that is slow to speak or to listen is dropped after a time, and what is no HTTP at all is refused in
the same form as every other request.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import struct
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.wsproto_impl import WSProtocol
from wsproto import events
from wsproto.utilities import RemoteProtocolError

from ecompute.contract import codec
from ecompute.contract.problems import Code
from ecompute_server.core.refusal import Refusal

HEAD_SECONDS = 20.0
"""Time in which the head of a request must arrive."""
UNREAD_SECONDS = 60.0
"""Time after which a WebSocket peer that reads nothing is dropped."""


def _malformed(status: int = 400) -> tuple[list[tuple[bytes, bytes]], bytes]:
    refusal = Refusal(Code.INVALID_REQUEST, "The request is not valid HTTP.")
    headers = [
        (b"content-type", b"application/json"),
        (b"x-request-id", secrets.token_hex(8).encode()),
        (b"connection", b"close"),
    ]
    if status == 426:
        headers.append((b"sec-websocket-version", b"13"))
    return headers, codec.dump_json(refusal.body())


def _reset(transport: asyncio.Transport) -> None:
    # without SO_LINGER the kernel would keep what it holds for a peer that does not read
    link = transport.get_extra_info("socket")
    if link is not None:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


class HttpProtocol(H11Protocol):
    """HTTP/1.1 with a time limit for heads."""

    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_came()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.transport.is_closing() or self.conn.their_state is not h11.IDLE:
            self._head_came()
        elif self._head_timer is None:
            self._expect_head()

    def on_response_complete(self) -> None:
        self._head_came()
        super().on_response_complete()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        self._head_came()
        super().handle_websocket_upgrade(event)

    def send_400_response(self, msg: str) -> None:
        headers, body = _malformed()
        for part in (
            h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
            h11.Data(data=body),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(part) or b"")
        self.transport.close()

    def _expect_head(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_SECONDS, self.transport.abort)

    def _head_came(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


class WebSocketProtocol(WSProtocol):
    """WebSockets whose peers must read."""

    _unread_timer: asyncio.TimerHandle | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        self._was_read()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._unread_timer is None:
            self._unread_timer = self.loop.call_later(UNREAD_SECONDS, _reset, self.transport)

    def resume_writing(self) -> None:
        self._was_read()
        super().resume_writing()

    def keepalive_timeout(self) -> None:
        super().keepalive_timeout()
        self._leave()

    def shutdown(self) -> None:
        super().shutdown()
        self._leave()

    def data_received(self, data: bytes) -> None:
        if self.handshake_complete:
            super().data_received(data)
            return
        try:
            self.conn.receive_data(data)
        except RemoteProtocolError as error:
            self._refuse(error.event_hint)
        else:
            self.handle_events()

    def _refuse(self, hint: Any) -> None:
        status = hint.status_code if isinstance(hint, events.RejectConnection) else 400
        headers, body = _malformed(status)
        headers.append((b"content-length", str(len(body)).encode()))
        answer = events.RejectConnection(status_code=status, headers=headers, has_body=True)
        self.transport.write(self.conn.send(answer) + self.conn.send(events.RejectData(data=body)))
        self.transport.close()

    def _leave(self) -> None:
        # close() waits for what is not sent yet, and a peer that does not read would keep it waiting for ever
        if self.transport.get_write_buffer_size():
            _reset(self.transport)

    def _was_read(self) -> None:
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None
