"""A server that says what a test wants it to say, and remembers what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from attrs import field, frozen

from ecompute.conformance import Report, Target, run
from ecompute.conformance.report import documents, table

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
