"""A server whose every byte a test decides: threads on loopback sockets, HTTP/1.1 and WebSockets.

A test gives one function that is called for each request. What it raises is kept and raised at the end.
"""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, TextMessage
from wsproto.utilities import generate_accept_token

LIMIT = 20.0  # seconds after which a test that waits is stuck


class Hangup(Exception):
    """The client is gone."""


class Request:
    """One request, and the ways to answer it."""

    def __init__(self, wire: Wire, method: str, target: str, headers: dict[str, str], body: bytes) -> None:
        self.wire = wire
        self.method = method
        self.target = target
        self.path = target.partition("?")[0]
        self.headers = headers
        self.body = body

    def json(self) -> Any:
        return json.loads(self.body)

    def answer(self, data: Any, status: int = 200, **headers: str) -> None:
        body = data if isinstance(data, bytes) else json.dumps(data).encode()
        self.wire.send(render(status, body, headers))

    def refuse(self, status: int, code: str, **headers: str) -> None:
        self.answer({"error": f"No: {code}.", "code": code}, status, **headers)

    def upgrade(self, subprotocol: str | None = None, together_with: bytes = b"") -> Socket:
        accept = generate_accept_token(self.headers["sec-websocket-key"].encode()).decode()
        lines = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"]
        lines.append(f"Sec-WebSocket-Accept: {accept}")
        if subprotocol:
            lines.append(f"Sec-WebSocket-Protocol: {subprotocol}")
        self.wire.send("\r\n".join([*lines, "", ""]).encode() + together_with)
        return Socket(self.wire)


def render(status: int, body: bytes, headers: dict[str, str] | None = None) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", "X-Request-Id: r-1"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


class Wire:
    """One accepted connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.sock.settimeout(LIMIT)
        self._buffer = b""

    def send(self, data: bytes) -> None:
        try:
            self.sock.sendall(data)
        except OSError as error:
            raise Hangup from error

    def receive(self) -> bytes:
        try:
            data = self.sock.recv(65536)
        except TimeoutError:
            raise AssertionError("the client sent nothing more") from None
        except OSError as error:
            raise Hangup from error
        if not data:
            raise Hangup
        return data

    def requests(self) -> Iterator[Request]:
        while True:
            while b"\r\n\r\n" not in self._buffer:
                self._buffer += self.receive()
            head, _, rest = self._buffer.partition(b"\r\n\r\n")
            first, *lines = head.decode().split("\r\n")
            headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
            size = int(headers.get("content-length", "0"))
            while len(rest) < size:
                rest += self.receive()
            self._buffer = rest[size:]
            method, target, _ = first.split(" ")
            yield Request(self, method, target, headers, rest[:size])

    def drop(self) -> None:
        """End at once, with whatever was sent before."""
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()
        raise Hangup


class Socket:
    """The server's end of a WebSocket."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.framing = Connection(ConnectionType.SERVER)
        self._events: Iterator[Event] = iter(())

    def send(self, event: Event) -> None:
        self.wire.send(self.framing.send(event))

    def tell(self, type_: str, data: Any) -> None:
        self.send(TextMessage(json.dumps({"type": type_, "data": data})))

    def snapshot(self, **statuses: str) -> None:
        self.tell("containers", [{"id": i, "name": i, "status": s} for i, s in statuses.items()])

    def status(self, id_: str, status: str, **more: str) -> None:
        self.tell("container_status", {"container_id": id_, "status": status, **more})

    def output(self, data: bytes) -> None:
        self.send(BytesMessage(data))

    def receive(self) -> Event:
        """The next event; closing is answered and then raised as `Hangup`."""
        while True:
            for event in self._events:
                if isinstance(event, Ping):
                    self.send(event.response())
                elif isinstance(event, CloseConnection):
                    with suppress(Hangup):
                        self.send(event.response())
                    raise Hangup
                else:
                    return event
            self.framing.receive_data(self.wire.receive())
            self._events = self.framing.events()

    def serve_until_closed(self) -> None:
        while True:
            self.receive()

    def close(self, code: int = 1000, reason: str | None = None) -> None:
        self.send(CloseConnection(code, reason))
        with suppress(Hangup):
            while True:
                self.framing.receive_data(self.wire.receive())
                if any(isinstance(event, CloseConnection) for event in self.framing.events()):
                    break
        self.wire.drop()


class FakeServer:
    """Listens on loopback; `handle` is called on a thread per connection. `seen` holds all requests."""

    def __init__(self, handle: Callable[[Request], None], tls: ssl.SSLContext | None = None) -> None:
        self._handle = handle
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"{'https' if tls else 'http'}://localhost:{self._listener.getsockname()[1]}"
        self.seen: list[Request] = []
        self.failures: list[BaseException] = []
        self._wires: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, name="fake-accept")]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self._wires.append(sock)
            thread = threading.Thread(target=self._serve, args=(sock,), name="fake-serve")
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket) -> None:
        try:
            if self._tls is not None:
                sock.settimeout(LIMIT)
                sock = self._tls.wrap_socket(sock, server_side=True)
            wire = Wire(sock)
            for request in wire.requests():
                self.seen.append(request)
                self._handle(request)
        except (Hangup, OSError):
            pass
        except BaseException as error:
            self.failures.append(error)
        finally:
            sock.close()

    def open_connections(self) -> int:
        return sum(thread.is_alive() for thread in self._threads[1:])

    def wait_idle(self) -> None:
        """Until every connection has ended, which the clients have to see to."""
        for thread in self._threads[1:]:
            thread.join(LIMIT)
            assert not thread.is_alive(), "the client left a connection open"

    def stop(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in self._wires:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(LIMIT)
        if self.failures:
            raise self.failures[0]


@contextmanager
def serving(handle: Callable[[Request], None], tls: ssl.SSLContext | None = None) -> Iterator[FakeServer]:
    server = FakeServer(handle, tls)
    try:
        yield server
    finally:
        server.stop()
