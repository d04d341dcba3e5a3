"""WebSocket frames of a client, bit by bit (RFC 6455, section 5.2), also those that nobody should send."""

from __future__ import annotations

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
_FIN, _MASKED = 0x80, 0x80
_KEY = b"\x5a\xa5\x3c\xc3"


def frame(
    opcode: int, payload: bytes = b"", *, fin: bool = True, masked: bool = True, reserved: int = 0
) -> bytes:
    """One frame; `reserved` are the three bits behind the first."""
    size = len(payload)
    if size < 126:
        length = bytes([size])
    elif size < 1 << 16:
        length = bytes([126]) + size.to_bytes(2, "big")
    else:
        length = bytes([127]) + size.to_bytes(8, "big")
    first = bytes([(_FIN if fin else 0) | reserved << 4 | opcode])
    if not masked:
        return first + length + payload
    return first + bytes([_MASKED | length[0]]) + length[1:] + _KEY + _hidden(payload)


def closing(code: int, reason: bytes = b"") -> bytes:
    """A close frame with this code."""
    return frame(CLOSE, code.to_bytes(2, "big") + reason)


def _hidden(payload: bytes) -> bytes:
    size = len(payload)
    key = (_KEY * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(size, "big")
