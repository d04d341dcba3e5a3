"""What a listener hands on."""

from __future__ import annotations

import asyncio
import socket

import pytest

from ecompute_server.gateway.listener import Listener

from .harness import DEADLINE, LOOPBACK

pytestmark = pytest.mark.anyio


async def test_who_is_accepted_is_tuned() -> None:
    """Small pieces go at once, a peer that vanished is noticed after two minutes, and nothing blocks."""
    accepted: asyncio.Future[socket.socket] = asyncio.get_running_loop().create_future()
    listener = Listener(LOOPBACK, 0, accepted.set_result, pause=1)
    try:
        with socket.create_connection((LOOPBACK, listener.port)):
            async with asyncio.timeout(DEADLINE):
                visitor = await accepted
            with visitor:
                assert visitor.getblocking() is False
                assert visitor.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
                assert visitor.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) != 0
                timings = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
                assert [visitor.getsockopt(socket.IPPROTO_TCP, each) for each in timings] == [60, 15, 4]
    finally:
        listener.close()
