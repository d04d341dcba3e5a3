"""How fast bytes come out of a running guest and go into it: by the library through the server, against the
stock `ssh` straight to the same guest.

`run` gives back what `cat` prints, against `ssh guest cat`. Copies of one file are measured against `scp -O`
and against `ssh guest tar`, since either is what people use. All take turns in one run, so that a noisy
machine hurts each; what counts are the ratios of the medians. The data cannot be compressed. `--json FILE`
writes the figures down.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
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
from ecompute_server.gateway.ports import can_bind_low_ports
from ecompute_server.testing import RunningServer, running_server

TYPES = {"arm64": "micro", "amd64": "tiny"}
MEMORY_MB = 512
TARGET = 0.8
BLOB = "/dev/shm/blob"
"""In the guest's memory: its disk is not what is measured."""
TAKEN = "/dev/shm/taken"
OPTIONS = ("-F", "none", "-q", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null")

Ways = dict[str, Callable[[], Any]]


class OpenSSH:
    """The stock programs, with one key, to one guest."""

    def __init__(self, key: Path, box: ecompute.Container) -> None:
        words = shlex.split(box.ssh_command or "")
        port = words[words.index("-p") + 1] if "-p" in words else "22"
        self._host = f"root@{box.external_ip}"
        self._options = [*OPTIONS, "-o", "BatchMode=yes", "-i", str(key)]
        self._ssh = ["ssh", *self._options, "-p", port, self._host]
        self._scp = ["scp", "-O", *self._options, "-P", port]

    def run(self, command: str) -> bytes:
        return subprocess.run([*self._ssh, command], check=True, stdout=subprocess.PIPE).stdout

    def scp_to(self, source: Path, target: str) -> None:
        subprocess.run([*self._scp, str(source), f"{self._host}:{target}"], check=True)

    def scp_from(self, source: str, target: Path) -> None:
        subprocess.run([*self._scp, f"{self._host}:{source}", str(target)], check=True)

    def tar_to(self, source: Path, folder: str) -> None:
        make = ["tar", "-c", "-f", "-", "-C", str(source.parent), source.name]
        self._pipe(make, [*self._ssh, f"tar -x -f - -C {folder}"])

    def tar_from(self, source: str, folder: Path) -> None:
        parent, _, name = source.rpartition("/")
        self._pipe(
            [*self._ssh, f"tar -c -f - -C {parent} {name}"], ["tar", "-x", "-f", "-", "-C", str(folder)]
        )

    @staticmethod
    def _pipe(first: list[str], second: list[str]) -> None:
        with subprocess.Popen(first, stdout=subprocess.PIPE) as one:
            subprocess.run(second, check=True, stdin=one.stdout)
        if one.returncode:
            raise subprocess.CalledProcessError(one.returncode, first)


def measure(server: RunningServer, folder: Path, rounds: int, size: int) -> dict[str, Any]:
    """By architecture and task: MB/s of each way, and the library's ratio to the best of the others."""
    key = folder / "throughput-key"
    public = plain_qemu.make_key(key)
    figures: dict[str, Any] = {}
    with server.client() as client:
        key_id = client.ssh_keys.add("throughput", public).id
        for arch, kind in TYPES.items():
            box = client.containers.create(
                arch, [key_id], instance_type=kind, memory_mb=MEMORY_MB, ssh_enabled=True
            )
            box = client.containers.wait(box.id, "running", timeout=120)
            # made once, since a guest's random numbers are slower than its network
            client.run(box.id, f"head -c {size} /dev/urandom > {BLOB}", check=True)
            tasks = _tasks(client, box.id, OpenSSH(key, box), folder, size)
            figures[arch] = {task: _turns(ways, rounds, size) for task, ways in tasks.items()}
            client.containers.delete(box.id)
    return figures


def _tasks(client: ecompute.Client, id: str, ssh: OpenSSH, folder: Path, size: int) -> dict[str, Ways]:
    source, target = folder / "blob", folder / "taken"
    source.write_bytes(os.urandom(size))
    command = f"cat {BLOB}"

    def streamed() -> int:
        count = 0

        def take(data: bytes) -> None:
            nonlocal count
            count += len(data)

        client.run(id, command, check=True, on_output=take)
        return count

    return {
        "run": {
            "library": lambda: len(client.run(id, command, check=True).output),
            "ssh": lambda: len(ssh.run(command)),
        },
        "run, streamed": {"library": streamed, "ssh": lambda: len(ssh.run(command))},
        "copy_from": {
            "library": lambda: client.copy_from(id, BLOB, target),
            "scp": lambda: ssh.scp_from(BLOB, target),
            "tar|ssh": lambda: ssh.tar_from(BLOB, folder),
        },
        "copy_to": {
            "library": lambda: client.copy_to(id, source, TAKEN),
            "scp": lambda: ssh.scp_to(source, TAKEN),
            "tar|ssh": lambda: ssh.tar_to(source, "/dev/shm"),
        },
    }


def _turns(ways: Ways, rounds: int, size: int) -> dict[str, float]:
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    # the first of each warms connections and caches and does not count
    for round_ in range(rounds + 1):
        for way, act in ways.items():
            begun = time.monotonic()
            got = act()
            spent = time.monotonic() - begun
            if got not in (None, size):
                raise RuntimeError(f"{way} gave {got} bytes of {size}.")
            if round_:
                seconds[way].append(spent)
    rates = {way: size / statistics.median(spent) / 1e6 for way, spent in seconds.items()}
    return {**rates, "ratio": rates["library"] / max(rates[way] for way in rates if way != "library")}


def tell(figures: dict[str, Any]) -> None:
    """One line for each architecture and task."""
    for arch in TYPES:
        for task, row in figures[arch].items():
            ways = ", ".join(f"{way} {rate:.1f} MB/s" for way, rate in row.items() if way != "ratio")
            met = f", target {TARGET}: {'met' if row['ratio'] >= TARGET else 'MISSED'}" * task.startswith(
                "run"
            )
            print(f"{arch}: {task}: {ways}; ratio {row['ratio']:.2f}{met}")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=32)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    port_offset = 0 if can_bind_low_ports() else 20000
    with (
        tempfile.TemporaryDirectory(prefix="ecompute-bench-") as name,
        running_server(hypervisor="libvirt", port_offset=port_offset) as server,
    ):
        figures = measure(server, Path(name), options.rounds, options.megabytes * 1_000_000)
    tell(figures)
    if options.json:
        figures["machine"] = f"{platform.machine()}, {len(os.sched_getaffinity(0))} processors"
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
