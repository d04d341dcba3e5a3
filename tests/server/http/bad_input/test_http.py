"""What is no HTTP, or not the HTTP that is spoken here."""

from __future__ import annotations

import pytest

from ecompute_server.testing import RunningServer
from tests.server.http.peers import connected, read_all, read_answer, tells_nothing

SESSION = b"GET /api/session HTTP/1.1\r\n"
LOGIN = b"POST /api/login HTTP/1.1\r\nHost: x\r\n"
BROKEN_HTTP = {
    "two hosts": SESSION + b"Host: x\r\nHost: y\r\n\r\n",
    "two equal hosts": SESSION + b"Host: x\r\nHost: x\r\n\r\n",
    "no host": SESSION + b"\r\n",
    "two lengths in one": LOGIN + b"Content-Length: 2, 3\r\n\r\n{}",
    "a length with a sign": LOGIN + b"Content-Length: +2\r\n\r\n{}",
    "a length in hexadecimal": LOGIN + b"Content-Length: 0x2\r\n\r\n{}",
    "a length with a space": LOGIN + b"Content-Length: 1 2\r\n\r\n{}",
    "a length of a superscript": LOGIN + b"Content-Length: \xb2\r\n\r\n{}",
    "an unknown encoding": LOGIN + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "an encoding twice": LOGIN + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "an encoding that hides": LOGIN + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "a chunk without a size": LOGIN + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    "a chunk of a negative size": LOGIN + b"Transfer-Encoding: chunked\r\n\r\n-2\r\n{}\r\n0\r\n\r\n",
    "a chunk of another size": LOGIN + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{}\r\n0\r\n\r\n",
    "a space before the colon": SESSION + b"Host : x\r\n\r\n",
    "a header without a colon": SESSION + b"Host: x\r\nnonsense\r\n\r\n",
    "a header without a name": SESSION + b"Host: x\r\n: x\r\n\r\n",
    "a NUL in a header": SESSION + b"Host: x\r\nX-A: a\0b\r\n\r\n",
    "a NUL in a name": SESSION + b"Host: x\r\nX-\0A: a\r\n\r\n",
    "a carriage return in a header": SESSION + b"Host: x\r\nX-A: a\rX-B: b\r\n\r\n",
    "a method with a sign": b"G@T / HTTP/1.1\r\nHost: x\r\n\r\n",
    "no method": b" / HTTP/1.1\r\nHost: x\r\n\r\n",
    "no version": b"GET /api/session\r\n\r\n",
    "a version of two digits": b"GET / HTTP/1.10\r\nHost: x\r\n\r\n",
    "another protocol": b"GET / SPDY/3.1\r\nHost: x\r\n\r\n",
    "bytes above ASCII in the path": b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
    "a NUL in the path": b"GET /\0 HTTP/1.1\r\nHost: x\r\n\r\n",
    "only line breaks": b"\r\n\r\n\r\n",
    "a response": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "another line": b"EHLO example.org\r\n\r\n",
}


@pytest.mark.parametrize("request_", BROKEN_HTTP.values(), ids=BROKEN_HTTP)
def test_what_is_no_http_is_told_and_hung_up_on(server: RunningServer, request_: bytes) -> None:
    """400 in the form of every other error."""
    with connected(server) as link:
        link.sendall(request_)
        answer = read_answer(link)
        assert answer.refusal == (400, "invalid_request")
        assert tells_nothing(answer.content)
        assert answer.closes
        assert read_all(link) == b""


BROKEN_UPGRADES = {
    "a host above ASCII": {"Host": b"\xff"},
    "a host that is none": {"Host": b"x" * 300},
    "a subprotocol above ASCII": {"Sec-WebSocket-Protocol": b"\xff"},
    "an extension above ASCII": {"Sec-WebSocket-Extensions": b"\xff"},
    "no key": {"Sec-WebSocket-Key": None},
    "a version that is no number": {"Sec-WebSocket-Version": b"\xff"},
    "no version": {"Sec-WebSocket-Version": None},
}


@pytest.mark.parametrize("changes", BROKEN_UPGRADES.values(), ids=BROKEN_UPGRADES)
def test_broken_upgrades_are_told_and_hung_up_on(
    server: RunningServer, changes: dict[str, bytes | None]
) -> None:
    """They are refused as what they are, or what is wrong with them does not matter."""
    headers = {
        "Host": b"x",
        "Connection": b"Upgrade",
        "Upgrade": b"websocket",
        "Sec-WebSocket-Key": b"AAAAAAAAAAAAAAAAAAAAAA==",
        "Sec-WebSocket-Version": b"13",
        **changes,
    }
    lines = [f"{name}: ".encode() + value for name, value in headers.items() if value is not None]
    with connected(server) as link:
        link.sendall(b"\r\n".join([b"GET /compute/ws HTTP/1.1", *lines]) + b"\r\n\r\n")
        answer = read_answer(link)
        assert answer.refusal in [
            (400, "invalid_request"),
            (426, "invalid_request"),
            (401, "unauthenticated"),
        ]
        assert tells_nothing(answer.content)
        assert answer.closes
        assert read_all(link) == b""


def test_a_length_and_chunks_at_once_end_the_connection(server: RunningServer) -> None:
    """Two parties on the way may each believe another one (RFC 9112 §6.3), so nothing follows."""
    smuggled = b"GET /api/session HTTP/1.1\r\nHost: x\r\n\r\n"
    with connected(server) as link:
        framing = b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        link.sendall(LOGIN + framing + smuggled)
        assert read_answer(link).refusal == (400, "invalid_request")
        assert read_all(link) == b""


def test_the_preface_of_another_version_is_refused(server: RunningServer) -> None:
    """HTTP/2 is not spoken: its preface gets an error, and the connection ends."""
    with connected(server) as link:
        link.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9))
        answer = read_all(link)
    assert answer.startswith(b"HTTP/1.1 4")
    assert b"HTTP/1.1 2" not in answer
    assert tells_nothing(answer)


def test_the_oldest_version_is_served(server: RunningServer) -> None:
    """HTTP/1.0 needs no host, and its connection ends."""
    with connected(server) as link:
        link.sendall(f"GET /api/session HTTP/1.0\r\nAuthorization: Bearer {server.token}\r\n\r\n".encode())
        answer = read_answer(link)
        assert (answer.status, answer.closes) == (200, True)
        assert link.recv(1) == b""


def test_a_target_may_be_a_whole_address(server: RunningServer) -> None:
    """As clients of a proxy write it (RFC 9112 §3.2.2); the rights are those of its path."""
    for target, status in (
        ("http://x/healthz", 200),
        ("https://x:1/compute/containers?token=t", 401),
        ("http://x/compute/containers", 401),
    ):
        with connected(server) as link:
            link.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert read_answer(link).status == status


@pytest.mark.parametrize(
    "target", ["http://x/nothing", "https://x", "x:443", "x", "http://", "http://x\\@y/"]
)
def test_other_forms_of_a_target_lead_nowhere(server: RunningServer, target: str) -> None:
    """Only a path is one."""
    for method in ("GET", "CONNECT"):
        with connected(server) as link:
            link.sendall(f"{method} {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert read_answer(link, method="GET").refusal == (404, "not_found")
