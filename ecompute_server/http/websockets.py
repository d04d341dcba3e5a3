"""A WebSocket on its connection, with what uvicorn's implementation leaves out.

One that sends more than the application takes is paused, and not held to be silent for that. Frames that
break the protocol are answered with a close code (RFC 6455 §7.4.1), no burst of small frames holds up others,
and a message that goes to many is not framed for each of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import islice
from typing import Any

from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.wsproto_impl import WSProtocol
from wsproto import events
from wsproto.connection import ConnectionState

from ecompute.contract.messages import CLOSE_MEANINGS

from .sockets import FRAMES, LINK, CloseCode

FAREWELL_SECONDS = 3.0
"""Time in which a peer has to take a close, and to answer it."""
FAULT_SECONDS = 1.0
"""The same after a fault, when its answer cannot be read any more."""
_BURST = 64
"""Frames that are looked at before others have their turn."""


class MessageProtocol(WSProtocol):
    """Frames and messages, and what sockets know as their `Link`. How long a peer may take is its subclass's
    matter.
    """

    _parsing: asyncio.Handle | None = None
    _owed_pong: events.Ping | None = None
    _taken = 0
    _heard_at = 0.0
    _is_garbled = False
    lost: asyncio.Future[None]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.lost = self.loop.create_future()
        self._message: list[Any] = []
        self._message_size = 0

    def connection_lost(self, exc: Exception | None) -> None:
        if self._parsing is not None:
            self._parsing.cancel()
        self.tell_lost()
        super().connection_lost(exc)

    def tell_lost(self) -> None:
        """Let the application know that nothing more will come, even if it does not receive now."""
        if not self.lost.done():
            self.lost.set_result(None)

    def give_up(self, *, patient: bool) -> None:
        """Close the connection. What is not sent yet is dropped, or with patience still has its time."""
        raise NotImplementedError

    # --- what comes in

    def data_received(self, data: bytes) -> None:
        self._heard_at = self.loop.time()
        if not self._is_garbled:
            super().data_received(data)

    def handle_connect(self, event: events.Request) -> None:
        super().handle_connect(event)
        extensions: dict[str, Any] = self.scope["extensions"]
        extensions[LINK] = self
        # a client has to wait for the answer; what it sends before that would only pile up
        self._pause()

    def handle_events(self) -> None:
        count = 0
        for event in islice(self.conn.events(), _BURST):
            count += 1
            self._handle(event)
            if self.read_paused:
                # what came behind a message stays as it is until that one has been taken
                return
        if count == _BURST:
            self._pause()
            self._parsing = self.loop.call_soon(self._read_on)

    def _handle(self, event: events.Event) -> None:
        match event:
            case events.CloseConnection():
                self.handle_close(event)
            case _ if self.close_sent:
                pass
            case events.Request():
                self.handle_connect(event)
            case events.TextMessage() | events.BytesMessage():
                self.handle_message(event)
            case events.Ping():
                self.handle_ping(event)
            case _:
                pass

    def _pause(self) -> None:
        self.read_paused = True
        self.transport.pause_reading()

    def _read_on(self) -> None:
        if self._parsing is not None:
            self._parsing.cancel()
            self._parsing = None
        self.read_paused = False
        self.handle_events()
        if not self.read_paused:
            self._heard_at = self.loop.time()
            self.transport.resume_reading()

    async def receive(self) -> Any:
        self._taken += 1
        if self._taken % _BURST == 0:
            # a queue that is never empty never lets go of the loop by itself
            await asyncio.sleep(0)
        message = await self.queue.get()
        if self.read_paused and self.queue.empty() and self.handshake_complete and self._parsing is None:
            self._read_on()
        return message

    def handle_message(self, event: events.TextMessage | events.BytesMessage) -> None:
        data: Any = event.data
        is_text = isinstance(data, str)
        if data:
            self._message.append(data)
        self._message_size += len(data.encode()) if is_text else len(data)
        if self._message_size > self.config.ws_max_size:
            self._message.clear()
            self._say_goodbye(CloseCode.TOO_LARGE, "The message is too large.")
        elif event.message_finished:
            if is_text:
                self.queue.put_nowait({"type": "websocket.receive", "text": "".join(self._message)})
            else:
                self.queue.put_nowait({"type": "websocket.receive", "bytes": b"".join(self._message)})
            self._message, self._message_size = [], 0
            self._pause()

    def handle_ping(self, event: events.Ping) -> None:
        if self.writable.is_set():
            super().handle_ping(event)
        else:
            # one answer, to the latest, is enough (RFC 6455 §5.5.3), and does not pile up
            self._owed_pong = event

    def handle_close(self, event: events.CloseConnection) -> None:
        if not self.close_sent and self.conn.state is ConnectionState.OPEN:
            # how wsproto tells of a frame that it cannot read; what follows it would only pile up there
            self._is_garbled = True
            code = int(event.code)
            reason = CLOSE_MEANINGS[CloseCode(code)] if code in list(CloseCode) else ""
            self._say_goodbye(code, reason, FAULT_SECONDS)
            return
        super().handle_close(event)
        if self.transport.is_closing():
            self.give_up(patient=True)

    # --- what goes out

    async def send(self, message: Any) -> None:
        if message["type"] == "websocket.send" and self.transport.is_closing():
            # uvicorn would take it in silence, and a sender that never waits would not learn of the end
            raise ClientDisconnected
        if FRAMES in message:
            await self._send_frames(message[FRAMES])
        elif message["type"] == "websocket.close" and self.handshake_complete and not self.response_started:
            if self.disconnected or self.close_sent:
                raise ClientDisconnected
            self._say_goodbye(message.get("code", CloseCode.NORMAL), message.get("reason") or "")
        else:
            await super().send(message)
            if message["type"] == "websocket.accept" and self.read_paused:
                self._read_on()

    async def _send_frames(self, frames: Sequence[bytes]) -> None:
        for frame in frames:
            if not self.writable.is_set():
                await self.writable.wait()
            if self.close_sent or self.transport.is_closing():
                raise ClientDisconnected
            self.transport.write(frame)

    def offer(self, frames: Sequence[bytes]) -> bool:
        if not self.writable.is_set() or self.close_sent or self.transport.is_closing():
            return False
        for frame in frames:
            self.transport.write(frame)
        return True

    def resume_writing(self) -> None:
        self._heard_at = self.loop.time()  # who reads is there
        super().resume_writing()
        owed, self._owed_pong = self._owed_pong, None
        if owed is not None and not self.close_sent and not self.transport.is_closing():
            super().handle_ping(owed)

    def _say_goodbye(self, code: int, reason: str, seconds: float | None = None) -> None:
        """Close from this side, without waiting for a peer that does not read."""
        self.stop_keepalive()
        self.close_sent = True
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.tell_lost()
        if self.transport.is_closing():
            return
        self.transport.write(self.conn.send(events.CloseConnection(code=code, reason=reason)))
        # what the peer still sends is read, and dropped: closed over it, the connection would be reset, and
        # the peer might never see why
        patient = code == CloseCode.NORMAL
        self.close_timer = self.loop.call_later(seconds or FAREWELL_SECONDS, self._end_waiting, patient)
        if self.read_paused:
            self._read_on()

    def _end_waiting(self, patient: bool) -> None:
        self.close_timer = None
        self.give_up(patient=patient)

    # --- keepalive

    def start_keepalive(self) -> None:
        self._heard_at = self.loop.time()
        self._schedule(self._heard_at)

    def send_keepalive_ping(self) -> None:
        self.ping_timer = None
        now = self.loop.time()
        if self.read_paused or not self.writable.is_set():
            # its answer waits behind what is not read from it yet, or the ping behind what it has to read
            self._heard_at = now
        if now >= self._silent_at():
            self.give_up(patient=False)
            return
        self.ping()
        self._schedule(now)

    def ping(self) -> None:
        """Ask the peer for a sign of life, unless it has enough to read already."""
        if self.writable.is_set() and not self.close_sent and not self.transport.is_closing():
            self.transport.write(self.conn.send(events.Ping()))

    def _schedule(self, now: float) -> None:
        pause = self.config.ws_ping_interval
        assert pause is not None
        self.ping_timer = self.loop.call_at(min(now + pause, self._silent_at()), self.send_keepalive_ping)

    def _silent_at(self) -> float:
        pause, timeout = self.config.ws_ping_interval, self.config.ws_ping_timeout
        assert pause is not None
        assert timeout is not None
        return self._heard_at + pause + timeout
