"""Text messages as the bytes of their WebSocket frames, made once for many receivers.

What a server sends is not masked (RFC 6455 §5.1), so that the frames are the same for everybody.
"""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen

LARGEST = 64 * 1024
"""Payload of one frame. A longer message is fragmented (§5.4): between two fragments a sender can wait for
its peer, and pings still get through.
"""

_TEXT, _CONTINUATION, _FIN = 0x1, 0x0, 0x80


@frozen
class Prepared:
    """A text message that is sent to many."""

    text: str
    frames: tuple[bytes, ...]

    @classmethod
    def of(cls, payload: bytes) -> Prepared:
        """From the message in UTF-8."""
        return cls(payload.decode(), tuple(_frames(payload)))


def _frames(payload: bytes) -> Iterator[bytes]:
    opcode = _TEXT
    for start in range(0, max(len(payload), 1), LARGEST):
        piece = payload[start : start + LARGEST]
        fin = _FIN if start + LARGEST >= len(payload) else 0
        yield bytes([fin | opcode]) + _length(len(piece)) + piece
        opcode = _CONTINUATION


def _length(size: int) -> bytes:
    if size < 126:
        return bytes([size])
    if size < 1 << 16:
        return bytes([126]) + size.to_bytes(2, "big")
    return bytes([127]) + size.to_bytes(8, "big")
