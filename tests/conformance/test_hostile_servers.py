"""Servers that send what no server should: the kit stays alive, discreet, and within its own things."""

from __future__ import annotations

import gzip
import json
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from xml.etree import ElementTree

import pytest
from attrs import field, frozen

from ecompute.conformance import Report, Target, run, sockets
from ecompute.conformance.hiding import HIDDEN, fit, hidden
from ecompute.conformance.history import History, Request
from ecompute.conformance.report import documents, table
from ecompute.conformance.retelling import as_curl, as_python
from ecompute.conformance.sockets import Socket
from ecompute.conformance.verdict import Lost
from ecompute.conformance.wire import Wire

TOKEN = "a-token-that-nobody-should-ever-see-0123456789"
EMPTY = {"/compute/containers": {"containers": []}, "/compute/ssh-keys": {"ssh_keys": []}}
JSON = "application/json"


@frozen
class Asked:
    """A request as the server has got it."""

    method: str
    path: str
    headers: dict[str, str]


@frozen
class Told:
    """An answer of the server; `raw` is all of it."""

    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(factory=dict)
    raw: bytes | None = None


def told(value: Any, status: int = 200) -> Told:
    return Told(status, json.dumps(value).encode())


Answer = Callable[[Asked], Told | None]


@contextmanager
def hostile(answer: Answer) -> Iterator[tuple[str, list[Asked]]]:
    """A server that says this, and empty lists where that is None; its URL, and what it was asked."""
    asked: list[Asked] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one_request(self) -> None:
            self.raw_requestline = self.rfile.readline(65537)
            if not self.raw_requestline or not self.parse_request():
                self.close_connection = True
                return
            self.rfile.read(int(self.headers.get("content-length") or 0))
            one = Asked(self.command, self.path, {k.lower(): v for k, v in self.headers.items()})
            asked.append(one)
            said = answer(one) or told(EMPTY.get(self.path, {}), 200 if self.path in EMPTY else 404)
            if said.raw is not None:
                self.wfile.write(said.raw)
                self.close_connection = True
                return
            self.send_response(said.status)
            for name, value in {"Content-Type": JSON, **said.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(said.body)))
            self.end_headers()
            self.wfile.write(said.body)

        def log_message(self, format: str, *arguments: object) -> None:
            """Nobody reads it."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """A client that hangs up is what is tested."""

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()


def tried(answer: Answer, *only: str, **more: Any) -> tuple[Report, list[Asked]]:
    with hostile(answer) as (url, asked):
        target = Target(url, TOKEN, profile="quick", seed=1, timeout=5.0, boot_timeout=1.0, **more)
        return run(target, only=only), asked


def texts(report: Report) -> tuple[str, str, str]:
    return table.text(report), documents.to_json(report), documents.to_junit(report)


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
BOMB = gzip.compress(bytes(64 * 1024 * 1024))


@pytest.mark.parametrize(
    "raw",
    [
        HEAD + b"Content-Length: 100000000\r\n\r\n" + b" " * (17 * 1024 * 1024),
        HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(BOMB) + BOMB,
    ],
    ids=["long", "packed"],
)
def test_an_answer_without_end(raw: bytes) -> None:
    """It is read no further than any answer is long."""
    report, _ = tried(lambda asked: Told(raw=raw))
    assert "The server sent more than 16 MB in one answer" in report.obstacle
    assert report.exit_code == 2


@pytest.mark.parametrize("beginning", [b"HTTP/1.1 200 OK\r\nX-Y: ", HEAD + b"Content-Length: 9999\r\n\r\n"])
def test_an_answer_that_drips(beginning: bytes) -> None:
    """The time is that of the whole answer, not that between two bytes."""
    over = threading.Event()

    def drip(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(beginning)
            while not over.wait(0.05):
                try:
                    connection.sendall(b" ")
                except OSError:
                    return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=drip, args=(listener,))
        thread.start()
        report = run(Target(f"http://127.0.0.1:{listener.getsockname()[1]}", TOKEN, timeout=0.5))
        over.set()
        thread.join()
    assert "did not answer in time" in report.obstacle


def test_cookies_are_not_kept() -> None:
    """Nothing that one answer brings goes along with the next request."""
    _, asked = tried(
        lambda asked: Told(headers={"Set-Cookie": "who=first; Path=/"}, body=b'{"containers":[]}')
    )
    assert len(asked) > 1
    assert not any("cookie" in one.headers for one in asked)


def test_a_server_that_repeats_the_token() -> None:
    """Whole, in part, or where the text is cut: it is in no report."""

    def answer(asked: Asked) -> Told | None:
        if asked.method == "GET":
            return None
        return Told(
            500, f"{asked.headers['authorization']} {'x' * 200} {asked.headers['authorization']}".encode()
        )

    report, _ = tried(answer, "keys", "containers")
    assert report.exit_code == 1
    for text in texts(report):
        assert not any(TOKEN[at : at + 16] in text for at in range(len(TOKEN) - 15))
        assert HIDDEN in text


def test_a_redirect_that_repeats_the_token() -> None:
    """The token does not follow, and the sentence is without it."""
    report, asked = tried(lambda asked: Told(302, headers={"Location": f"http://localhost:1/?token={TOKEN}"}))
    assert "sends on to http://localhost:1/?token=[token]" in report.obstacle
    assert len(asked) == 1


def test_hiding() -> None:
    """Large pieces of a secret go, short secrets and all else stay."""
    assert hidden(f"<{TOKEN[5:40]}> {TOKEN}!", [TOKEN, "short"]) == f"<{HIDDEN}> {HIDDEN}!"
    assert hidden(f"short {TOKEN[:9]}", [TOKEN, "short"]) == f"short {TOKEN[:9]}"
    assert fit("\x1b[2J\n\ud800", []) == "\\x1b[2J\\n\\ud800"


def test_notes_cannot_play_with_a_terminal() -> None:
    """What is undecided for what the server says is told without control characters, in every form."""

    def answer(asked: Asked) -> Told | None:
        return None if asked.method == "GET" else Told(500, b"\x1b[2J\x07\nevil\xc2\x85")

    report, _ = tried(answer, "ingress")
    assert any("\\x1b[2J" in verdict.note for verdict in report.verdicts)
    text, data, xml = texts(report)
    assert all(c.isprintable() for c in text.replace("\n", ""))
    assert json.loads(data)["requirements"]
    assert ElementTree.fromstring(xml).findall(".//skipped")


@pytest.mark.parametrize("id_", ["", "x/../../ssh-keys/1", "..", "a?b", "a\r\nX: y", " ", "x" * 5000])
def test_ids_that_lead_elsewhere(id_: str) -> None:
    """Nothing is deleted under a path that an answer has bent; it is told as left behind."""

    def answer(asked: Asked) -> Told | None:
        made = 7 if asked.path == "/compute/ssh-keys" else id_
        return told({"id": made, "status": "pending"}) if asked.method == "POST" else None

    report, asked = tried(answer, "containers")
    assert report.exit_code == 1
    assert {one.path for one in asked if one.method == "DELETE"} <= {
        "/compute/ssh-keys/7",
        "/compute/ssh-keys/0",
    }
    assert any(path.startswith("/compute/containers/") for path in report.left_behind)


@pytest.mark.parametrize("name", ["mine", "prefix"])
def test_what_was_there_before_is_spared(name: str) -> None:
    """Not even a server that gives it for new, under the run's own name, gets it deleted or changed."""
    mine = {"id": "mine0001", "name": "mine", "status": "running"}

    def answer(asked: Asked) -> Told | None:
        if asked.path == "/compute/containers":
            return told({"containers": [mine]}) if asked.method == "GET" else told(mine)
        return told({"id": 7}) if asked.method == "POST" else None

    def renamed(asked: Asked) -> Told | None:
        said = answer(asked)
        if name == "prefix" and asked.method == "POST":
            mine["name"] = "conformance-000000-1"
        return said

    report, asked = tried(renamed, "containers", "lifecycle", "mounts")
    assert report.exit_code == 1
    assert any("that was there before the run: mine0001" in verdict.seen for verdict in report.deviations)
    assert not [one for one in asked if "mine0001" in one.path and one.method != "GET"]


