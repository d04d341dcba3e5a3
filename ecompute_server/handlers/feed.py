"""The events WebSocket: the whole list, then every change."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from ecompute.contract import requests as ask
from ecompute_server.http.sockets import Socket

from .call import Call


async def open_(call: Call[ask.OpenEvents]) -> Callable[[Socket], Awaitable[None]]:
    async def converse(socket: Socket) -> None:
        subscription = call.services.broadcast.subscribe(call.caller.user_id)
        leaving = asyncio.create_task(_until_left(socket))
        try:
            while True:
                message = asyncio.create_task(subscription.next())
                await asyncio.wait({message, leaving}, return_when=asyncio.FIRST_COMPLETED)
                if leaving.done():
                    message.cancel()
                    return
                await socket.send(message.result())
        finally:
            leaving.cancel()
            call.services.broadcast.unsubscribe(subscription)

    return converse


async def _until_left(socket: Socket) -> None:
    # the feed has nothing to hear: what a client sends is read and dropped, so that pings and closing work
    while await socket.receive() is not None:
        pass
