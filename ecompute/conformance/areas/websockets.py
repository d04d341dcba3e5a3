"""WebSockets below their messages: handshakes, frames, and how they end."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from urllib.parse import urlsplit

from ecompute.conformance.check import Need, check
from ecompute.conformance.frames import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, closing, frame
from ecompute.conformance.lab import Lab
from ecompute.conformance.requirement import Area, must, should
from ecompute.conformance.sockets import Closed, Ponged, Socket
from ecompute.conformance.terminals import Conversation, path_of
from ecompute.conformance.verdict import Lost
from ecompute.conformance.wire import Answer
from ecompute.conformance.wiring import head_of, spoken
from ecompute.contract.problems import Code

FEED = "/compute/ws"
RFC = "RFC 6455"
NOTES = "contract notes: WebSockets"
MEBIBYTE = 1024 * 1024
GONE, BROKEN, INVALID, TOO_LARGE = 1006, 1002, 1007, 1009
_PATIENCE = 10.0
"""Seconds in which a server has noticed a broken frame."""
KEY = "AAAAAAAAAAAAAAAAAAAAAA=="

AREA = Area(
    "websockets",
    "WSK",
    "WebSockets",
    (
        must(1, "A handshake of another version is answered with 426 or 400.", f"{RFC}, 4.2.2"),
        must(2, "A handshake without its key, or of another method, is refused.", f"{RFC}, 4.2.1"),
        must(3, "A request without an upgrade opens nothing.", f"{RFC}, 4.2.1"),
        must(4, "A page of a foreign origin is refused with forbidden.", f"{RFC}, 10.2"),
        must(5, "A client without an origin is let in, and so is the server's own origin.", NOTES),
        must(6, "Frames that are not masked end the conversation.", f"{RFC}, 5.1"),
        must(7, "Frames with unknown opcodes or reserved bits end the conversation.", f"{RFC}, 5.2"),
        must(8, "Control frames that are long or in fragments end the conversation.", f"{RFC}, 5.5"),
        must(9, "Fragments out of order end the conversation.", f"{RFC}, 5.4"),
        must(10, "A text that is no UTF-8 ends the conversation.", f"{RFC}, 8.1"),
        must(11, "A close with a code that nobody may send ends the conversation.", f"{RFC}, 7.4"),
        should(12, "A message without end ends the conversation with 1009.", f"{RFC}, 7.4.1"),
        must(13, "A length that is none ends the conversation.", f"{RFC}, 5.2"),
        must(14, "A close is answered with a close, and the connection ends.", f"{RFC}, 5.5.1"),
        must(15, "A ping is answered with its payload, also between fragments.", f"{RFC}, 5.5.2"),
        must(16, "A message in fragments is one message.", f"{RFC}, 5.4"),
        must(17, "A pong that nobody asked for changes nothing.", f"{RFC}, 5.5.3"),
        must(18, "Whatever one client sends or leaves undone, others are served.", NOTES),
        must(19, "A refused handshake is an ordinary answer with its error.", NOTES),
    ),
)

_HALF = "€".encode()[:2]
_ENDS: Mapping[str, tuple[str, int, bytes]] = {
    "a binary frame without a mask": ("WSK-006", BROKEN, frame(BINARY, b"x", masked=False)),
    "a text frame without a mask": ("WSK-006", BROKEN, frame(TEXT, b"x", masked=False)),
    "a ping without a mask": ("WSK-006", BROKEN, frame(PING, masked=False)),
    "an unknown opcode": ("WSK-007", BROKEN, frame(3, b"x")),
    "the last unknown opcode": ("WSK-007", BROKEN, frame(7, b"x")),
    "an unknown control opcode": ("WSK-007", BROKEN, frame(11, b"x")),
    "the first reserved bit": ("WSK-007", BROKEN, frame(TEXT, b"x", reserved=4)),
    "the second reserved bit": ("WSK-007", BROKEN, frame(TEXT, b"x", reserved=2)),
    "the third reserved bit": ("WSK-007", BROKEN, frame(BINARY, b"x", reserved=1)),
    "a reserved bit of a ping": ("WSK-007", BROKEN, frame(PING, b"x", reserved=4)),
    "a ping in fragments": ("WSK-008", BROKEN, frame(PING, b"x", fin=False)),
    "a close in fragments": ("WSK-008", BROKEN, frame(CLOSE, b"\x03\xe8", fin=False)),
    "a ping of 126 bytes": ("WSK-008", BROKEN, frame(PING, bytes(126))),
    "a pong of 126 bytes": ("WSK-008", BROKEN, frame(PONG, bytes(126))),
    "a close of 126 bytes": ("WSK-008", BROKEN, closing(1000, b"x" * 124)),
    "a continuation of nothing": ("WSK-009", BROKEN, frame(CONTINUATION, b"x")),
    "a text inside of another": ("WSK-009", BROKEN, frame(TEXT, b"x", fin=False) + frame(TEXT, b"x")),
    "a binary one inside": ("WSK-009", BROKEN, frame(BINARY, b"x", fin=False) + frame(BINARY, b"x")),
    "invalid UTF-8": ("WSK-010", INVALID, frame(TEXT, b"a\xff")),
    "overlong UTF-8": ("WSK-010", INVALID, frame(TEXT, b"\xc0\xaf")),
    "a surrogate": ("WSK-010", INVALID, frame(TEXT, b"\xed\xa0\x80")),
    "half a character": ("WSK-010", INVALID, frame(TEXT, _HALF)),
    "half a character in fragments": (
        "WSK-010", INVALID, frame(TEXT, _HALF[:1], fin=False) + frame(CONTINUATION, _HALF[1:]),
    ),
    "a close of one byte": ("WSK-011", BROKEN, frame(CLOSE, b"\x03")),
    "the code 0": ("WSK-011", BROKEN, closing(0)),
    "the code 999": ("WSK-011", BROKEN, closing(999)),
    "the code 1005": ("WSK-011", BROKEN, closing(1005)),
    "the code 1006": ("WSK-011", BROKEN, closing(1006)),
    "the code 1015": ("WSK-011", BROKEN, closing(1015)),
    "a reason that is no UTF-8": ("WSK-011", INVALID, closing(1000, b"\xff")),
    "a length with its first bit": ("WSK-013", BROKEN, b"\x82\xff" + b"\xff" * 8 + bytes(4)),
    "a length in too many bytes": ("WSK-013", BROKEN, b"\x82\xfe\0\x01" + bytes(4) + b"x"),
    "HTTP": ("WSK-006", BROKEN, b"GET /compute/containers HTTP/1.1\r\nHost: x\r\n\r\n"),
}  # fmt: skip


def _ended(lab: Lab, socket: Socket) -> Closed | None:
    """How it ends, whatever comes before; None where it does not."""
    deadline = time.monotonic() + min(lab.target.timeout, _PATIENCE)
    while (left := deadline - time.monotonic()) > 0:
        received = socket.control(left)
        if not isinstance(received, Ponged):
            return received
    return None


def _served(lab: Lab, other: Socket) -> None:
    other.ping(b"others")
    received = other.control(lab.target.timeout)
    lab.holds("WSK-018", received == Ponged(b"others"), "another client's WebSocket is served", received)


def _handshake(lab: Lab, changes: Mapping[str, str | None], method: str = "GET") -> Answer | None:
    """The answer to a handshake of which some headers are others."""
    headers: dict[str, str | None] = {
        "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": KEY, **changes,
    }  # fmt: skip
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items() if value is not None)
    return spoken(lab, head_of(lab, method, FEED) + lines.encode() + b"\r\n").answer(lab.target.timeout)


@check("WSK-001", "WSK-002", "WSK-003", "WSK-019")
def handshakes(lab: Lab) -> None:
    """Handshakes that are none, and one that is written in another way."""
    for version in ("8", "0", "14", "x", None):
        answer = _handshake(lab, {"Sec-WebSocket-Version": version})
        lab.holds("WSK-001", answer and answer.status in (400, 426), "426 or 400", answer)
    answer = _handshake(lab, {"Sec-WebSocket-Key": None})
    lab.holds("WSK-002", answer and 400 <= answer.status < 500, "400 without a key", answer)
    for method in ("POST", "PUT", "DELETE"):
        answer = _handshake(lab, {"Content-Length": "0"}, method)
        lab.holds("WSK-002", answer and 400 <= answer.status < 500, f"a refusal of {method}", answer)
    for changes in ({"Upgrade": None}, {"Connection": None}, {"Connection": "close"}, {"Upgrade": "h2c"}):
        answer = _handshake(lab, changes)
        lab.holds("WSK-003", answer and 400 <= answer.status < 500, f"no upgrade with {changes}", answer)
    answer = _handshake(lab, {"Connection": "keep-alive, UPGRADE", "Upgrade": "WebSocket"})
    lab.holds("WSK-003", answer and answer.status == 101, "101, whatever the case", answer)
    refused = lab.socket(FEED).answer
    lab.refused("WSK-019", refused, Code.UNAUTHENTICATED)
    lab.refused("WSK-019", lab.socket(path_of("zzzzzzzz"), lab.first).answer, Code.NOT_FOUND)


@check("WSK-019", needs=(Need.SESSION,))
def refused_rights(lab: Lab) -> None:
    """Handshakes with a token that has other rights."""
    token = lab.token({"compute.<uid>.keys": ["read", "update"]})
    for path in (FEED, path_of(lab.container())):
        lab.refused("WSK-019", lab.socket(path, token).answer, Code.FORBIDDEN)


@check("WSK-004", "WSK-005")
def origins(lab: Lab) -> None:
    """Pages from here and there, on the feed and on a terminal."""
    parts = urlsplit(lab.target.url)
    host = parts.netloc.rpartition("@")[2]
    foreign = (
        "http://evil.example", "https://evil.example", "null", f"{parts.scheme}://{host}.evil.example",
        f"{parts.scheme}://evil.example/{host}", f"{parts.scheme}://{parts.hostname}:1",
        f"{parts.scheme}://x@{host}.example", f"{parts.scheme}://evil{host}", "",
    )  # fmt: skip
    for path in (FEED, path_of(lab.container())):
        for origin in foreign:
            answer = lab.socket(path, lab.first, headers={"Origin": origin}).answer
            lab.refused("WSK-004", answer, Code.FORBIDDEN)
        answer = lab.socket(path, lab.first, in_query=True, headers={"Origin": foreign[0]}).answer
        lab.refused("WSK-004", answer, Code.FORBIDDEN)
    for headers in ({}, {"Origin": f"{parts.scheme}://{host}"}):
        answer = lab.socket(FEED, lab.first, headers=headers).answer
        lab.holds("WSK-005", answer.status == 101, f"101 with {headers or 'no origin'}", answer)


_BREAKS = ("WSK-006", "WSK-007", "WSK-008", "WSK-009", "WSK-010", "WSK-011", "WSK-013")


@check(*_BREAKS, "WSK-018")
def broken_frames(lab: Lab) -> None:
    """Frames that break the protocol, on the feed."""
    _broken(lab, FEED)


@check(*_BREAKS, "WSK-018", standard=True, needs=(Need.RUNNING,))
def broken_frames_in_a_shell(lab: Lab) -> None:
    """The same on a terminal."""
    _broken(lab, path_of(lab.running()))


def _broken(lab: Lab, path: str) -> None:
    other = lab.opened(FEED)
    for name, (requirement, code, data) in _ENDS.items():
        socket = lab.opened(path)
        with suppress(Lost):
            socket.raw(data)
        closed = _ended(lab, socket)
        right = closed is not None and closed.code in (code, BROKEN, GONE) and not _misspoke(closed)
        lab.holds(requirement, right, f"an end with {code} after {name}", closed)
        socket.drop()
    _served(lab, other)


def _misspoke(closed: Closed) -> bool:
    # a socket tells a broken frame of the server as a close of its own
    return closed.reason.startswith("the server broke")


@check("WSK-012", "WSK-018")
def endless(lab: Lab) -> None:
    """Messages that never end, in one frame that says so and in fragments."""
    other = lab.opened(FEED)
    piece = frame(CONTINUATION, bytes(MEBIBYTE), fin=False)
    begun = {
        "in fragments": frame(BINARY, b"x", fin=False),
        "in one frame": b"\x82\xff" + (1 << 62).to_bytes(8, "big") + bytes(4),
    }
    for name, beginning in begun.items():
        socket = lab.opened(FEED)
        closed: Closed | None = None
        with suppress(Lost):
            socket.raw(beginning)
            for _ in range(64):
                socket.push(piece if name == "in fragments" else bytes(MEBIBYTE), 1.0)
                while (received := socket.receive(0)) is not None and closed is None:
                    closed = received if isinstance(received, Closed) else None
                if closed is not None:
                    break
        closed = closed or _ended(lab, socket)
        right = closed is not None and closed.code in (TOO_LARGE, BROKEN, GONE) and not _misspoke(closed)
        lab.holds("WSK-012", right, f"an end with 1009 of a message {name}", closed)
        socket.drop()
    _served(lab, other)


@check("WSK-014", "WSK-018")
def closes(lab: Lab) -> None:
    """Closes with codes of all kinds, with reasons and without; then clients that leave without a word."""
    other = lab.opened(FEED)
    codes: Mapping[bytes, tuple[int, ...]] = {
        closing(1000): (1000,), closing(1001, "über".encode()): (1001, 1000), frame(CLOSE): (1005, 1000),
        closing(3000): (3000, 1000), closing(4999, b"x" * 123): (4999, 1000), closing(1011): (1011, 1000),
    }  # fmt: skip
    for data, answers in codes.items():
        socket = lab.opened(FEED)
        socket.raw(data)
        closed = _ended(lab, socket)
        right = closed is not None and closed.code in answers and not _misspoke(closed)
        lab.holds("WSK-014", right, f"a close with one of {answers}", closed)
        lab.holds("WSK-014", socket.hung_up(5.0), "the end of the connection", "a connection after 5 s")
    for number in range(lab.pick(10, 100)):
        left = lab.opened(FEED)
        if number % 2:
            with suppress(Lost):
                left.raw(frame(TEXT, b"x", fin=False)[:-1])
        left.drop()
    _served(lab, other)


@check("WSK-015", "WSK-017", "WSK-018")
def control_frames(lab: Lab) -> None:
    """Pings between fragments, many at once, and pongs for nothing."""
    other, socket = lab.opened(FEED), lab.opened(FEED)
    for payload in (b"", b"x", bytes(range(125))):
        socket.raw(frame(TEXT, "€".encode()[:1], fin=False) + frame(PONG, b"nobody asked"))
        socket.raw(frame(PING, payload) + frame(CONTINUATION, "€".encode()[1:]))
        received = socket.control(lab.target.timeout)
        lab.holds("WSK-017", not isinstance(received, Closed), "an open WebSocket", received)
        lab.holds("WSK-015", received == Ponged(payload), f"a pong with {payload!r}", received)
    count = 500
    socket.raw(b"".join(frame(PING, b"%d" % number) for number in range(count)))
    answered = -1
    while answered < count - 1:
        received = socket.control(lab.target.timeout)
        if isinstance(received, Ponged):
            # an answer to the latest is enough (RFC 6455, 5.5.3)
            later = received.payload.isdigit() and int(received.payload) > answered
            lab.holds("WSK-015", later, f"a pong to a ping behind the {answered}th", received)
            answered = int(received.payload)
        else:
            lab.holds("WSK-015", False, f"a pong to the last of {count} pings", received)
    _served(lab, other)


@check("WSK-016", "WSK-015", needs=(Need.RUNNING,))
def fragments(lab: Lab) -> None:
    """A line for a shell in fragments of a text, cut inside a character, with pings between them."""
    shell = Conversation.open(lab, lab.running())
    line = 'echo "<€>" o""k; exit\n'.encode()
    pieces = [line[at : at + 1] for at in range(len(line))]
    for number, piece in enumerate(pieces):
        opcode = TEXT if number == 0 else CONTINUATION
        shell.socket.raw(frame(opcode, piece, fin=number == len(pieces) - 1) + frame(PING, piece))
    pongs = 0
    while not isinstance(received := shell.socket.receive(lab.target.timeout), Closed | None):
        if isinstance(received, Ponged):
            pongs += 1
        elif isinstance(received, bytes):
            shell.took(received)
    shown = bytes(shell.output)
    lab.holds("WSK-015", pongs, "pongs between fragments", pongs)
    lab.holds("WSK-016", "<€> ok".encode() in shown, "the line, whole", shown)
