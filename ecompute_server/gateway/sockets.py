"""The few things done to every connection."""

from __future__ import annotations

import contextlib
import socket
import struct

_KEEPALIVE = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 15), (socket.TCP_KEEPCNT, 4))
"""A peer that vanished is noticed after two minutes; a NAT in between is reminded every minute."""

_NO_LINGER = struct.pack("ii", 1, 0)


def tune(connection: socket.socket) -> None:
    """Send small pieces at once, and notice a peer that vanished."""
    # a connection that is reset already refuses; the first read says so
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE:
            connection.setsockopt(socket.IPPROTO_TCP, option, value)


def reset(connection: socket.socket) -> None:
    """Close so that the peer sees an error (RST) instead of an orderly end: something may be missing."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    connection.close()


def is_broken(connection: socket.socket) -> bool:
    """Whether the connection was reset or timed out. Tells it once, and the next read no longer does."""
    return connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0
