"""What the server logs, and what it never does."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import logging
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from ecompute_server import logs
from ecompute_server.testing import RunningServer, running_server

LOG = logs.get_logger("ecompute_server.test")
PASSWORD = "correct horse battery staple"
WRONG_PASSWORD = "incorrect donkey"
PATIENCE = 10.0


@pytest.fixture
def capture(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Captures the server's log from debug on."""
    caplog.set_level(logging.DEBUG, "ecompute_server")
    return caplog


def told(capture: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """The lines, before they become text."""
    lines: list[Any] = [record.msg for record in capture.records]
    return lines


@pytest.mark.parametrize(
    ("method", "status", "level"),
    [
        ("GET", 200, "debug"),
        ("HEAD", 200, "debug"),
        ("OPTIONS", 200, "debug"),
        ("GET", 401, "debug"),
        ("GET", 404, "debug"),
        ("GET", 101, "info"),
        ("GET", 503, "info"),
        ("GET", 500, "error"),
        ("POST", 200, "info"),
        ("PUT", 409, "info"),
        ("DELETE", 401, "info"),
        ("BREW", 405, "info"),
        ("POST", 503, "info"),
        ("POST", 500, "error"),
    ],
)
def test_the_end_of_a_request_is_told_as_loud_as_it_matters(
    capture: pytest.LogCaptureFixture, method: str, status: int, level: str
) -> None:
    """Reads at debug, what may change something at info, faults of the server at error."""
    logs.request_ended(LOG, "containers.get", method, status, 0.01234)
    (line,) = told(capture)
    assert (line["level"], line["event"], line["status"], line["ms"]) == (level, "request", status, 12.3)
    assert line["method"] == (method if method != "BREW" else "other")


def test_a_read_is_not_told_at_info(capture: pytest.LogCaptureFixture) -> None:
    """What changes something is."""
    capture.set_level(logging.INFO, "ecompute_server")
    logs.request_ended(LOG, "containers.list", "GET", 200, 0.001)
    logs.request_ended(LOG, "containers.create", "POST", 200, 0.001)
    assert [line["row"] for line in told(capture)] == ["containers.create"]


def test_a_line_says_whose_request_it_belongs_to(capture: pytest.LogCaptureFixture) -> None:
    """As far as it is known by then, and nothing of it once the request has ended."""
    with logs.RequestContext("0123") as request:
        LOG.info("first")
        assert logs.current_request() is request
        request.row, request.user, request.container = "containers.get", "u1", "aaaaaaaa"
        LOG.info("second")
        LOG.info("third", container="bbbbbbbb")
    LOG.info("fourth")
    assert logs.current_request() is None
    names = ("request", "row", "user", "container")
    assert [tuple(line.get(name) for name in names) for line in told(capture)] == [
        ("0123", "unknown", None, None),
        ("0123", "containers.get", "u1", "aaaaaaaa"),
        ("0123", "containers.get", "u1", "bbbbbbbb"),
        (None, None, None, None),
    ]


def test_requests_at_the_same_time_keep_apart(capture: pytest.LogCaptureFixture) -> None:
    """A task that one of them starts belongs to it."""

    async def serve(number: int, turn: asyncio.Barrier) -> None:
        with logs.RequestContext(str(number)) as request:
            await turn.wait()
            request.user = f"u{number}"
            await turn.wait()
            await asyncio.create_task(tell(number))

    async def tell(number: int) -> None:
        LOG.info("here", number=number)

    async def main() -> None:
        turn = asyncio.Barrier(3)
        await asyncio.gather(*(serve(number, turn) for number in range(3)))

    asyncio.run(main())
    lines = sorted((line["number"], line["request"], line["user"]) for line in told(capture))
    assert lines == [(number, str(number), f"u{number}") for number in range(3)]


@pytest.fixture
def set_up(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Stream]]:
    """Sets logging up on what stands for standard error; the settings are as before at the end."""
    root, ours = logging.getLogger(), logging.getLogger("ecompute_server")
    before = (root.handlers[:], root.level, ours.level)

    def begin(*, terminal: bool = False) -> Stream:
        stream = Stream()
        stream.terminal = terminal
        monkeypatch.setattr("sys.stderr", stream)
        root.handlers.clear()
        logs.set_up("info")
        return stream

    yield begin
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    ours.setLevel(before[2])


