"""How many requests a second the server answers, against a bare Starlette application that returns the same
bytes under the same HTTP server.

Each is a process of its own on the loopback interface, asked over the same few connections by turns in one
run, so that a noisy machine hurts both; what counts is the ratio. The user has three containers; the store
has 10 and then 10,000.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ecompute_server.store.database import SqliteFile
from ecompute_server.testing import RunningServer, running_server

CONNECTIONS = 8
REQUESTS = 4000
ROUNDS = 7
PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIzaa/8na28UvdjmnFylx1dNh7bL6NicXsin11lguhE6"

BARE = """
import asyncio, json, sys
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from ecompute_server.http.serving import Server, listen

bodies = json.loads(sys.stdin.readline())

async def answer(request: Request) -> Response:
    return Response(bodies[request.url.path], media_type="application/json")

routes = [Route("/compute/containers", answer), Route("/compute/containers/{id}", answer)]

async def main():
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        server = Server(Router(routes), started=lambda: print(port, flush=True))
        await server.serve(sockets=[listener])

asyncio.run(main())
"""


def rate(port: int, request: bytes, *, count: int = REQUESTS) -> float:
    """Requests a second over some kept connections, each with one request under way."""
    with contextlib.ExitStack() as stack, selectors.DefaultSelector() as selector:
        for _ in range(CONNECTIONS):
            link = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            selector.register(link, selectors.EVENT_READ)
            link.sendall(request)
        size = len(b"\r\n\r\n".join(ask(port, request)))
        left, started = count, time.perf_counter()
        partial: dict[socket.socket, int] = {}
        while left:
            for key, _events in selector.select():
                link = key.fileobj
                assert isinstance(link, socket.socket)
                came = partial.get(link, 0) + len(link.recv(65536))
                if came >= size:
                    came = 0
                    left -= 1
                    link.sendall(request)
                partial[link] = came
                if not left:
                    break
        return count / (time.perf_counter() - started)


def ask(port: int, request: bytes) -> tuple[bytes, bytes]:
    """Head and body of one answer, which must be a success."""
    with socket.create_connection(("127.0.0.1", port)) as link:
        link.sendall(request)
        answer = b""
        while True:
            head, end, body = answer.partition(b"\r\n\r\n")
            fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
            if end and len(body) >= int(fields[b"content-length"]):
                break
            answer += link.recv(65536)
    if b" 200 " not in head.partition(b"\r\n")[0]:
        raise RuntimeError(f"The answer is no success: {answer[:200]!r}")
    return head, body


def _get(path: str, token: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {token}\r\n\r\n".encode()


@contextlib.contextmanager
def bare(bodies: dict[str, str]) -> Iterator[int]:
    """The bare application; gives its port."""
    child = subprocess.Popen(
        [sys.executable, "-c", BARE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(json.dumps(bodies) + "\n")
        child.stdin.flush()
        yield int(child.stdout.readline())
    finally:
        child.terminate()
        child.wait()


@contextlib.contextmanager
def serving(state: Path) -> Iterator[RunningServer]:
    """The server as a process of its own, on the simulated host."""
    with running_server(state=state, in_process=False) as server:
        yield server


def populate(state: Path, count: int) -> None:
    """Containers of other users, until there are `count` in all; no server may be running."""

    async def insert() -> None:
        file = SqliteFile(state / "ecompute.db")
        try:
            await file.write(
                lambda db: db.conn.execute(
                    """
                    INSERT INTO containers SELECT printf('z%07d', n), 'nobody' || (n / 3), name,
                        instance_type, memory_mb, storage_gb, mount_paths, ssh_enabled, authorized_keys,
                        created_at,
                        printf('10.%d.%d.%d', n / 65536, n / 256 % 256, n % 256), ssh_host_key, image,
                        'stopped', generation, reason, deleted, ingress, rules_made
                    FROM (SELECT * FROM containers LIMIT 1),
                        (WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers LIMIT ?)
                         SELECT n FROM numbers)
                    """,
                    [count - db.table("containers").count],
                )
            )
        finally:
            file.close()

    asyncio.run(insert())


def measure(rounds: int = ROUNDS) -> dict[str, Any]:
    """Ratios of rates: ours to the bare one's, and with 10 to with 10,000 containers; medians of rounds."""
    with contextlib.ExitStack() as stack:
        folders = {
            count: Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
            for count in (10, 10_000)
        }
        servers: dict[int, tuple[RunningServer, str]] = {}
        for count, folder in folders.items():
            with serving(folder) as server, server.client() as client:
                key = client.ssh_keys.add("bench", PUBLIC_KEY)
                for name in ("one", "two", "three"):
                    box = client.containers.create(name, [key.id])
                    client.containers.wait(box.id, "running")
            populate(folder, count)
            server = stack.enter_context(serving(folder))
            servers[count] = (server, box.id)
        few, id_ = servers[10]
        paths = {"list": "/compute/containers", "get": f"/compute/containers/{id_}"}
        bodies = {path: _body(few, path) for path in paths.values()}
        bare_port = stack.enter_context(bare(bodies))
        figures: dict[str, Any] = {}
        for name, path in paths.items():
            rates: dict[str, list[float]] = {"bare": [], "10": [], "10000": []}
            asked = {"bare": (bare_port, _get(path, few.token))}
            for count, (server, own_id) in servers.items():
                port = urlsplit(server.url).port
                assert port is not None
                asked[str(count)] = (port, _get(path.replace(id_, own_id), server.token))
            for round_ in range(rounds + 1):
                # in turn from the front and from the back: who comes first finds another machine
                for which in [*asked][:: -1 if round_ % 2 else 1]:
                    rates[which].append(rate(*asked[which]))
            # the first round warms up
            kept = {which: values[1:] for which, values in rates.items()}
            figures[name] = {
                "per_second": {which: statistics.median(values) for which, values in kept.items()},
                "to_bare": _ratio(kept["10"], kept["bare"]),
                "10_to_10000": _ratio(kept["10"], kept["10000"]),
            }
        return figures


def _ratio(ours: list[float], theirs: list[float]) -> float:
    return statistics.median(one / other for one, other in zip(ours, theirs, strict=True))


def _body(server: RunningServer, path: str) -> str:
    return ask(urlsplit(server.url).port or 0, _get(path, server.token))[1].decode()


def main() -> None:
    """Print the figures."""
    for name, figures in measure().items():
        rates = ", ".join(f"{which} {value:.0f}/s" for which, value in figures["per_second"].items())
        print(
            f"{name}: {rates}; to a bare application {figures['to_bare']:.2f},"
            f" with 10 to with 10,000 containers {figures['10_to_10000']:.2f}"
        )


if __name__ == "__main__":
    main()
