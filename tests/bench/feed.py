"""How long an event is on its way from the store's commit to those who watch: 1 and 1,000 subscribers.

Three processes take part, so that who measures does not hold up who serves: the real `serve` on the simulated
host, the subscribers, and this one, which stops and starts a container over HTTP. All read one clock
(CLOCK_MONOTONIC). A way begins where the store has committed the change and hands it to the feed
(`Broadcast.publish`, whose time the server's process notes), and ends where a subscriber's process has the
whole message out of its socket. Each event counts once for every subscriber. They are read one after another,
so that the later ones' times hold the work of the process that measures as well. `request` is the way from
before the HTTP request was sent to the first subscriber's receipt of the first event that it caused: an upper
bound without the server's own word.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import resource
import select
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

PAUSE = 0.05
"""Seconds between two requests, once all that the former caused has arrived."""


# --- the server's process


def serve(notes: str, arguments: Sequence[str]) -> None:
    """`ecompute-server` with those arguments; when each event was handed over goes to the file `notes`."""
    from ecompute_server.__main__ import main as server_command
    from ecompute_server.broadcast import Broadcast
    from ecompute_server.core.presentation import news

    publish = Broadcast.publish
    file = os.open(notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def publish_and_note(self: Broadcast, before: Any, after: Any) -> None:
        at = time.monotonic_ns()
        publish(self, before, after)
        if news(before, after) is not None:
            os.write(file, f"{at} {after.id} {after.life.status}\n".encode())

    Broadcast.publish = publish_and_note  # type: ignore[method-assign]
    sys.argv = ["ecompute-server", *arguments]
    server_command()


# --- the subscribers' process


class Subscriber:
    """One WebSocket, with no more parsing than the clock allows."""

    def __init__(self, host: str, port: int, token: str) -> None:
        self.link = socket.create_connection((host, port))
        lines = [
            "GET /compute/ws HTTP/1.1",
            f"Host: {host}:{port}",
            "Connection: Upgrade",
            "Upgrade: websocket",
            f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
            "Sec-WebSocket-Version: 13",
            f"Authorization: Bearer {token}",
        ]
        self.link.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        self.waiting = bytearray()
        while b"\r\n\r\n" not in self.waiting:
            self.waiting += self._receive()
        head, _, rest = bytes(self.waiting).partition(b"\r\n\r\n")
        if b" 101 " not in head:
            raise RuntimeError(f"no WebSocket: {head!r}")
        self.waiting = bytearray(rest)
        self.times: list[int] = []
        self.messages: list[bytes] = []
        self._parse(time.monotonic_ns())

    def read(self) -> None:
        """Take what has come; everything that is whole gets the time of now."""
        self.waiting += self._receive()
        self._parse(time.monotonic_ns())

    def _parse(self, now: int) -> None:
        while (frame := self._frame()) is not None:
            opcode, payload = frame
            if opcode == 9:
                self.link.sendall(bytes([0x8A, 0x80 | len(payload)]) + b"\0\0\0\0" + payload)
            elif opcode == 1:
                self.times.append(now)
                self.messages.append(payload)
            else:
                raise RuntimeError(f"the server sent a frame of opcode {opcode}")

    def _receive(self) -> bytes:
        data = self.link.recv(65536)
        if not data:
            raise RuntimeError("the server hung up")
        return data

    def _frame(self) -> tuple[int, bytes] | None:
        data = self.waiting
        if len(data) < 2:
            return None
        size, start = data[1], 2
        if size == 126:
            size, start = int.from_bytes(data[2:4], "big"), 4
        if len(data) < start + size:
            return None
        frame = data[0] & 0xF, bytes(data[start : start + size])
        del data[: start + size]
        return frame


def subscribe(url: str, token: str, count: int) -> None:
    """Open that many. Each line of standard input names a number of messages, and is answered by a line when
    every subscriber has as many; at the end of the input all times are told as JSON.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    place = urlsplit(url)
    poll = select.epoll()
    subscribers: dict[int, Subscriber] = {}
    for _ in range(count):
        one = Subscriber(place.hostname or "", place.port or 0, token)
        subscribers[one.link.fileno()] = one
        poll.register(one.link, select.EPOLLIN)
    orders = sys.stdin.fileno()
    poll.register(orders, select.EPOLLIN)
    wanted, lacking = 0, set(subscribers)
    while True:
        for descriptor, _ in poll.poll():
            if descriptor == orders:
                line = os.read(orders, 64)
                if not line:
                    return _tell([*subscribers.values()])
                wanted = int(line)
                lacking = {key for key, one in subscribers.items() if len(one.messages) < wanted}
            else:
                subscribers[descriptor].read()
                if len(subscribers[descriptor].messages) >= wanted:
                    lacking.discard(descriptor)
        if wanted and not lacking:
            wanted = 0
            print("all", flush=True)


def _tell(subscribers: list[Subscriber]) -> None:
    first = subscribers[0].messages
    if any(one.messages != first for one in subscribers):
        raise RuntimeError("subscribers of one user were told different things")
    messages = [json.loads(message) for message in first]
    json.dump({"messages": messages, "times": [one.times for one in subscribers]}, sys.stdout)


