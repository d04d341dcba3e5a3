"""How fast a container is there, against QEMU started by hand with the same kernel and initramfs: `make
bench`.

Both are measured in turn in one run, so that a noisy machine hurts both; what counts is the ratio. By hand
means: plain QEMU, the same memory, processor and devices, identity given over the agent's port as the
server does it. `--json FILE` writes the figures down.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shlex
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "images"))

import plain_qemu  # type: ignore[import-not-found]

import ecompute
from ecompute_server.images.catalogue import Catalogue, default_cache
from ecompute_server.testing import RunningServer, running_server

TYPES = {"arm64": "micro", "amd64": "tiny"}  # one whole core each, as by hand
MEMORY_MB = 256


class Person:
    """Somebody with one SSH key."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key = folder / "key"
        self.public = plain_qemu.make_key(self.key)

    def log_in(self, host: str, port: int) -> None:
        options = [
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
            "-o",
            "BatchMode=yes",
        ]
        command = [
            "ssh",
            "-F",
            "none",
            "-q",
            "-i",
            str(self.key),
            *options,
            "-p",
            str(port),
            f"root@{host}",
            "true",
        ]
        subprocess.run(command, check=True, timeout=60)


def banner(host: str, port: int) -> None:
    with socket.create_connection((host, port), timeout=60) as connection:
        if not connection.recv(4).startswith(b"SSH"):
            raise RuntimeError("no SSH server answers")


def by_hand(arch: str, person: Person, round_: int) -> dict[str, float]:
    image = Catalogue(default_cache()).find("micro", arch)
    assert image is not None
    folder = person.folder / f"{arch}-{round_}"
    folder.mkdir()
    identity = plain_qemu.make_identity(folder, (person.public,))
    volume = plain_qemu.make_volume(folder / "volume")
    started = time.monotonic()
    with plain_qemu.Guest(image, folder, volume, memory_mb=MEMORY_MB) as guest:
        guest.configure(identity)
        banner("127.0.0.1", guest.ssh_port)
        answered = time.monotonic() - started
        person.log_in("127.0.0.1", guest.ssh_port)
        return {"banner": answered, "login": time.monotonic() - started}


def by_server(arch: str, person: Person, client: ecompute.Client, key_id: int) -> dict[str, float]:
    started = time.monotonic()
    box = client.containers.create(
        arch, [key_id], instance_type=TYPES[arch], memory_mb=MEMORY_MB, ssh_enabled=True
    )
    pending = time.monotonic() - started
    box = client.containers.wait(box.id, "running", timeout=120)
    running = time.monotonic() - started
    words = shlex.split(box.ssh_command or "")
    port = int(words[words.index("-p") + 1]) if "-p" in words else 22
    banner(box.external_ip or "", port)
    answered = time.monotonic() - started
    person.log_in(box.external_ip or "", port)
    times = {"pending": pending, "running": running, "banner": answered, "login": time.monotonic() - started}
    for step, act in (("stop", client.containers.stop), ("delete", client.containers.delete)):
        started = time.monotonic()
        act(box.id)
        times[step] = time.monotonic() - started
    return times


def measure(server: RunningServer, folder: Path, rounds: int) -> dict[str, Any]:
    person = Person(folder)
    figures: dict[str, Any] = {}
    with server.client() as client:
        key_id = client.ssh_keys.add("bench", person.public).id
        for arch in TYPES:
            hand: list[dict[str, float]] = []
            ours: list[dict[str, float]] = []
            # the first of each warms the host's caches and does not count
            for round_ in range(rounds + 1):
                hand.append(by_hand(arch, person, round_))
                ours.append(by_server(arch, person, client, key_id))
                print(
                    f"{arch} round {round_}: by hand {_told(hand[-1])}; server {_told(ours[-1])}", flush=True
                )
            figures[arch] = _summary(hand[1:], ours[1:])
    return figures


def _told(times: dict[str, float]) -> str:
    return ", ".join(f"{step} {seconds:.2f} s" for step, seconds in times.items())


def _summary(hand: list[dict[str, float]], ours: list[dict[str, float]]) -> dict[str, Any]:
    def median(of: Callable[[int], float]) -> float:
        return statistics.median(of(round_) for round_ in range(len(ours)))

    return {
        "by_hand": {step: median(lambda n, s=step: hand[n][s]) for step in hand[0]},
        "server": {step: median(lambda n, s=step: ours[n][s]) for step in ours[0]},
        "ratio": {step: median(lambda n, s=step: ours[n][s] / hand[n][s]) for step in hand[0]},
    }


def resident_mb(server: RunningServer) -> float:
    """The memory of the server's process, as the kernel counts it."""
    holder = (server.state / "lock").read_text().strip()
    status = Path(f"/proc/{holder}/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]) * 1024 / 1e6


def memory_with_two_guests(server: RunningServer, folder: Path) -> float:
    with server.client() as client:
        key_id = client.ssh_keys.list()[0].id
        boxes = [
            client.containers.create(
                arch, [key_id], instance_type=kind, memory_mb=MEMORY_MB, ssh_enabled=True
            )
            for arch, kind in TYPES.items()
        ]
        for box in boxes:
            client.containers.wait(box.id, "running", timeout=120)
            with client.terminal(box.id) as terminal:
                terminal.write("exit\n")
                b"".join(terminal)
        used = resident_mb(server)
        for box in boxes:
            client.containers.delete(box.id)
    return used


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ecompute-bench-") as name:
        folder = Path(name)
        port_offset = 0 if plain_port_22_works() else 20000
        with running_server(hypervisor="libvirt", port_offset=port_offset) as server:
            figures = measure(server, folder, options.rounds)
            figures["resident_mb_with_two_guests"] = memory_with_two_guests(server, folder)
    figures["machine"] = f"{platform.machine()}, {len(os.sched_getaffinity(0))} processors"
    print()
    for arch in TYPES:
        row = figures[arch]
        print(f"{arch}: create answered (pending) in {row['server']['pending'] * 1000:.0f} ms")
        for step in ("banner", "login"):
            hand, ours, ratio = (row[part][step] for part in ("by_hand", "server", "ratio"))
            print(f"{arch}: create → {step} {ours:.2f} s, by hand {hand:.2f} s, ratio {ratio:.2f}")
    print(f"server process with two guests: {figures['resident_mb_with_two_guests']:.0f} MB")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


def plain_port_22_works() -> bool:
    from ecompute_server.gateway.ports import can_bind_low_ports

    return can_bind_low_ports()


if __name__ == "__main__":
    sys.exit(main())
