"""A WebSocket as handlers see it."""

from __future__ import annotations

import asyncio
from enum import IntEnum

from starlette.websockets import WebSocket, WebSocketDisconnect


class CloseCode(IntEnum):
    """Why the server ends a WebSocket (RFC 6455 §7.4.1)."""

    NORMAL = 1000
    GOING_AWAY = 1001
    REVOKED = 1008
    GUEST_LOST = 1011


class SocketClosed(Exception):
    """The other side is gone."""


class Socket:
    """An accepted WebSocket. Sending waits while the other side does not read."""

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket
        self._closed = False

    async def send(self, message: str | bytes) -> None:
        """Send a text or a binary message.

        Raises:
            SocketClosed: the other side is gone, or this side has closed.
        """
        if self._closed:
            raise SocketClosed
        try:
            if isinstance(message, str):
                await self._websocket.send_text(message)
            else:
                await self._websocket.send_bytes(message)
        except (WebSocketDisconnect, RuntimeError, OSError) as error:
            self._closed = True
            raise SocketClosed from error

    async def receive(self) -> str | bytes | None:
        """The next message; None when the other side has closed or is gone."""
        while not self._closed:
            event = await self._websocket.receive()
            if event["type"] == "websocket.disconnect":
                self._closed = True
                break
            text, data = event.get("text"), event.get("bytes")
            if text is not None:
                return str(text)
            if data is not None:
                return bytes(data)
        return None

    async def close(self, code: CloseCode) -> None:
        """Say goodbye, once."""
        if self._closed:
            return
        self._closed = True
        try:
            await asyncio.wait_for(self._websocket.close(code), timeout=10)
        except (WebSocketDisconnect, RuntimeError, OSError, TimeoutError):
            return
