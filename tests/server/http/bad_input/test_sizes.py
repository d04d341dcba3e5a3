"""Requests that are too large, or take too long to come."""

from __future__ import annotations

import contextlib
import socket
from typing import Any

import httpx
import pytest

from ecompute.contract import catalog
from ecompute.contract.endpoint import Endpoint
from ecompute.contract.endpoints import ENDPOINTS
from ecompute_server.http import protocols, reading
from ecompute_server.testing import RunningServer, running_server
from tests.server.http.peers import (
    PATIENCE,
    bearer,
    connected,
    head,
    name_of,
    path_of,
    read_all,
    read_answer,
    tells_nothing,
)

READS_BODY = [row for row in ENDPOINTS if row.method in ("POST", "PUT")]


@pytest.mark.parametrize("row", READS_BODY, ids=name_of)
def test_a_body_that_is_announced_too_large_is_refused_unread(
    server: RunningServer, box: str, row: Endpoint[Any, Any]
) -> None:
    """413 before a byte of it was sent, and the connection ends; whether or not the row needs a body."""
    with connected(server) as link:
        length = {"Content-Length": str(catalog.MAX_BODY_BYTES + 1)}
        link.sendall(head(row.method, path_of(row, box), token=server.token, headers=length))
        answer = read_answer(link)
        assert answer.refusal == (413, "too_large")
        assert answer.closes
        assert link.recv(1) == b""


@pytest.mark.parametrize("row", READS_BODY, ids=name_of)
def test_a_body_that_grows_too_large_is_refused_while_it_is_read(
    server: RunningServer, box: str, row: Endpoint[Any, Any]
) -> None:
    """One byte above the limit, in chunks; the end is not waited for."""
    with connected(server) as link:
        chunked = {"Transfer-Encoding": "chunked"}
        link.sendall(head(row.method, path_of(row, box), token=server.token, headers=chunked))
        for size in (catalog.MAX_BODY_BYTES, 1):
            link.sendall(f"{size:x}\r\n".encode() + b" " * size + b"\r\n")
        answer = read_answer(link)
        assert answer.refusal == (413, "too_large")
        assert answer.closes
        assert read_all(link) == b""


def test_a_body_of_the_largest_size_is_read(mine: httpx.Client, box: str) -> None:
    """Whatever it holds, where a row takes none."""
    answer = mine.post(f"/compute/containers/{box}/start", content=b"\0" * catalog.MAX_BODY_BYTES)
    assert answer.status_code == 200
    pieces = iter([b"\xff" * (catalog.MAX_BODY_BYTES // 2)] * 2)
    assert mine.post(f"/compute/containers/{box}/start", content=pieces).status_code == 200


@pytest.mark.parametrize("length", ["10000000000", "9" * 20])
def test_enormous_lengths_are_refused_at_once(server: RunningServer, length: str) -> None:
    """Nothing is set aside for them."""
    with connected(server) as link:
        request = f"POST /api/login HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"
        link.sendall(request.encode())
        assert read_answer(link).status in (400, 413)
        assert link.recv(1) == b""


HEADER_BOMBS = {
    "one huge header": b"X-Bomb: " + b"x" * 300_000,
    "a huge name": b"x" * 300_000 + b": 1",
    "many headers": b"\r\n".join(b"X-%d: 1" % number for number in range(30_000)),
    "one that is no longer than the limit, twice": b"X-Bomb: "
    + b"x" * 32_000
    + b"\r\nX-Bomb: "
    + b"x" * 32_000,
    "a folded header": b"X-Bomb: x" + b"\r\n x" * 50_000,
}


@pytest.mark.parametrize("whole", [True, False], ids=["whole", "without an end"])
@pytest.mark.parametrize("headers", HEADER_BOMBS.values(), ids=HEADER_BOMBS)
def test_header_bombs_are_refused(server: RunningServer, headers: bytes, whole: bool) -> None:
    """400 as soon as there is too much, and the connection ends. Who goes on sending may not see why."""
    with connected(server) as link:
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            link.sendall(b"GET /api/session HTTP/1.1\r\nHost: x\r\n" + headers + b"\r\n\r\n" * whole)
        answer = read_all(link)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 400 ")
    assert tells_nothing(answer)


def test_a_thousand_small_headers_are_none(server: RunningServer) -> None:
    """The limit is one of size."""
    headers = {f"X-{number}": "1" for number in range(1000)}
    answer = httpx.get(f"{server.url}/api/session", headers={**headers, **bearer(server.token)})
    assert answer.status_code == 200


def drip(link: socket.socket, start: bytes, drop: bytes) -> bytes:
    """Send a little again and again until the server answers or hangs up; what it said then."""
    link.sendall(start)
    link.settimeout(0.02)
    for _ in range(MOST_DROPS):
        try:
            said = link.recv(65536)
        except TimeoutError:
            with contextlib.suppress(ConnectionResetError, BrokenPipeError):
                link.sendall(drop)
        except ConnectionResetError:
            return b""
        else:
            link.settimeout(PATIENCE)
            return said + read_all(link)
    raise AssertionError("the server goes on listening")


MOST_DROPS = 500
HEAD = b"POST /api/login HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize("drop", [b"x", b"X-Slow: 1\r\n"])
@pytest.mark.parametrize(
    "first", [b"", b"GET /api/session HTTP/1.1\r\nHost: x\r\n\r\n"], ids=["first", "second"]
)
def test_a_head_that_drips_is_hung_up_on(monkeypatch: pytest.MonkeyPatch, first: bytes, drop: bytes) -> None:
    """The whole head has its time, however busy its sender is; the second one of a connection as well."""
    monkeypatch.setattr(protocols, "HEAD_SECONDS", 0.3)
    with running_server() as server, connected(server) as link:
        if first:
            link.sendall(first)
            assert read_answer(link).status == 401
        assert drip(link, HEAD, drop) == b""


@pytest.mark.parametrize(
    ("framing", "drop"),
    [(b"Content-Length: 60000\r\n\r\n", b" "), (b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n")],
    ids=["length", "chunks"],
)
def test_a_body_that_drips_is_refused(monkeypatch: pytest.MonkeyPatch, framing: bytes, drop: bytes) -> None:
    """400 after its time, and the connection ends."""
    monkeypatch.setattr(reading, "BODY_SECONDS", 0.3)
    with running_server() as server, connected(server) as link:
        answer = drip(link, HEAD + framing, drop)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b'"code":"invalid_request"' in answer
    assert tells_nothing(answer)


@pytest.mark.parametrize(
    "request_",
    [
        b"POST /compute/ssh-keys HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n",
        b"GET /api/session HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n10000\r\n",
    ],
    ids=["a body that nobody waited for", "a body that nobody wants"],
)
def test_a_body_that_drips_after_its_answer_is_hung_up_on(
    monkeypatch: pytest.MonkeyPatch, request_: bytes
) -> None:
    """A request that is refused before its body came holds no connection for ever."""
    monkeypatch.setattr(protocols, "HEAD_SECONDS", 0.3)
    monkeypatch.setattr(reading, "BODY_SECONDS", 0.3)
    with running_server() as server, connected(server) as link:
        link.sendall(request_)
        assert read_answer(link).status == 401
        assert drip(link, b" ", b" ") == b""