class Stream(io.StringIO):
    """A text file that may be a terminal."""

    terminal = False

    def isatty(self) -> bool:
        return self.terminal


def test_a_logger_of_the_standard_library_tells_the_request_too(set_up: Callable[..., Stream]) -> None:
    """Drivers log through it; what they say becomes a line like all others."""
    stream = set_up()
    with logs.RequestContext("0123"):
        logging.getLogger("ecompute_server.hypervisor").warning("the machine of %s is gone", "box")
        logging.getLogger("ecompute_server.hypervisor").debug("not told")
    (line,) = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert (line["event"], line["level"], line["request"]) == (
        "the machine of box is gone",
        "warning",
        "0123",
    )


@pytest.mark.parametrize("terminal", [True, False])
def test_an_error_is_told_without_the_values_of_variables(
    set_up: Callable[..., Stream], terminal: bool
) -> None:
    """One of them may be a credential; where it happened is told."""
    stream = set_up(terminal=terminal)
    token = "-".join(["a", "credential"])
    try:
        [][len(token)]
    except IndexError:
        LOG.exception("a request failed")
    assert "test_an_error_is_told_without" in stream.getvalue()
    assert "IndexError" in stream.getvalue()
    assert token not in stream.getvalue()


def ignored(error: BaseException | None, kind: type[BaseException] | None = None) -> Any:
    """What Python gives its hook; the object is one that nobody may look at."""
    return SimpleNamespace(
        exc_type=kind or type(error),
        exc_value=error,
        exc_traceback=error and error.__traceback__,
        err_msg=None,
        object=Unspeakable(),
    )


class Unspeakable(Exception):
    """Cannot be shown in any way."""

    def __repr__(self) -> str:
        raise AssertionError

    __str__ = __repr__


def test_an_ignored_error_is_told_once_a_minute(capture: pytest.LogCaptureFixture) -> None:
    """By type and text, with the number of those of its type that were left out; each type by itself."""
    capture.set_level(logging.INFO, "ecompute_server")
    now = 1000.0
    hook = logs.IgnoredErrors(lambda: now)

    def lines(*errors: BaseException) -> list[tuple[Any, ...]]:
        for error in errors:
            hook(ignored(error))
        found = [(x["level"], x["event"], x["error"], x["text"], x.get("left_out")) for x in told(capture)]
        assert not any("exc_info" in x for x in told(capture))
        capture.clear()
        return found

    start = ("warning", "an error was ignored")
    assert lines(ValueError("a"), ValueError("b"), OSError("c"), ValueError("d")) == [
        (*start, "ValueError", "a", None),
        (*start, "OSError", "c", None),
    ]
    now += 59
    assert lines(ValueError("e")) == []
    now += 2
    assert lines(ValueError("f"), OSError("g")) == [
        (*start, "ValueError", "f", 3),
        (*start, "OSError", "g", None),
    ]
    now += 61
    assert lines(ValueError("h")) == [(*start, "ValueError", "h", None)]


def test_an_ignored_error_without_a_text_is_told_too(capture: pytest.LogCaptureFixture) -> None:
    """And of a long one only the beginning."""
    capture.set_level(logging.INFO, "ecompute_server")
    hook = logs.IgnoredErrors()
    hook(ignored(Unspeakable()))
    hook(ignored(None, MemoryError))
    hook(ignored(ValueError("x" * 10_000)))
    assert [(line["error"], line["text"]) for line in told(capture)] == [
        ("Unspeakable", ""),
        ("MemoryError", ""),
        ("ValueError", "x" * 200),
    ]


