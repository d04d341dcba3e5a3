"""WebSocket frames that break the protocol."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from ecompute_server.testing import RunningServer
from tests.server.http.peers import read_all, tells_nothing
from tests.server.http.wire import EXEC, TERMINAL, Closed, Wire, frame

RSV1, RSV2, RSV3 = 0x40, 0x20, 0x10
CONTINUATION, TEXT, BINARY, CLOSE, PING = 0, 1, 2, 8, 9
MESSAGE_LIMIT = 1024 * 1024

BROKEN_FRAMES: Mapping[str, tuple[int, bytes]] = {
    "not masked": (1002, frame(BINARY, b"x", masked=False)),
    "an unmasked ping": (1002, frame(PING, masked=False)),
    "an unknown opcode": (1002, frame(3, b"x")),
    "an unknown control opcode": (1002, frame(0xB, b"x")),
    "the first reserved bit": (1002, frame(RSV1 | TEXT, b"x")),
    "the second reserved bit": (1002, frame(RSV2 | TEXT, b"x")),
    "the third reserved bit": (1002, frame(RSV3 | BINARY, b"x")),
    "a ping in two fragments": (1002, frame(PING, b"x", fin=False)),
    "a close in two fragments": (1002, frame(CLOSE, b"\x03\xe8", fin=False)),
    "a long ping": (1002, frame(PING, b"x" * 126)),
    "a long close": (1002, frame(CLOSE, b"\x03\xe8" + b"x" * 124)),
    "a continuation of nothing": (1002, frame(CONTINUATION, b"x")),
    "a message inside of another": (1002, frame(BINARY, b"x", fin=False) + frame(BINARY, b"x")),
    "a text inside of another": (1002, frame(TEXT, b"x", fin=False) + frame(TEXT, b"x")),
    "a length in too many bytes": (1002, b"\x82\xfe\x00\x01" + bytes(4) + b"x"),
    "a length with its first bit": (1002, b"\x82\xff" + b"\xff" * 8 + bytes(4)),
    "a close of one byte": (1002, frame(CLOSE, b"\x03")),
    "a close that says abnormal": (1002, frame(CLOSE, b"\x03\xee")),
    "a close of no known kind": (1002, frame(CLOSE, b"\x00\x01")),
    "a close with invalid UTF-8": (1007, frame(CLOSE, b"\x03\xe8\xff")),
    "invalid UTF-8": (1007, frame(TEXT, b"\xff")),
    "overlong UTF-8": (1007, frame(TEXT, b"\xc0\xaf")),
    "a surrogate in UTF-8": (1007, frame(TEXT, b"\xed\xa0\x80")),
    "half a character": (1007, frame(TEXT, b"\xe2\x82")),
    "half a character, in fragments": (
        1007,
        frame(TEXT, b"\xe2", fin=False) + frame(CONTINUATION, b"\x82"),
    ),
    "invalid UTF-8 in a fragment": (1007, frame(TEXT, b"a", fin=False) + frame(CONTINUATION, b"\xff")),
    "a message over the limit": (1009, frame(BINARY, bytes(MESSAGE_LIMIT + 1))),
    "a text over the limit": (1009, frame(TEXT, b"x" * (MESSAGE_LIMIT + 1))),
    "a message over the limit in fragments": (
        1009,
        frame(BINARY, bytes(MESSAGE_LIMIT), fin=False) + frame(CONTINUATION, b"x"),
    ),
}
SOCKETS = {
    "events": ("/compute/ws", ""),
    "terminal": ("/compute/containers/BOX/terminal", ""),
    "controlled terminal": ("/compute/containers/BOX/terminal", TERMINAL),
    "command": ("/compute/containers/BOX/terminal", EXEC),
}


@pytest.mark.parametrize(("path", "offer"), SOCKETS.values(), ids=SOCKETS)
@pytest.mark.parametrize(("code", "sent"), BROKEN_FRAMES.values(), ids=BROKEN_FRAMES)
def test_frames_that_break_the_protocol_close_it(
    server: RunningServer, box: str, path: str, offer: str, code: int, sent: bytes
) -> None:
    """With the code that RFC 6455 §7.4.1 has for it, and a reason that tells nothing of the inside."""
    with Wire(server, path.replace("BOX", box), offer=offer) as wire:
        assert wire.status == 101
        if offer == EXEC:
            wire.send({"command": "cat"})
        wire.link.sendall(sent)
        _, _, closed = wire.until_closed()
        assert isinstance(closed, Closed)
        assert closed.code == code
        assert tells_nothing(closed.reason.encode())


@pytest.mark.parametrize(("path", "offer"), SOCKETS.values(), ids=SOCKETS)
def test_bytes_that_are_no_frames_at_all(server: RunningServer, box: str, path: str, offer: str) -> None:
    """An HTTP request inside of a WebSocket, say."""
    with Wire(server, path.replace("BOX", box), offer=offer) as wire:
        wire.link.sendall(b"GET /compute/containers HTTP/1.1\r\nHost: x\r\n\r\n")
        _, _, closed = wire.until_closed()
        assert closed is not None
        assert closed.code == 1002
        # the answer to a close cannot be read any more behind a fault, so the server does not insist on one
        assert read_all(wire.link) == b""


def test_what_the_feed_is_told_is_dropped(server: RunningServer) -> None:
    """Messages up to the limit, empty ones and fragments with pings between them change nothing there."""
    with Wire(server, "/compute/ws") as wire:
        assert isinstance(wire.receive(), str)
        wire.link.sendall(frame(BINARY, bytes(MESSAGE_LIMIT)) + frame(TEXT) + frame(BINARY))
        wire.link.sendall(
            frame(TEXT, b"\xe2", fin=False) + frame(PING, b"between") + frame(CONTINUATION, b"\x82\xac")
        )
        pong = wire.receive()
        assert bytes(getattr(pong, "payload", b"")) == b"between"
        wire.link.sendall(frame(CLOSE, b"\x03\xe8"))
        _, _, closed = wire.until_closed()
        assert closed is not None
        assert closed.code == 1000
