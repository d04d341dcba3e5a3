"""A WebSocket as handlers see it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Protocol, TypeVar

from starlette.websockets import WebSocket, WebSocketDisconnect

from ecompute.contract.messages import CloseCode as CloseCode

from .frames import Prepared

T = TypeVar("T")

LINK = "ecompute.link"
"""The ASGI extension of our own HTTP server, a `Link`; under another one a socket does without."""
FRAMES = "ecompute.frames"
"""The key of a `websocket.send` event with the message as ready frames; a server that does not know it sends
the event's `text`.
"""

_CLOSE_SECONDS = 10.0
_LONGEST_REASON = 123  # RFC 6455 §5.5: a control frame carries 125 bytes, two of which are the code


class SocketClosed(Exception):
    """The other side is gone, or this side has closed."""


class Link(Protocol):
    """The connection below a WebSocket."""

    @property
    def lost(self) -> asyncio.Future[None]:
        """Done when the peer is gone, also while nothing is received from it."""

    def offer(self, frames: Sequence[bytes]) -> bool:
        """Send them at once, or return False when they would have to wait for the peer."""


class Socket:
    """A WebSocket. Sending waits while the other side does not read.

    One task converses, and may have others receive for it; `close` may be called by anybody.
    """

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket
        self._closed = False
        self._conversing: asyncio.Task[Any] | None = None
        self._interrupted = False
        self._farewell: asyncio.Task[None] | None = None
        self._link: Link | None = websocket.scope.get("extensions", {}).get(LINK)
        if self._link is not None:
            self._link.lost.add_done_callback(lambda _: self._end())

    async def accept(self, subprotocol: str | None = None) -> None:
        """Answer the handshake. When the other side is gone already, the conversation learns of it."""
        try:
            await self._websocket.accept(subprotocol)
        except (WebSocketDisconnect, RuntimeError, OSError):
            self._end()

    @asynccontextmanager
    async def conversation(self) -> AsyncIterator[None]:
        """A block that is left at once when the WebSocket ends, whatever it waits for.

        Raises:
            SocketClosed: it ended, or had ended before.
        """
        if self._closed:
            raise SocketClosed
        task = asyncio.current_task()
        assert task is not None
        cancelling = task.cancelling()
        self._conversing = task
        try:
            yield
        except BaseException as error:
            ours = self._interrupted and task.uncancel() <= cancelling
            if ours and isinstance(error, asyncio.CancelledError):
                raise SocketClosed from None
            raise
        finally:
            self._conversing = None

    async def send(self, message: str | bytes | Prepared) -> None:
        """Send a text or a binary message.

        Raises:
            SocketClosed: the other side is gone, or this side has closed.
        """
        if self._closed:
            raise SocketClosed
        try:
            if isinstance(message, Prepared):
                event = {"type": "websocket.send", "text": message.text, FRAMES: message.frames}
                await self._websocket.send(event)
            elif isinstance(message, str):
                await self._websocket.send_text(message)
            else:
                await self._websocket.send_bytes(message)
        except (WebSocketDisconnect, RuntimeError, OSError) as error:
            self._end()
            raise SocketClosed from error

    def offer(self, message: Prepared) -> bool:
        """Send a message without waiting, or return False when that cannot be. Only while nobody sends."""
        return self._link is not None and not self._closed and self._link.offer(message.frames)

    async def receive(self) -> str | bytes:
        """The next message.

        Raises:
            SocketClosed: the other side has closed or is gone, or this side has closed.
        """
        while not self._closed:
            event = await self._websocket.receive()
            if event["type"] == "websocket.disconnect":
                self._end()
                break
            text, data = event.get("text"), event.get("bytes")
            if text is not None:
                return str(text)
            if data is not None:
                return bytes(data)
        raise SocketClosed

    async def close(self, code: CloseCode, reason: str = "") -> None:
        """Say goodbye, once, and end the conversation; returns when it is said. A reason too long for the
        wire is cut.
        """
        if not self._closed:
            cut = reason.encode()[:_LONGEST_REASON].decode(errors="ignore")
            self._farewell = asyncio.create_task(self._say_goodbye(code, cut))
            self._end()
        if self._farewell is not None:
            # the HTTP server hangs up when the conversation's task returns, so that one has to wait as well
            await asyncio.shield(self._farewell)

    async def _say_goodbye(self, code: CloseCode, reason: str) -> None:
        with suppress(WebSocketDisconnect, RuntimeError, OSError, TimeoutError):
            await asyncio.wait_for(self._websocket.close(code, reason), _CLOSE_SECONDS)

    def _end(self) -> None:
        if self._closed:
            return
        self._closed = True
        # the conversation's own task sees the end by itself
        if self._conversing is not None and self._conversing is not asyncio.current_task():
            self._interrupted = True
            self._conversing.cancel()


async def first_of(*works: Coroutine[Any, Any, T]) -> T:
    """What the first to end returns or raises; the others are cancelled and awaited."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return next(task for task in tasks if task.done()).result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
