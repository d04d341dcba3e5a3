"""Requests that break HTTP or that two parties on the way may read in two ways, byte by byte.

Each is built from a right request: `head` is its request line and headers without those that frame the body,
`body` its body, and `next_` a whole request that must not be carried out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

END = b"\r\n\r\n"
H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"


def chunked(*pieces: bytes) -> bytes:
    """A body in chunks (RFC 9112, section 7.1)."""
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (*pieces, b""))


def framed(head: bytes, body: bytes) -> bytes:
    """The right request itself."""
    return head + b"Content-Length: %d" % len(body) + END + body


def framings(head: bytes, body: bytes, next_: bytes) -> Iterator[tuple[str, bytes]]:
    """Bodies whose length is told wrongly, twice or in two ways (RFC 9112, section 6.3)."""
    size = len(body)
    lengths = {
        "a list of lengths": b"%d, %d" % (size, size + 1),
        "a length with a sign": b"+%d" % size,
        "a negative length": b"-%d" % size,
        "a length in hexadecimal": b"0x%x" % size,
        "a length with a space": b"%d %d" % (size // 10, size % 10),
        "a length of a letter": b"x",
    }
    for name, value in lengths.items():
        yield name, head + b"Content-Length: " + value + END + body + next_
    for name, first, then in (
        ("two lengths", size, size + len(next_)),
        ("two lengths, the other way", 0, size),
    ):
        lines = b"Content-Length: %d\r\nContent-Length: %d" % (first, then)
        yield name, head + lines + END + body + next_
    both = chunked(body) + next_
    coding = b"Transfer-Encoding: chunked"
    yield "a length and chunks", head + b"Content-Length: %d\r\n" % len(both) + coding + END + both
    yield "chunks and a length", head + coding + b"\r\nContent-Length: %d" % size + END + both
    codings = {
        "an unknown coding": b"Transfer-Encoding: xchunked",
        "chunks inside gzip": b"Transfer-Encoding: gzip, chunked",
        "chunks twice": coding + b"\r\n" + coding,
        "a coding behind a control character": b"Transfer-Encoding: \x0bchunked",
        "a coding with a space before the colon": b"Transfer-Encoding : chunked",
    }
    for name, lines in codings.items():
        yield name, head + lines + END + both
    sizes = {
        "a chunk of no size": b"",
        "a chunk of letters": b"zz",
        "a chunk of a negative size": b"-%x" % size,
        "a chunk of a size with a sign": b"+%x" % size,
        "a chunk of a size with 0x": b"0x%x" % size,
        "a chunk that is longer than its size": b"%x" % (size - 1),
    }
    for name, value in sizes.items():
        yield name, head + coding + END + value + b"\r\n" + body + b"\r\n0" + END + next_


def malformed(head: bytes) -> Mapping[str, bytes]:
    """Heads that are none; the right one has no body (RFC 9112, sections 2 to 5)."""
    line, _, headers = head.partition(b"\r\n")
    method, target, _ = line.split(b" ")
    host = headers.partition(b"\r\n")[0]
    return {
        "no host": head.replace(host + b"\r\n", b"") + b"\r\n",
        "two hosts": head + b"Host: other.example\r\n\r\n",
        "the same host twice": head + host + b"\r\n\r\n",
        "a space before a colon": head.replace(host, host.replace(b":", b" :", 1)) + b"\r\n",
        "a header without a colon": head + b"nonsense\r\n\r\n",
        "a header without a name": head + b": x\r\n\r\n",
        "a NUL in a header": head + b"X-A: a\0b\r\n\r\n",
        "a NUL in the name of a header": head + b"X-\0A: a\r\n\r\n",
        "a carriage return in a header": head + b"X-A: a\rX-B: b\r\n\r\n",
        "a method with a sign": head.replace(method, b"G@T", 1) + b"\r\n",
        "no method": head.replace(method, b"", 1) + b"\r\n",
        "a space in the target": head.replace(target, target + b" x", 1) + b"\r\n",
        "a NUL in the target": head.replace(target, target + b"\0", 1) + b"\r\n",
        "no version": head.replace(b" HTTP/1.1", b"", 1) + b"\r\n",
        "a version of two digits": head.replace(b"HTTP/1.1", b"HTTP/1.10", 1) + b"\r\n",
        "a version in small letters": head.replace(b"HTTP/1.1", b"http/1.1", 1) + b"\r\n",
        "another protocol": head.replace(b"HTTP/1.1", b"SPDY/3.1", 1) + b"\r\n",
        "an answer": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        "another language": b"EHLO client.example\r\n\r\n",
        "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 64 + END,
        "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9),
    }


def ambiguous(head: bytes, body: bytes, next_: bytes) -> Mapping[str, bytes]:
    """What a server may take or refuse, as long as it takes the next request for none."""
    get = head.replace(b"POST ", b"GET ", 1)
    coding = b"Transfer-Encoding: chunked"
    return {
        "a length that is told twice": framed(
            head + b"Content-Length: %d\r\n" % len(body + next_), body + next_
        ),
        "a folded header": head + b"X-A: a\r\n " + next_.replace(b"\r\n", b"\r\n ") + END,
        "a GET with a body": framed(get, next_),
        "a GET with a body in chunks": get + coding + END + chunked(next_),
        "a DELETE with a body": framed(head.replace(b"POST ", b"DELETE ", 1), next_),
        "a chunk with an extension": head + coding + END + b"%x;a=%b" % (len(next_), b'"x"') + b"\r\n"
        + next_ + b"\r\n0" + END,
        "chunks with a trailer": head + coding + END + chunked(next_)[:-2] + b"X-A: a" + END,
        "chunks that end in line feeds": head + coding + END + b"%x\n" % len(next_) + next_ + b"\n0\n\n",
        "the coding identity": framed(head + b"Transfer-Encoding: identity\r\n", next_),
        "line feeds only": framed(head, next_).replace(b"\r\n", b"\n", head.count(b"\r\n") + 2),
        "an upgrade to HTTP/2": framed(head + H2C, next_),
        "another major version": framed(head.replace(b"HTTP/1.1", b"HTTP/3.0", 1), next_),
    }  # fmt: skip
