"""Peers that speak badly, slowly or not at all."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from sqlite_utils import Database

from ecompute_server.http import protocols, reading
from ecompute_server.store.database import SqliteFile
from ecompute_server.store.interface import StoreUnavailable
from ecompute_server.testing import RunningServer, running_server

PATIENCE = 30.0


def talk(server: RunningServer, *pieces: bytes) -> bytes:
    """Send raw bytes and read until the server hangs up."""
    with socket.create_connection(
        (urlsplit(server.url).hostname, urlsplit(server.url).port), PATIENCE
    ) as link:
        for piece in pieces:
            link.sendall(piece)
        answer = b""
        while data := link.recv(65536):
            answer += data
        return answer


MALFORMED = {
    "no host": b"GET /api/session HTTP/1.1\r\n\r\n",
    "two lengths": b"POST /api/login HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    "negative length": b"POST /api/login HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 64 + b"\r\n\r\n",
    "space in the target": b"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n",
    "websocket without a key": b"GET /compute/ws HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\n"
    b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n",
    "websocket of another version": b"GET /compute/ws HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\n"
    b"Upgrade: websocket\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 8\r\n\r\n",
}


@pytest.mark.parametrize("request_", MALFORMED.values(), ids=MALFORMED)
def test_what_is_no_http_is_refused_like_everything_else(server: RunningServer, request_: bytes) -> None:
    """As JSON with a request id, and the connection is closed."""
    head, _, body = talk(server, request_).partition(b"\r\n\r\n")
    assert re.match(rb"HTTP/1\.1 4(00|26) ", head)
    assert re.search(rb"(?i)^x-request-id: [0-9a-f]{16}\r?$", head, re.M)
    found = re.search(rb"\{.*\}", body, re.S)
    assert found is not None
    assert json.loads(found[0])["code"] == "invalid_request"


def test_huge_headers_are_refused(server: RunningServer) -> None:
    """Also when they arrive in one piece."""
    bomb = {"X-Bomb": "x" * 100_000}
    answer = httpx.get(f"{server.url}/api/session", headers=bomb)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")


def test_a_slow_head_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a head, or none, holds a connection for a while only."""
    monkeypatch.setattr(protocols, "HEAD_SECONDS", 0.2)
    with running_server() as server:
        for piece in (b"", b"GET / HTT", b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "):
            try:
                assert talk(server, piece) == b""
            except ConnectionResetError:
                continue


def test_a_slow_body_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """400, and the connection is closed."""
    monkeypatch.setattr(reading, "BODY_SECONDS", 0.2)
    with running_server() as server:
        answer = talk(server, b"POST /api/login HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b"did not arrive" in answer


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/login", rb'{"username": "\ud800", "password": "x"}'),
        ("/api/login", rb'{"username": "me", "password": "\udfff"}'),
        ("/compute/ssh-keys", rb'{"name": "k", "public_key": "ssh-ed25519 AAAA \ud800"}'),
        ("/compute/containers", rb'{"name": "\ud800", "ssh_key_ids": [1]}'),
    ],
)
def test_half_a_character_is_no_text(server: RunningServer, path: str, body: bytes) -> None:
    """Refused as what it is, not passed on to what cannot hold it."""
    headers = {"Authorization": f"Bearer {server.token}"}
    answer = httpx.post(f"{server.url}{path}", content=body, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
    assert "valid Unicode" in answer.json()["error"]


def test_two_credentials_are_none(server: RunningServer) -> None:
    """Two parties on the way might each believe another one."""
    headers = [("Authorization", f"Bearer {server.token}")] * 2
    assert httpx.get(f"{server.url}/api/session", headers=headers).status_code == 401


@pytest.mark.parametrize(("origin", "status"), [("http://evil.example", 403), ("null", 403), (None, 101)])
def test_a_page_of_another_origin_opens_no_websocket(
    server: RunningServer, origin: str | None, status: int
) -> None:
    """A browser tells where a page comes from; other clients do not."""
    place = urlsplit(server.url)
    lines = [
        f"GET /compute/ws?token={server.token} HTTP/1.1",
        f"Host: {place.netloc}",
        "Connection: upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
        "Sec-WebSocket-Version: 13",
    ]
    lines += [f"Origin: {origin}"] if origin else []
    with socket.create_connection((place.hostname, place.port), PATIENCE) as link:
        link.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        assert link.recv(4096).startswith(f"HTTP/1.1 {status} ".encode())


def test_a_token_in_a_query_is_in_no_log(server: RunningServer, caplog: pytest.LogCaptureFixture) -> None:
    """Neither when the socket opens nor when it is refused."""
    caplog.set_level(logging.DEBUG)
    place = urlsplit(server.url)
    for path in ("/compute/ws", "/compute/containers/nope/terminal", "/nowhere"):
        request = (
            f"GET {path}?token={server.token} HTTP/1.1\r\nHost: {place.netloc}\r\nConnection: upgrade\r\n"
            "Upgrade: websocket\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n"
        )
        with socket.create_connection((place.hostname, place.port), PATIENCE) as link:
            link.sendall(request.encode())
            assert link.recv(4096).startswith(b"HTTP/1.1 ")
    assert server.token not in caplog.text


def test_a_store_that_cannot_write_is_503(
    server: RunningServer, public_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With Retry-After, and it works again when the disk does; no address is lost meanwhile."""
    headers = {"Authorization": f"Bearer {server.token}"}
    with httpx.Client(base_url=server.url, headers=headers) as http:
        key = http.post("/compute/ssh-keys", json={"name": "k", "public_key": public_key}).json()["id"]
        body = {"name": "box", "ssh_key_ids": [key]}
        first = http.post("/compute/containers", json=body).json()

        async def full(self: SqliteFile, *_: object) -> None:
            raise StoreUnavailable("database or disk is full")

        with monkeypatch.context() as patch:
            patch.setattr(SqliteFile, "write", full)
            for _ in range(300):
                answer = http.post("/compute/containers", json=body)
            assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
            assert "retry-after" in answer.headers
        second = http.post("/compute/containers", json=body).json()
        assert second["external_ip"].rpartition(".")[0] == first["external_ip"].rpartition(".")[0]


def test_a_locked_database_is_unavailable(tmp_path: Path) -> None:
    """SQLite's own word for it becomes ours."""
    file = SqliteFile(tmp_path / "db")

    def change(db: Database) -> None:
        db.conn.execute("INSERT INTO nowhere VALUES (1)")

    try:
        with pytest.raises(StoreUnavailable):
            asyncio.run(file.write(change))
    finally:
        file.close()


@pytest.fixture
def deaf(server: RunningServer, public_key: str) -> Iterator[socket.socket]:
    """A terminal whose client floods itself and never reads."""
    with server.client() as client:
        key = client.ssh_keys.add("k", public_key)
        box = client.containers.create("box", [key.id])
        client.containers.wait(box.id, "running", timeout=PATIENCE)
        place = urlsplit(server.url)
        link = socket.socket()
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        link.connect((place.hostname, place.port))
        request = (
            f"GET /compute/containers/{box.id}/terminal?token={server.token} HTTP/1.1\r\n"
            f"Host: {place.netloc}\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        link.sendall(request.encode())
        assert b"101" in link.recv(64)
        text = b"cat /dev/zero\n"
        link.sendall(b"\x82" + bytes([0x80 | len(text)]) + b"\0\0\0\0" + text)
        yield link
        link.close()


def test_a_client_that_never_reads_does_not_hold_up_the_end(
    server: RunningServer, deaf: socket.socket
) -> None:
    """The fixture's server ends although the terminal's client does not read."""
    with server.client() as client:
        assert client.session().user_id == server.user_id


def test_a_client_that_never_reads_is_dropped(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """After a time in which nothing could be written."""
    monkeypatch.setattr(protocols, "UNREAD_SECONDS", 0.2)
    link: socket.socket = request.getfixturevalue("deaf")
    hung_up = select.poll()
    hung_up.register(link, 0)  # tells the end of the connection without a byte being read
    assert hung_up.poll(PATIENCE * 1000)


def test_while_it_drains_a_server_takes_no_new_work(tmp_path: Path) -> None:
    """A second signal ends it at once, with status 0 like the first."""
    command = [sys.executable, "-m", "ecompute_server", "serve", "--hypervisor", "simulated"]
    serve = subprocess.Popen(
        [*command, "--state", str(tmp_path), "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        assert serve.stdout is not None
        place = urlsplit(serve.stdout.readline().split()[1].decode())
        half = socket.create_connection((place.hostname, place.port))
        half.sendall(b"POST /api/login HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
        serve.terminate()
        serve.terminate()
        _, errors = serve.communicate(timeout=PATIENCE)
        half.close()
    finally:
        if serve.poll() is None:
            serve.kill()
            serve.communicate()
    assert serve.returncode == 0
    assert b"Traceback" not in errors
