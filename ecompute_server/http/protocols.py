"""The HTTP server's protocols, with the limits and answers that uvicorn leaves out.

A peer that is slow to speak or to listen is dropped after a time, and what is no HTTP at all is refused in
the same form as every other request.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import struct
from functools import partial
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol
from wsproto import events
from wsproto.utilities import RemoteProtocolError

from ecompute.contract import codec
from ecompute.contract.problems import Code
from ecompute_server.core.refusal import Refusal

from . import idempotency
from .departures import Departures
from .websockets import FAREWELL_SECONDS, MessageProtocol

HEAD_SECONDS = 20.0
"""Time in which the head of a request must arrive."""
PROBE_SECONDS = 1.0
"""How often a WebSocket peer is asked for a sign of life while nothing is read from it."""
UNREAD_SECONDS = 60.0
"""Time after which a WebSocket peer that reads nothing is dropped, or one whose host is gone."""


def _malformed(status: int = 400) -> tuple[list[tuple[bytes, bytes]], bytes]:
    refusal = Refusal(Code.INVALID_REQUEST, "The request is not valid HTTP.")
    headers = [
        (b"content-type", b"application/json"),
        (b"x-request-id", secrets.token_hex(8).encode()),
        idempotency.SUPPORTED,
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
    """HTTP/1.1 with a time limit for heads, and for the rest of a body that was answered before its end."""

    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_came()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        answered = self.conn.our_state is h11.DONE
        waiting = self.conn.their_state is h11.IDLE or (self.conn.their_state is h11.SEND_BODY and answered)
        if self.transport.is_closing() or not waiting:
            self._head_came()
        elif self._head_timer is None:
            self._expect_head()

    def on_response_complete(self) -> None:
        self._head_came()
        super().on_response_complete()
        if self.conn.their_state is h11.SEND_BODY:
            # what nobody waited for is read and dropped
            self._expect_head()

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


class WebSocketProtocol(MessageProtocol):
    """A WebSocket whose peer must read, and whose end is noticed although nothing is read from it."""

    _unread_timer: asyncio.TimerHandle | None = None
    _probe_timer: asyncio.TimerHandle | None = None
    _watched: int | None = None
    _peer_left = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        link = transport.get_extra_info("socket")
        # a host that vanished answers no pings; the kernel would go on for a quarter of an hour (tcp(7))
        if link.family != socket.AF_UNIX:
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(UNREAD_SECONDS * 1000))
        self._watched = link.fileno()
        Departures.of(self.loop).watch(self._watched, self._hung_up)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._watched is not None:
            Departures.of(self.loop).forget(self._watched)
        self._stop_unread_timer()
        if self._probe_timer is not None:
            self._probe_timer.cancel()
        super().connection_lost(exc)

    def eof_received(self) -> None:
        self.tell_lost()
        self._limit_the_rest()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._limit_the_rest()

    def resume_writing(self) -> None:
        if not self.transport.is_closing():
            self._stop_unread_timer()
        super().resume_writing()

    def shutdown(self) -> None:
        super().shutdown()
        if self.transport.get_write_buffer_size():
            self.loop.call_later(FAREWELL_SECONDS, partial(self.give_up, patient=False))

    def give_up(self, *, patient: bool) -> None:
        # close() waits for what is not sent yet, and a peer that does not read would keep it waiting for ever
        self.transport.close()
        if patient:
            self._limit_the_rest()
        elif self.transport.get_write_buffer_size():
            _reset(self.transport)

    def data_received(self, data: bytes) -> None:
        if self.handshake_complete:
            super().data_received(data)
            return
        try:
            self.conn.receive_data(data)
        except RemoteProtocolError as error:
            self._refuse(error.event_hint)
        except UnicodeError:
            # wsproto takes some headers for ASCII
            self._refuse(None)
        else:
            self.handle_events()

    def _refuse(self, hint: Any) -> None:
        status = hint.status_code if isinstance(hint, events.RejectConnection) else 400
        headers, body = _malformed(status)
        headers.append((b"content-length", str(len(body)).encode()))
        answer = events.RejectConnection(status_code=status, headers=headers, has_body=True)
        self.transport.write(self.conn.send(answer) + self.conn.send(events.RejectData(data=body)))
        self.transport.close()

    def _pause(self) -> None:
        super()._pause()
        if self._peer_left:
            self.tell_lost()
        elif self._probe_timer is None:
            self._probe_timer = self.loop.call_later(PROBE_SECONDS, self._probe)

    def _probe(self) -> None:
        self._probe_timer = None
        if self.read_paused and self.handshake_complete:
            # of a peer that hung up, the end lies behind what it sent; only to new data its host answers that
            # nobody is there any more
            self.ping()
            self._probe_timer = self.loop.call_later(PROBE_SECONDS, self._probe)

    def _hung_up(self) -> None:
        self._peer_left = True
        if self.read_paused:
            self.tell_lost()

    def _limit_the_rest(self) -> None:
        if self._unread_timer is None and self.transport.get_write_buffer_size():
            self._unread_timer = self.loop.call_later(UNREAD_SECONDS, _reset, self.transport)

    def _stop_unread_timer(self) -> None:
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None