@pytest.mark.parametrize("level", ["debug", "info"])
def test_where_an_ignored_error_happened_is_told_at_debug(set_up: Callable[..., Stream], level: str) -> None:
    """For whoever looks for the cause."""
    stream = set_up()
    logging.getLogger("ecompute_server").setLevel(level.upper())
    try:
        [][1]
    except IndexError as error:
        logs.IgnoredErrors()(ignored(error))
    (line,) = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert line["text"] == "list index out of range"
    assert ("test_where_an_ignored_error" in line.get("exception", "")) == (level == "debug")


HELLOS = r"""
import ssl, sys
from pathlib import Path
from ecompute_server.cli.serve import serve
from ecompute_server.http.serving import ListenError

def greet():
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.sni_callback = lambda *_: None
    hello = ssl.MemoryBIO()
    try:
        client.wrap_bio(ssl.MemoryBIO(), hello, server_hostname="secret.example").do_handshake()
    except ssl.SSLWantReadError:
        pass
    sent = ssl.MemoryBIO()
    sent.write(hello.read().replace(b"secret.", b"secret\xff"))
    try:
        server.wrap_bio(sent, ssl.MemoryBIO(), server_side=True).do_handshake()
    except ssl.SSLError:
        return
    raise AssertionError("no error")

try:
    serve(state=Path(sys.argv[1]), hypervisor="simulated", port=int(sys.argv[2]))
except ListenError:
    for _ in range(3):
        greet()
"""