# --- this process


class Api:
    """The server over one connection that stays."""

    def __init__(self, url: str, token: str) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc)
        self._headers = {"Authorization": f"Bearer {token}"}

    def call(self, method: str, path: str, body: Any = None) -> Any:
        text = None if body is None else json.dumps(body)
        self._connection.request(method, path, text, self._headers)
        answer = self._connection.getresponse()
        said = json.loads(answer.read())
        if answer.status != 200:
            raise RuntimeError(f"{method} {path} was refused: {said}")
        return said


@contextmanager
def server(folder: Path) -> Iterator[tuple[str, str, Path]]:
    """A server in a process of its own: its address, a token, and where it notes its commits."""
    notes, state = folder / "commits", str(folder / "state")
    command = [sys.executable, "-m", "ecompute_server"]
    user = ["user", "add", "bench", "--password-stdin", "--state", state]
    subprocess.run([*command, *user], input="bench password", text=True, check=True, capture_output=True)
    made = ["token", "create", "--user", "bench", "--state", state]
    token = subprocess.run([*command, *made], text=True, check=True, capture_output=True).stdout.strip()
    options = ["serve", "--state", state, "--port", "0", "--hypervisor", "simulated"]
    measured = [sys.executable, __file__, "--serve", str(notes), *options]
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(measured, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        try:
            assert process.stdout is not None
            yield process.stdout.readline().split()[1], token, notes
        finally:
            process.terminate()
            process.wait()


def measure(subscribers: int, rounds: int = 50) -> dict[str, float]:
    """Stop and start a container so many times; the times are in milliseconds."""
    with tempfile.TemporaryDirectory() as folder, server(Path(folder)) as (url, token, notes):
        api = Api(url, token)
        key = ed25519.Ed25519PrivateKey.generate().public_key()
        line = key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
        key_id = api.call("POST", "/compute/ssh-keys", {"name": "bench", "public_key": line})["id"]
        box = api.call("POST", "/compute/containers", {"name": "bench", "ssh_key_ids": [key_id]})["id"]
        path = f"/compute/containers/{box}"
        while api.call("GET", path)["status"] != "running":
            time.sleep(0.01)
        before = len(notes.read_text().splitlines())
        command = [sys.executable, __file__, "--subscribe", url, token, str(subscribers)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as watching:
            assert watching.stdin is not None
            assert watching.stdout is not None

            def wait_for(messages: int) -> None:
                assert watching.stdin is not None
                assert watching.stdout is not None
                watching.stdin.write(f"{messages}\n")
                watching.stdin.flush()
                if not watching.stdout.readline():
                    raise RuntimeError("the subscribers failed")

            expected, asked = 1, []
            wait_for(expected)
            for _ in range(rounds):
                for action, events in (("stop", 1), ("start", 3)):
                    time.sleep(PAUSE)
                    asked.append((expected, time.monotonic_ns()))
                    api.call("POST", f"{path}/{action}")
                    expected += events
                    wait_for(expected)
            watching.stdin.close()
            told = json.loads(watching.stdout.read())
        commits = [entry.split() for entry in notes.read_text().splitlines()[before:]]
        return _figures(commits, told["messages"], told["times"], asked)


def _figures(
    commits: list[list[str]], messages: list[Any], times: list[list[int]], asked: list[tuple[int, int]]
) -> dict[str, float]:
    statuses = [message["data"]["status"] for message in messages[1:]]
    if statuses != [status for _, _, status in commits]:
        raise RuntimeError("the feed told something else than was committed")
    ways = [
        arrived - int(at)
        for arrivals in times
        for (at, _, _), arrived in zip(commits, arrivals[1:], strict=True)
    ]
    requests = [times[0][index] - at for index, at in asked]
    return {
        "subscribers": len(times),
        "events": len(commits),
        "p50": _quantile(ways, 0.5),
        "p99": _quantile(ways, 0.99),
        "worst": _quantile(ways, 1),
        "request p50": _quantile(requests, 0.5),
        "request p99": _quantile(requests, 0.99),
    }


def _quantile(nanoseconds: list[int], part: float) -> float:
    ordered = sorted(nanoseconds)
    return ordered[min(int(len(ordered) * part), len(ordered) - 1)] / 1e6


TARGETS = {1: 5.0, 1000: 50.0}
"""p99 in milliseconds, by subscribers."""


def main() -> None:
    """Print the figures, and which of them are worse than they should be."""
    print(f"{os.cpu_count()} processors; load before {os.getloadavg()[0]:.1f}, which should be near 0")
    for subscribers, target in TARGETS.items():
        found = measure(subscribers)
        verdict = "ok" if found["p99"] <= target else "MISSED"
        print(
            f"an event's way to {subscribers:>4} subscribers: p50 {found['p50']:.2f} ms, "
            f"p99 {found['p99']:.2f} ms (at most {target:g}: {verdict}), worst {found['worst']:.2f} ms; "
            f"with the request p50 {found['request p50']:.2f} ms, p99 {found['request p99']:.2f} ms"
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(sys.argv[2], sys.argv[3:])
    elif sys.argv[1:2] == ["--subscribe"]:
        subscribe(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    else:
        main()
