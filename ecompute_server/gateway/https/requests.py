"""Visitors' requests, read strictly and written anew for the guest. No I/O.

What goes into the guest is never the visitor's own text: a request that two readers could understand in two
ways (RFC 9112, section 11.2) is refused, and all others are written in one way only.
"""

from __future__ import annotations

import re

import h11
from attrs import frozen

MAX_HEAD = 64 * 1024
"""Bytes of one head, request line and headers together."""
MOST_LINES = 256
"""Lines of one head: thousands of empty headers would fit into its bytes, and cost as much as thousands."""
_EVENTS = 64
"""Events of h11 that are read at once: about a millisecond."""

_HEAD_END = re.compile(rb"\n\r?\n")
_PLAIN = bytes(byte if chr(byte).isalnum() and byte < 128 else ord("-") for byte in range(256))
"""Programs behind CGI and its heirs cannot tell `_` or `.` from `-` in a name."""
_NEVER = frozenset(
    {
        b"forwarded",
        b"x-real-ip",
        b"proxy",  # would be HTTP_PROXY in a CGI program
        b"proxy-connection",
        b"proxy-authorization",
        b"keep-alive",
        b"te",
    }
)
"""Said by a proxy alone, or meant for one (RFC 9110, section 7.6.1; RFC 7239)."""
_ENDS = frozenset({b"connection", b"upgrade", b"transfer-encoding"})
_OPTIONS = frozenset({b"close", b"keep-alive", b"upgrade"})


class Refused(Exception):
    """The gateway itself answers this request. `args`: the status, and one sentence for people."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(status, sentence)
        self.status = status
        self.sentence = sentence


@frozen
class Visit:
    """Whose site is visited and from where; the same for all requests of one connection."""

    hosts: frozenset[str]
    """What the request may call the site, in small letters and without a port."""
    hostname: str
    peer: str


class Reader:
    """The visitor's bytes as events of h11, one request each."""

    def __init__(self, left: bytes = b"") -> None:
        """`left` is what `left` of the request before said."""
        self._connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
        self.begun = False
        """Whether there is a byte of a request."""
        self.feed(left)

    def feed(self, data: bytes) -> None:
        """Take in what was received."""
        if not self.begun:
            # empty lines in front of a request are none of it (RFC 9112, section 2.2)
            data = data.lstrip(b"\r\n")
        if data:
            self.begun = True
            self._connection.receive_data(data)

    def head(self) -> h11.Request | None:
        """The request's head, None when more bytes are needed.

        Raises:
            Refused: this is no request as it must be.
        """
        if too_many_lines(self._connection):
            raise Refused(431, "The request has too many headers.")
        event = self._next()
        return event if isinstance(event, h11.Request) else None

    def piece(self) -> tuple[bytes, bool]:
        """What came of the body, as far as it was read at once, and whether that is its end; nothing and not
        the end when more bytes are needed.

        Raises:
            Refused: this is no body as it must be.
        """
        pieces: list[bytes] = []
        for _ in range(_EVENTS):
            event = self._next()
            if isinstance(event, h11.EndOfMessage):
                return b"".join(pieces), True
            if not isinstance(event, h11.Data):
                break
            pieces.append(bytes(event.data))
        return b"".join(pieces), False

    def _next(self) -> object:
        try:
            return self._connection.next_event()
        except h11.RemoteProtocolError as error:
            raise Refused(error.error_status_hint, f"The request is not valid HTTP: {error}.") from error

    @property
    def left(self) -> bytes:
        """What came behind the whole request."""
        return self._connection.trailing_data[0]


def for_guest(request: h11.Request, visit: Visit) -> h11.Request:
    """The request as the guest gets it: with the addresses that the gateway saw, and no other's word on them.

    Raises:
        Refused: it is for another site, or may not pass.
    """
    headers = _joined(request)
    _check(request, headers)
    host = headers.get(b"host", visit.hostname.encode()).decode("latin-1")
    if _name(host) not in visit.hosts:
        raise Refused(421, "This address does not serve that host.")
    said = _tokens(headers.get(b"connection", b""))
    options = [option for option in dict.fromkeys(said) if option in _OPTIONS]
    upgrade = b"upgrade" in options and b"upgrade" in headers
    nominated = set(said) - _OPTIONS
    kept = [
        (name, value)
        for name, value in request.headers.raw_items()
        if _may_pass(name.lower(), nominated) and name.lower() not in _ENDS
    ]
    if b"host" not in headers:
        kept.append((b"Host", host.encode()))
    if b"transfer-encoding" in headers:
        kept.append((b"Transfer-Encoding", b"chunked"))
    if upgrade:
        kept.append((b"Upgrade", headers[b"upgrade"]))
    options = [option for option in options if option != b"upgrade" or upgrade]
    if options:
        kept.append((b"Connection", b", ".join(options)))
    kept += [
        (b"X-Forwarded-For", visit.peer.encode()),
        (b"X-Forwarded-Proto", b"https"),
        (b"X-Forwarded-Host", host.encode()),
    ]
    return h11.Request(method=request.method, target=request.target, headers=kept)


def keeps_alive(request: h11.Request) -> bool:
    """Whether the visitor may ask for more on the same connection (RFC 9112, section 9.3)."""
    options = _tokens(_joined(request).get(b"connection", b""))
    if request.http_version == b"1.0":
        return b"keep-alive" in options
    return b"close" not in options


def _check(request: h11.Request, headers: dict[bytes, bytes]) -> None:
    if request.http_version not in (b"1.0", b"1.1"):
        raise Refused(505, "Only HTTP/1.1 and HTTP/1.0 are spoken here.")
    if b"transfer-encoding" in headers and (b"content-length" in headers or request.http_version == b"1.0"):
        # RFC 9112, section 6.1: an attempt to have two readers disagree on where the body ends
        raise Refused(400, "The request is not valid HTTP: its length is told twice.")
    everything = request.target == b"*" and request.method == b"OPTIONS"
    if request.method == b"CONNECT" or not (everything or request.target.startswith(b"/")):
        raise Refused(400, "The request is for a proxy, and this is none.")


def _may_pass(name: bytes, nominated: set[bytes]) -> bool:
    plain = name.translate(_PLAIN)
    if plain.startswith(b"x-forwarded") or plain in _NEVER:
        return False
    return name not in nominated or name in (b"host", b"content-length")


def _tokens(value: bytes) -> list[bytes]:
    return [token for part in value.split(b",") if (token := part.strip().lower())]


def _joined(request: h11.Request) -> dict[bytes, bytes]:
    """The headers by their names in small letters; lines of one name are one list (RFC 9110, section 5.3)."""
    joined: dict[bytes, bytes] = {}
    for name, value in request.headers:
        joined[name] = joined[name] + b", " + value if name in joined else value
    return joined


def _name(host: str) -> str:
    name = host.lower()
    if not name.endswith("]"):
        head, colon, port = name.rpartition(":")
        if colon and (not port or (port.isascii() and port.isdecimal() and len(port) <= 5)):
            name = head
    return name.removesuffix(".")


def too_many_lines(connection: h11.Connection) -> bool:
    """Whether a head that h11 has not read yet is too long in lines, as far as it has come."""
    text = connection.trailing_data[0]
    end = _HEAD_END.search(text)
    return text.count(b"\n", 0, end.start() if end else len(text)) > MOST_LINES