def test_serve_tells_of_a_strange_server_name_in_one_line(tmp_path: Path) -> None:
    """Python would print a traceback and the name for each TLS hello that is not ASCII."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-c", HELLOS, str(tmp_path), port],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
    (line,) = [json.loads(line) for line in done.stderr.splitlines()]
    assert (line["event"], line["error"]) == ("an error was ignored", "UnicodeDecodeError")
    assert "secret" not in done.stderr
    assert "codec can't decode byte 0xff" in line["text"]


class Log:
    """The log of a `serve` in a child process."""

    def __init__(self, path: Path) -> None:
        self.text = path.read_text()
        self.lines = [json.loads(line) for line in self.text.splitlines()]

    def ended(self, answer: httpx.Response) -> dict[str, Any]:
        """The line about the end of the request with this answer."""
        id_ = answer.headers["x-request-id"]
        (line,) = [x for x in self.lines if x["event"] == "request" and x["request"] == id_]
        assert line["status"] == answer.status_code
        return dict(line)


def upgrade(server: RunningServer, target: str, *headers: str) -> bytes:
    """Open a WebSocket by hand and return the head of the answer."""
    key = base64.b64encode(os.urandom(16)).decode()
    head = [
        f"GET {target} HTTP/1.1",
        "Host: x",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {key}",
        *headers,
    ]
    return raw(server, "\r\n".join([*head, "", ""]).encode())


def raw(server: RunningServer, sent: bytes) -> bytes:
    """Send bytes and return the head of what comes back, or all up to the end."""
    where = urlsplit(server.url)
    answer = b""
    with socket.create_connection((where.hostname, where.port), PATIENCE) as link:
        link.sendall(sent)
        while b"\r\n\r\n" not in answer and (more := link.recv(65536)):
            answer += more
    return answer


@pytest.mark.parametrize("level", ["debug", "info"])
def test_the_log_of_serve_is_json_and_holds_no_credential(
    tmp_path: Path, level: str, public_key: str
) -> None:
    """Each line carries its request, its user and its container; credentials sent in every way, also where
    they do not belong and in requests that are no HTTP, are in none.
    """
    with running_server(state=tmp_path, in_process=False, log_level=level) as server:
        user = server.add_user("bob", PASSWORD)
        api_token = server.api_token({"compute.<uid>": ["read", "create", "update", "delete"]})
        bad_token = api_token[:-3] + "abc"
        secrets = [server.token, user.token, api_token, bad_token, PASSWORD, WRONG_PASSWORD]
        http = httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {api_token}"})
        with http:
            key = http.post("/compute/ssh-keys", json={"name": "k", "public_key": public_key}).json()["id"]
            made = http.post("/compute/containers", json={"name": "box", "ssh_key_ids": [key]})
            id_ = made.json()["id"]
            read = http.get(f"/compute/containers/{id_}")
            stopped = http.post(f"/compute/containers/{id_}/stop", params={"token": server.token})
            deleted = http.delete(f"/compute/containers/{id_}")

            logins = []
            for password in (PASSWORD, WRONG_PASSWORD):
                pair = {"username": "bob", "password": password}
                logins.append(http.post("/api/login", json=pair))
                http.post("/api/login", json={**pair, "password": [password]})
                http.post("/api/login", content=json.dumps(pair)[:-1])
            secrets.append(logins[0].json()["token"])
            mint = {"name": "t", "scopes": {f"compute.{user.user_id}": ["read"]}, "expires_in": "30d"}
            as_bob = {"Authorization": f"Bearer {user.token}"}
            secrets.append(http.post("/api/tokens", json=mint, headers=as_bob).json()["token"])
            refused = http.post("/compute/ssh-keys", headers={"Authorization": f"Bearer {bad_token}"})
            http.get("/compute/containers", headers={"Authorization": bad_token})
            http.get(f"/compute/containers/{api_token}", params={"token": api_token})
            http.get(f"/{api_token}")
            http.request("BREW", "/api/session", params={"token": api_token})
            http.post("/compute/containers", json={"name": api_token, "ssh_key_ids": [api_token]})
            http.post("/compute/containers", content=api_token)
            http.post("/api/logout", headers=as_bob)

        events = f"/compute/ws?token={server.token}"
        opened = upgrade(server, events)
        upgrade(server, f"/compute/ws?token={bad_token}")
        upgrade(server, f"/compute/containers/zzzzzzzz/terminal?token={server.token}&rows=x")
        upgrade(server, events, "Origin: https://evil.example")
        raw(server, f"GET {events} HTTP/1.1\r\n\r\n".encode())
        raw(server, f"GET {events} HTTP/1.1\r\nHost: x\r\n{server.token}\r\n\r\n".encode())
        raw(server, f"GET {events} HTTP/9.9\r\nAuthorization: Bearer {api_token}\r\n\r\n".encode())
        raw(server, f"{server.token}\r\n\r\n".encode())
        raw(server, b"GET / HTTP/1.1\r\nAuthorization: Bearer " + api_token.encode() * 1000 + b"\r\n\r\n")
        own_id = server.user_id

    log = Log(tmp_path / "serve.log")
    assert all({"timestamp", "level", "event"} <= set(line) for line in log.lines)
    for secret in secrets:
        assert secret not in log.text
    assert "token=" not in log.text
    assert "Bearer" not in log.text

    line = log.ended(stopped)
    assert (line["row"], line["method"], line["level"]) == ("containers.stop", "POST", "info")
    assert (line["user"], line["container"]) == (own_id, id_)
    assert log.ended(deleted)["container"] == id_
    assert (log.ended(made)["user"], log.ended(made)["row"]) == (own_id, "containers.create")
    assert log.ended(refused).get("user") is None
    assert [login.status_code for login in logins] == [200, 401]
    assert log.ended(logins[0])["row"] == log.ended(logins[1])["row"] == "login"

    assert opened.startswith(b"HTTP/1.1 101 ")
    head = re.search(rb"(?i)x-request-id: (\w+)", opened)
    assert head is not None
    (line,) = [x for x in log.lines if x.get("request") == head[1].decode() and x["event"] == "request"]
    assert (line["row"], line["status"], line["user"]) == ("events", 101, own_id)

    if level == "debug":
        line = log.ended(read)
        assert (line["row"], line["user"], line["container"]) == ("containers.get", own_id, id_)
    else:
        assert read.headers["x-request-id"] not in log.text
