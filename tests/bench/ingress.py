"""How long after the API's answer a port is open from outside, and closed again, on running guests.

A rule is added and removed over and over. `answer` is the request itself. `open` begins where the client has
the answer to the POST, and ends where a visitor's connection is taken; `served` ends where the guest's web
server has answered over it. `closed` begins at the answer to the DELETE and ends where a visitor is refused.
Visitors try again at once, so a time holds the last try as well. `--json FILE` writes the figures down.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import socket
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "images"))

import plain_qemu  # type: ignore[import-not-found]

import ecompute
from ecompute_server.gateway.ports import can_bind_low_ports
from ecompute_server.testing import RunningServer, running_server

TYPES = {"arm64": "micro", "amd64": "tiny"}
MEMORY_MB = 192
FIRST_PORT = 8000
TARGET = 3000
TARGET_MS = 50
SERVE = "mkdir -p /srv/www && echo hello >/srv/www/index.html && httpd -h /srv/www -p"
HOW_LONG = 30.0
STEPS = ("answer", "open", "served", "closed")


def measure(server: RunningServer, folder: Path, rounds: int, *, port_offset: int) -> dict[str, Any]:
    """By architecture and step: the median and the worst of all rounds, in milliseconds."""
    public = plain_qemu.make_key(folder / "ingress-key")
    figures: dict[str, Any] = {}
    with server.client() as client:
        key_id = client.ssh_keys.add("ingress", public).id
        for arch, kind in TYPES.items():
            box = client.containers.create(arch, [key_id], instance_type=kind, memory_mb=MEMORY_MB)
            box = client.containers.wait(box.id, "running", timeout=120)
            client.run(box.id, f"{SERVE} {TARGET}", check=True)
            times = [_once(client, box, FIRST_PORT + round_, port_offset) for round_ in range(rounds)]
            client.containers.delete(box.id)
            figures[arch] = {
                step: {
                    "median_ms": statistics.median(each[step] for each in times),
                    "worst_ms": max(each[step] for each in times),
                }
                for step in STEPS
            }
    return figures


def _once(client: ecompute.Client, box: ecompute.Container, port: int, port_offset: int) -> dict[str, float]:
    asked = time.monotonic()
    client.ingress.add(box.id, port, target_port=TARGET)
    answered = time.monotonic()
    with _visitor(box.external_ip or "", port + port_offset) as visitor:
        opened = time.monotonic()
        visitor.sendall(b"GET /index.html HTTP/1.0\r\n\r\n")
        if b"hello" not in b"".join(iter(lambda: visitor.recv(65536), b"")):
            raise RuntimeError("The guest's web server did not answer.")
        served = time.monotonic()
    client.ingress.remove(box.id, port)
    removed = time.monotonic()
    while _try(box.external_ip or "", port + port_offset):
        _in_time(removed)
    closed = time.monotonic()
    times = (answered - asked, opened - answered, served - answered, closed - removed)
    return dict(zip(STEPS, (seconds * 1000 for seconds in times), strict=True))


def _visitor(host: str, port: int) -> socket.socket:
    begun = time.monotonic()
    while True:
        try:
            return socket.create_connection((host, port), timeout=HOW_LONG)
        except ConnectionRefusedError:
            _in_time(begun)


def _try(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=HOW_LONG).close()
    except ConnectionRefusedError:
        return False
    return True


def _in_time(begun: float) -> None:
    if time.monotonic() - begun > HOW_LONG:
        raise RuntimeError(f"A port did not open or close within {HOW_LONG:g} seconds.")


def tell(figures: dict[str, Any]) -> None:
    """One line for each architecture and step."""
    words = {
        "answer": "rule added (answered)",
        "open": "answer → port open from outside",
        "served": "answer → the guest has answered a visitor",
        "closed": "rule removed → port closed",
    }
    for arch in TYPES:
        for step in STEPS:
            row = figures[arch][step]
            median, worst = row["median_ms"], row["worst_ms"]
            met = f", target {TARGET_MS} ms: {'met' if worst <= TARGET_MS else 'MISSED'}" * (step == "open")
            print(f"{arch}: {words[step]} {median:.1f} ms, worst {worst:.1f} ms{met}")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    port_offset = 0 if can_bind_low_ports() else 20000
    with (
        tempfile.TemporaryDirectory(prefix="ecompute-bench-") as name,
        running_server(hypervisor="libvirt", port_offset=port_offset) as server,
    ):
        figures = measure(server, Path(name), options.rounds, port_offset=port_offset)
    tell(figures)
    if options.json:
        figures["machine"] = f"{platform.machine()}, {len(os.sched_getaffinity(0))} processors"
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
