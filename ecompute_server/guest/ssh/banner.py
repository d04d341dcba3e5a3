"""Whether an SSH server answers, learnt from its first line."""

from __future__ import annotations

import asyncio
import socket

from ecompute_server.guest.interface import GuestError

_MOST = 8 * 1024
"""Lines that are no SSH may stand before the version (RFC 4253 §4.2); no known server writes that much."""


async def read_banner(connection: socket.socket) -> None:
    """Returns once a line with the version 2.0 has begun.

    Raises:
        GuestError: the connection ended, or something else came.
        OSError: the connection broke.
    """
    loop = asyncio.get_running_loop()
    received = b""
    while len(received) < _MOST:
        piece = await loop.sock_recv(connection, 1024)
        if not piece:
            raise GuestError("The guest's SSH server ended the connection before it said its version.")
        received += piece
        if any(line.startswith(b"SSH-2.0-") for line in received.split(b"\n")):
            return
    raise GuestError("Something else than an SSH server answers in the guest.")
