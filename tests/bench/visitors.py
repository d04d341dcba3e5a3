"""Those who ask in the gateway's bench. Each function measures one thing on a port of the loopback interface.

Requests are made by wrk and big downloads by curl, so that who asks is compiled; the rest asks the kernel for
so little that Python is good enough.
"""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path

from attrs import frozen

LOOPBACK = "127.0.0.1"
TIMEOUT = 60

_SCRIPT = """
-- the site's name leads to this host, whatever the resolver says of it
wrk.resolve = function(host, service) wrk.addrs = wrk.lookup("127.0.0.1", service) end
done = function(summary, latency, requests)
    local errors = summary.errors
    io.stderr:write(string.format('{"requests": %d, "microseconds": %d, "p50": %d, "p99": %d, "errors": %d}',
        summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
        errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
"""


@frozen
class Rate:
    """Of requests over some connections, each with one under way."""

    per_second: float
    p50: float
    """Microseconds."""
    p99: float


def requests(folder: Path, url: str, *, connections: int, seconds: int, close: bool = False) -> Rate:
    """`close` makes a new connection for each request."""
    script = folder / "wrk.lua"
    script.write_text(_SCRIPT)
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(script)]
    if close:
        command += ["-H", "Connection: close"]
    said = subprocess.run([*command, url], check=True, capture_output=True, text=True, timeout=TIMEOUT)
    told = json.loads(said.stderr)
    if told["errors"] or not told["requests"]:
        raise RuntimeError(f"Requests failed: {told}")
    return Rate(told["requests"] / told["microseconds"] * 1e6, told["p50"], told["p99"])


def download(url: str, size: int, *options: str) -> float:
    """MB a second, of a file of that size."""
    command = ["curl", "-s", "-o", "/dev/null", "-w", "%{size_download} %{time_total}", *options, url]
    said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=TIMEOUT).stdout.split()
    if int(said[0]) != size:
        raise RuntimeError(f"{url} was not downloaded whole: {said[0]} bytes")
    return size / float(said[1]) / 1e6


def upload(port: int, size: int) -> float:
    """MB a second into the sink."""
    piece = memoryview(bytes(1 << 20))
    with socket.create_connection((LOOPBACK, port), timeout=TIMEOUT) as link:
        started, left = time.perf_counter(), size
        while left:
            left -= link.send(piece[:left])
        link.shutdown(socket.SHUT_WR)
        if link.recv(1) != b"!":
            raise RuntimeError("The upload did not arrive.")
        return size / (time.perf_counter() - started) / 1e6


def round_trips(port: int, count: int) -> Rate:
    """Of one byte to the echo, on one connection."""
    times = []
    with socket.create_connection((LOOPBACK, port), timeout=TIMEOUT) as link:
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(count):
            started = time.perf_counter()
            link.send(b"x")
            if link.recv(1) != b"x":
                raise RuntimeError("The echo is wrong.")
            times.append(time.perf_counter() - started)
    total = sum(times)
    times.sort()
    return Rate(count / total, times[count // 2] * 1e6, times[count * 99 // 100] * 1e6)


def hold(stack: ExitStack, port: int, count: int, *, name: str | None = None) -> None:
    """Open so many connections, over TLS where there is a name, and ask one request over each."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    request = f"GET / HTTP/1.1\r\nHost: {name or 'bench'}\r\n\r\n".encode()
    for _ in range(count):
        link = stack.enter_context(socket.create_connection((LOOPBACK, port), timeout=TIMEOUT))
        if name is not None:
            link = stack.enter_context(context.wrap_socket(link, server_hostname=name))
        link.sendall(request)
        answer = b""
        while not answer.endswith(b"hello\n"):
            data = link.recv(4096)
            if not data:
                raise RuntimeError(f"No answer: {answer!r}")
            answer += data


def resident(pid: int) -> float:
    """The memory of a process in MB, as the kernel counts it."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError(f"Process {pid} has no memory.")
