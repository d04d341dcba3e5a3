"""The events WebSocket: the whole list, then every change."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from ecompute.contract import requests as ask
from ecompute_server.http.sockets import Socket, SocketClosed

from .call import Call


async def open_(call: Call[ask.OpenEvents]) -> Callable[[Socket], Awaitable[None]]:
    broadcast, user_id = call.services.broadcast, call.caller.user_id

    async def converse(socket: Socket) -> None:
        subscription = broadcast.subscribe(user_id, socket.offer)
        hearing = asyncio.create_task(_hear(socket))
        try:
            async with socket.conversation():
                while True:
                    await socket.send(await subscription.next())
        finally:
            hearing.cancel()
            broadcast.unsubscribe(subscription)

    return converse


async def _hear(socket: Socket) -> None:
    # the feed has nothing to hear: what a client sends is read and dropped, so that pings and closing work;
    # that it left ends the conversation
    with suppress(SocketClosed):
        while True:
            await socket.receive()