def test_what_cannot_be_deleted_is_told() -> None:
    """Also where a check has made and tried it, and no list has it."""

    def answer(asked: Asked) -> Told | None:
        if asked.method == "DELETE":
            return told({"error": "no", "code": "internal"}, 500)
        return told({"id": 4711}) if (asked.method, asked.path) == ("POST", "/compute/ssh-keys") else None

    report, _ = tried(answer, "keys")
    assert report.left_behind == ("/compute/ssh-keys/4711",)
    assert "Left behind, since it could not be deleted: /compute/ssh-keys/4711" in table.text(report)


def test_a_handshake_that_is_not_answered() -> None:
    """The sentence has the path without the token in its query."""
    with hostile(lambda asked: Told(raw=b"")) as (url, _):
        wire = Wire(Target(url, TOKEN))
        with pytest.raises(Lost) as caught:
            Socket(wire, "/compute/ws", token=TOKEN, in_query=True)
        wire.close()
    assert "handshake of /compute/ws." in str(caught.value)


def test_messages_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A WebSocket brings so much and no more, in one message or in many."""
    monkeypatch.setattr(sockets, "_MOST", 1024 * 1024)
    many, one = b"\x81\x02{}" * 400_000, b"\x01\x7f" + (1 << 40).to_bytes(8, "big") + bytes(2 * 1024 * 1024)
    for frames in (many, one):

        def answer(asked: Asked, frames: bytes = frames) -> Told:
            accept = sockets.generate_accept_token(asked.headers["sec-websocket-key"].encode()).decode()
            head = f"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
            return Told(raw=head.encode() + frames)

        with hostile(answer) as (url, _):
            wire = Wire(Target(url, TOKEN))
            with Socket(wire, "/compute/ws") as opened, pytest.raises(Lost, match="more than any check"):
                all(iter(lambda opened=opened: opened.receive(5.0), None))
            wire.close()


def test_pings_to_a_server_that_does_not_read() -> None:
    """One answer that is not taken is waited for, not each of them."""
    over = threading.Event()

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            key = connection.recv(65536).partition(b"Sec-WebSocket-Key: ")[2].partition(b"\r\n")[0]
            accept = sockets.generate_accept_token(key).decode()
            connection.sendall(f"HTTP/1.1 101 X\r\nSec-WebSocket-Accept: {accept}\r\n\r\n".encode())
            connection.settimeout(0.1)
            while not over.is_set():
                with suppress(OSError):
                    connection.sendall(b"\x89\x7d" + bytes(125))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        wire = Wire(Target(f"http://127.0.0.1:{listener.getsockname()[1]}", TOKEN, timeout=0.2))
        with Socket(wire, "/compute/ws") as opened:
            ended = opened.receive(60.0)
        wire.close()
        over.set()
        thread.join()
    assert ended == sockets.GONE


NASTY = "a'b\"c`d$(e)\\f{g}\x1b[2J\n# h;i 😀 \ud800"


def test_scripts_quote_whatever_a_server_says() -> None:
    """A literal is the same text again in Python and for a shell, and no terminal obeys it."""
    history = History()
    made = history.answered(Request("POST", "/compute/containers", "first", {}), 200, {"id": "abc12345"})
    history.add(made)
    history.add(Request("GET", f"/x/{NASTY}/abc12345", None))
    history.add(Request("GET", f"/x/{NASTY}", None))
    python, curl = as_python(history, f"http://h/{NASTY}"), as_curl(history, f"http://h/{NASTY}")
    assert all(c.isprintable() for c in (python + curl).replace("\n", ""))
    said: list[Any] = []

    class Replay:
        def __init__(self, url: str) -> None:
            said.append(url)

        def secret(self, name: str) -> str:
            return name

        def send(self, method: str, path: str, **more: Any) -> Any:
            said.append(path)
            return type("Answer", (), {"body": {"id": "new00000"}})

    exec(python.partition("\n")[2], {"Replay": Replay})
    wanted = [f"http://h/{NASTY}", "/compute/containers", f"/x/{NASTY}/new00000", f"/x/{NASTY}"]
    assert said == wanted
    loop = 'for word; do case $word in http*) printf "%s\\0" "$word" >&2; esac; done'
    shell = f"curl() {{ {loop}; echo new00000; }}\n"
    done = subprocess.run(
        ["bash", "-eu", "-c", f"jq() {{ cat; }}\n{shell}{curl}"],
        env={"ECOMPUTE_TOKEN": "t", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        timeout=30,
        check=True,
    )
    urls = [text.decode("utf-8", "surrogatepass") for text in done.stderr.split(b"\0")[:-1]]
    assert urls == [f"http://h/{NASTY}{path}" for path in wanted[1:]]
