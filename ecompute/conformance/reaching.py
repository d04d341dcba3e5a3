"""Containers from outside: what listens in them, and what is reached on their addresses."""

from __future__ import annotations

import socket
import ssl

from .lab import Lab
from .terminals import Command
from .verdict import NotThere

Reply = bytes | None
"""What a web server sends, without its head; None when nothing answers."""

_MOST = 64 * 1024

# each guest has one or the other
_SERVERS = (
    "httpd -p {port} -h {place}",
    "busybox httpd -p {port} -h {place}",
    "(python3 -m http.server {port} --directory {place} </dev/null >/dev/null 2>&1 & sleep 1; kill -0 $!)",
)


def serve_page(lab: Lab, container: str, port: int, text: str) -> Reply:
    """Have a web server in a container that runs, and tell what it sends.

    Raises:
        NotThere: its guest has no web server.
    """
    place = f"/tmp/conformance-{port}"
    starting = " || ".join(server.format(port=port, place=place) for server in _SERVERS)
    command = f"mkdir -p {place} && echo {text} > {place}/index.html && ({starting}) 2>/dev/null"
    if Command.run(lab, container, command).statuses != [0]:
        raise NotThere("The guest has no web server that the kit knows to start.")
    return f"{text}\n".encode()


def fetch(lab: Lab, address: str, port: int, host: str) -> Reply:
    """The page that a web server on an address sends, over TLS on port 443."""
    request = f"GET /index.html HTTP/1.0\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
    try:
        with socket.create_connection((address, port), timeout=lab.target.timeout) as plain:
            if port != 443:
                return _body(plain, request)
            with _unchecked().wrap_socket(plain, server_hostname=host) as wrapped:
                return _body(wrapped, request)
    except OSError:
        return None


def _unchecked() -> ssl.SSLContext:
    # whose authority signs for containers is the operator's affair, and here the way is looked at, not trust
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _body(connection: socket.socket, request: bytes) -> Reply:
    connection.sendall(request)
    received = b""
    while len(received) < _MOST and (piece := connection.recv(_MOST)):
        received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    return body if b" 200 " in head.partition(b"\r\n")[0] else None
