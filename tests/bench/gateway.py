"""How fast the gateway is against nginx, both leading to the same target on this host: `make bench`.

Each is one process, asked by turns in one run, so that a noisy machine hurts both; what counts is the ratio,
which is better the higher it is, also where little time is good. nginx has one worker, the same kind of
certificate, the same TLS and buffers of the same size; sessions are not resumed. `straight` is the target
with nothing between. Then the same with a real guest, where `straight` is QEMU's own forward. `--json FILE`
writes the figures down.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import guest_forward
import proxies
import visitors
from proxies import BIG, HOSTNAME, LOOPBACK, Ports

TARGET = 0.5
"""Of nginx's speed, in everything."""
HELD = 1000
"""Connections that are kept open for the figures of memory."""
ROUND_TRIPS = 4000
SECONDS = 2
"""How long requests are made for each figure in each round."""

Figures = dict[str, float]
Table = dict[str, Figures]
"""Figures by their name, then by the way."""
Measurement = Callable[[Path, Ports], Figures]


def tcp_transfer(_: Path, at: Ports) -> Figures:
    return {
        "TCP download, MB/s": visitors.download(f"http://{LOOPBACK}:{at.http}/big", BIG),
        "TCP upload, MB/s": visitors.upload(at.sink, BIG),
    }


def tcp_connections(folder: Path, at: Ports) -> Figures:
    url = f"http://{LOOPBACK}:{at.http}/"
    rate = visitors.requests(folder, url, connections=16, seconds=SECONDS, close=True)
    return {"TCP new connections, 1/s": rate.per_second}


def tcp_latency(_: Path, at: Ports) -> Figures:
    rate = visitors.round_trips(at.echo, ROUND_TRIPS)
    return {"TCP round trip p50, µs": rate.p50, "TCP round trip p99, µs": rate.p99}


def https_transfer(_: Path, at: Ports) -> Figures:
    return {"HTTPS download, MB/s": _https_download(at, BIG)}


def https_connections(folder: Path, at: Ports) -> Figures:
    url = f"https://{HOSTNAME}:{at.https}/"
    rate = visitors.requests(folder, url, connections=16, seconds=SECONDS, close=True)
    return {"HTTPS new connections, 1/s": rate.per_second}


def https_requests(folder: Path, at: Ports) -> Figures:
    url = f"https://{HOSTNAME}:{at.https}/"
    one = visitors.requests(folder, url, connections=1, seconds=SECONDS)
    many = visitors.requests(folder, url, connections=16, seconds=SECONDS)
    return {
        "HTTPS request p50, µs": one.p50,
        "HTTPS request p99, µs": one.p99,
        "HTTPS requests on 1 connection, 1/s": one.per_second,
        "HTTPS requests on 16 connections, 1/s": many.per_second,
    }


def guest(folder: Path, at: Ports) -> Figures:
    """The guest's web server ends each connection after its answer."""
    rate = visitors.requests(folder, f"http://{LOOPBACK}:{at.http}/", connections=1, seconds=SECONDS)
    return {
        "guest, download, MB/s": visitors.download(f"http://{LOOPBACK}:{at.http}/big", guest_forward.SIZE),
        "guest, connection and request p50, µs": rate.p50,
    }


def guest_https(folder: Path, at: Ports) -> Figures:
    """The same through HTTPS; where there is none, without."""
    if not at.https:
        return {f"{name}, HTTPS": figure for name, figure in guest(folder, at).items()}
    url = f"https://{HOSTNAME}:{at.https}/"
    rate = visitors.requests(folder, url, connections=1, seconds=SECONDS)
    return {
        "guest, download, MB/s, HTTPS": _https_download(at, guest_forward.SIZE),
        "guest, connection and request p50, µs, HTTPS": rate.p50,
    }


def _https_download(at: Ports, size: int) -> float:
    options = ("-k", "--resolve", f"{HOSTNAME}:{at.https}:{LOOPBACK}")
    return visitors.download(f"https://{HOSTNAME}:{at.https}/big", size, *options)


