"""Connections to the tested server, with bounds on the time and the size of every answer."""

from __future__ import annotations

import ssl
import time
import zlib
from collections.abc import Iterable

import httpcore
from attrs import frozen

from ecompute.network import BoundedBackend, limit

from .verdict import Lost

MOST = 16 * 1024 * 1024
"""Bytes of the largest answer, packed or not: a list of ten thousand containers has a fourth of it."""

_WINDOW = 32 + zlib.MAX_WBITS
"""For zlib: either of the two formats, told by the header."""

FAILURES = (
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.TimeoutException,
    httpcore.UnsupportedProtocol,
    httpcore.ConnectionNotAvailable,
    # a name of a host that has no form for the network
    UnicodeError,
)


@frozen
class Sending:
    """A request as it goes out: the parts of its URL, its header and its body."""

    method: bytes
    scheme: bytes
    host: bytes
    port: int | None
    target: bytes
    headers: Iterable[tuple[bytes, bytes]]
    content: bytes


class Connections:
    """A pool of them. Threads may share it. Nothing of one answer goes into the next request."""

    def __init__(self, context: ssl.SSLContext | None, timeout: float) -> None:
        self._timeout = timeout
        self._pool = httpcore.ConnectionPool(
            ssl_context=context,
            max_connections=None,
            # a restart or an attack must not be felt by who comes later
            max_keepalive_connections=20,
            keepalive_expiry=2.0,
            network_backend=BoundedBackend(),
        )

    def close(self) -> None:
        """Close all."""
        self._pool.close()

    def exchange(self, sending: Sending) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        """The answer: its status, its header, and its body, unpacked.

        Raises:
            Lost: it is larger than `MOST`.
            FAILURES: there is none, or not in time.
        """
        url = httpcore.URL(scheme=sending.scheme, host=sending.host, port=sending.port, target=sending.target)
        # for the whole exchange, not for each read
        within = limit(self._timeout, time.monotonic() + self._timeout)
        request = httpcore.Request(
            sending.method,
            url,
            headers=list(sending.headers),
            content=sending.content,
            extensions={"timeout": dict.fromkeys(("connect", "read", "write", "pool"), within)},
        )
        answer = self._pool.handle_request(request)
        try:
            packed = bytearray()
            for piece in answer.iter_stream():
                packed += piece
                if len(packed) > MOST:
                    raise too_large()
        finally:
            answer.close()
        return answer.status, answer.headers, _unpacked(bytes(packed), answer.headers)


def too_large() -> Lost:
    """What comes of an answer without end."""
    return Lost(f"The server sent more than {MOST // 1024 // 1024} MB in one answer.")


def _unpacked(content: bytes, headers: list[tuple[bytes, bytes]]) -> bytes:
    coding = next((value.lower() for name, value in headers if name.lower() == b"content-encoding"), b"")
    if coding not in (b"gzip", b"x-gzip", b"deflate"):
        return content
    try:
        unpacked = zlib.decompressobj(_WINDOW).decompress(content, MOST + 1)
    except zlib.error:
        raise Lost("The body of the answer is not packed as its Content-Encoding says.") from None
    if len(unpacked) > MOST:
        raise too_large()
    return unpacked
