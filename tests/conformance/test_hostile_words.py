"""WebSockets without end, and whatever a server says in the scripts of a report."""

from __future__ import annotations

import socket
import subprocess
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from ecompute.conformance import Target, sockets
from ecompute.conformance.history import History, Request
from ecompute.conformance.retelling import as_curl, as_python
from ecompute.conformance.sockets import Socket
from ecompute.conformance.verdict import Lost
from ecompute.conformance.wire import Wire
from tests.conformance.hostile import TOKEN, Asked, Told, hostile


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


def test_scripts_quote_whatever_a_server_says(tmp_path: Path) -> None:
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
    loop = 'for word; do case $word in http*) printf "%s\\0" "$word" >> "$URLS"; esac; done'
    shell = f"curl() {{ {loop}; echo new00000; }}\n"
    subprocess.run(
        ["bash", "-eu", "-c", f"jq() {{ cat; }}\ntee() {{ cat; }}\n{shell}{curl}"],
        env={"ECOMPUTE_TOKEN": "t", "PATH": "/usr/bin:/bin", "URLS": str(tmp_path / "urls")},
        capture_output=True,
        timeout=30,
        check=True,
    )
    said_by_curl = (tmp_path / "urls").read_bytes()
    urls = [text.decode("utf-8", "surrogatepass") for text in said_by_curl.split(b"\0")[:-1]]
    assert urls == [f"http://h/{NASTY}{path}" for path in wanted[1:]]