TCP = (tcp_transfer, tcp_connections, tcp_latency)
HTTPS = (https_transfer, https_connections, https_requests)


def against_nginx(folder: Path, rounds: int) -> Table:
    certificates = folder / "certificates"
    with (
        proxies.target(folder) as target,
        proxies.our_gateway(target, certificates) as (ours, _),
        proxies.nginx_proxy(folder, target, certificates) as (nginx, _),
    ):
        ways = {"ours": ours, "nginx": nginx}
        figures: Table = {}
        for measurement in TCP:
            figures |= _by_turns(measurement, folder, {**ways, "straight": target}, rounds)
        for measurement in HTTPS:
            figures |= _by_turns(measurement, folder, ways, rounds)
        return figures


def against_forward(folder: Path, rounds: int) -> Table:
    with guest_forward.web_guest(folder / "guest") as port:
        forward = Ports(http=port, echo=port, sink=port)
        with proxies.our_gateway(forward, folder / "certificates") as (ours, _):
            figures: Table = {}
            for measurement in (guest, guest_https):
                figures |= _by_turns(measurement, folder, {"ours": ours, "straight": forward}, rounds)
            return figures


def _by_turns(measurement: Measurement, folder: Path, ways: dict[str, Ports], rounds: int) -> Table:
    """Medians of all rounds, and the ratio of the first way to the second."""
    found: dict[str, dict[str, list[float]]] = {}
    # the first round warms up
    for round_ in range(rounds + 1):
        for way in [*ways][:: -1 if round_ % 2 else 1]:
            for name, figure in measurement(folder, ways[way]).items():
                if round_:
                    found.setdefault(name, {}).setdefault(way, []).append(figure)
    first, second, *_ = ways
    table: Table = {}
    for name, by_way in found.items():
        better = -1 if "µs" in name else 1
        pairs = zip(by_way[first], by_way[second], strict=True)
        table[name] = {way: statistics.median(by_way[way]) for way in ways}
        table[name]["ratio"] = statistics.median((one / other) ** better for one, other in pairs)
    return table


def memory(folder: Path) -> Table:
    """MB that many idle connections take; fresh processes, because none gives back what it had once."""
    certificates = folder / "certificates"
    found: Table = {}
    with proxies.target(folder) as target:
        for kind, name in (("TCP", None), ("HTTPS", HOSTNAME)):
            with (
                proxies.our_gateway(target, certificates) as (ours, ours_pid),
                proxies.nginx_proxy(folder / kind, target, certificates) as (nginx, nginx_pid),
            ):
                row = found[f"{kind}, MB for {HELD} idle connections"] = {}
                for way, ports, pid in (("ours", ours, ours_pid), ("nginx", nginx, nginx_pid)):
                    port = ports.http if name is None else ports.https
                    with contextlib.ExitStack() as stack:
                        visitors.hold(stack, port, 1, name=name)
                        before = visitors.resident(pid)
                        visitors.hold(stack, port, HELD, name=name)
                        row[way] = visitors.resident(pid) - before
    return found


def _tell(table: Table) -> None:
    for name, row in table.items():
        told = ", ".join(f"{way} {figure:.4g}" for way, figure in row.items() if way != "ratio")
        verdict = ""
        if "ratio" in row:
            word = "ok" if row["ratio"] >= TARGET else "MISSED"
            verdict = f"; ratio {row['ratio']:.2f} (at least {TARGET}: {word})"
        print(f"{name}: {told}{verdict}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    if missing := proxies.missing_packages():
        print(
            f"The gateway is not measured, for it needs Debian packages: apt-get install {' '.join(missing)}"
        )
        return 1
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    print(f"{os.cpu_count()} processors; load before {os.getloadavg()[0]:.1f}, which should be near 0")
    figures: Table = {}
    parts = (
        lambda folder: against_nginx(folder, options.rounds),
        lambda folder: against_forward(folder, options.rounds),
        memory,
    )
    for part in parts:
        with tempfile.TemporaryDirectory(prefix="ecompute-bench-") as name:
            table = part(Path(name))
        _tell(table)
        figures |= table
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
