"""What the client costs beside its HTTP library: loading, listing, waiting, memory.

Each figure is a ratio of medians over runs that alternate, from the front and from the back, so that a noisy
machine hurts both sides. Loading is measured as whole processes, in a new virtual environment that has the
base install only. Listing asks a real server in a process of its own; the bare request has the same headers
over an `httpx.Client` that is kept open. Waiting and memory have a server whose every byte is decided here.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import venv
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

import ecompute
from ecompute_server.testing import running_server

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from tests.library.fake_server import FakeServer, Request, Socket, serving  # noqa: E402

LIMITS = {
    "import": 0.5,
    "first_client": 1.1,
    "list_3": 1.10,
    "list_100": 1.10,
    "wake_ms": 5.0,
    "view_mb": 40.0,
}
PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIzaa/8na28UvdjmnFylx1dNh7bL6NicXsin11lguhE6"

SETTLED = 0.02
"""Seconds after which a client has read what was sent to it."""

PROGRAMS = {
    "nothing": "pass",
    "ecompute": "import ecompute",
    "httpx": "import httpx",
    "ecompute.Client": "import ecompute; ecompute.Client('t', 'http://x')",
    "ecompute.Client, TLS": "import ecompute; ecompute.Client('t', 'https://x')",
    "httpx.Client": "import httpx; httpx.Client()",
}
LOADING = {
    "import": ("ecompute", "httpx"),
    "first_client": ("ecompute.Client", "httpx.Client"),
    "first_client_tls": ("ecompute.Client, TLS", "httpx.Client"),
}

VIEW = """
import sys, ecompute
client = ecompute.Client("t", sys.argv[1])
client.session()
if sys.argv[2] == "view":
    view = client.watch().__enter__()
    assert len(view) == int(sys.argv[3])
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmRSS")), flush=True)
sys.stdin.read()
"""


def in_turns(runs: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """The median of each, in what its function gives; the first round warms up."""
    found: dict[str, list[float]] = {name: [] for name in runs}
    for round_ in range(rounds + 1):
        for name in [*runs][:: -1 if round_ % 2 else 1]:
            found[name].append(runs[name]())
    return {name: statistics.median(values[1:]) for name, values in found.items()}


def timed(action: Callable[[], object]) -> float:
    """How many seconds something takes."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


@contextmanager
def base_install() -> Iterator[Path]:
    """The Python of an environment with the base install only, as a user has it."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder) / "bin" / "python"
        constraints = ROOT / "constraints.txt"
        subprocess.run(
            [python, "-m", "pip", "install", "--quiet", "--constraint", constraints, ROOT],
            check=True,
            cwd=folder,
            stdout=sys.stderr,
        )
        yield python


def measure_loading(python: Path, rounds: int) -> dict[str, Any]:
    """Whole processes, from before their start until they are gone."""

    def run(code: str) -> Callable[[], float]:
        # elsewhere than in the checkout, whose modules would be found first
        return lambda: timed(lambda: subprocess.run([python, "-c", code], check=True, cwd=python.parent))

    seconds = in_turns({name: run(code) for name, code in PROGRAMS.items()}, rounds)
    start = seconds["nothing"]
    figures: dict[str, Any] = {"ms": {name: 1e3 * value for name, value in seconds.items()}}
    for name, (ours, theirs) in LOADING.items():
        figures[name] = seconds[ours] / seconds[theirs]
        figures[f"{name}_without_start"] = (seconds[ours] - start) / (seconds[theirs] - start)
    return figures


def measure_listing(count: int, rounds: int) -> dict[str, float]:
    """The list of so many containers, through both, over the same server."""
    with running_server(in_process=False, max_containers_per_user=count) as server, server.client() as client:
        key = client.ssh_keys.add("bench", PUBLIC_KEY)
        boxes = [client.containers.create(f"box-{number}", [key.id]) for number in range(count)]
        client.containers.wait_all(boxes)
        headers = {
            "Authorization": f"Bearer {server.token}",
            "User-Agent": f"ecompute/{ecompute.__version__}",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
        }
        with httpx.Client(headers=headers) as bare:
            url = f"{server.url}/compute/containers"
            assert len(bare.get(url).json()["containers"]) == len(client.containers.list()) == count
            seconds = in_turns(
                {
                    "ours": lambda: timed(client.containers.list),
                    "bare": lambda: timed(lambda: bare.get(url).json()),
                },
                rounds,
            )
    return {**{f"{name}_us": 1e6 * value for name, value in seconds.items()}, "ratio": _ratio(seconds)}


def _ratio(seconds: Mapping[str, float]) -> float:
    return seconds["ours"] / seconds["bare"]


class Machine:
    """A server with one container, which becomes `running` when it is told to."""

    def __init__(self) -> None:
        self.listened_to = threading.Event()
        self.go = threading.Event()
        self.told_at = 0.0

    def answer(self, request: Request) -> None:
        """One request."""
        if request.path == "/compute/ws":
            feed = request.upgrade()
            feed.snapshot(abc12345="pending")
            self.listened_to.set()
            self.go.wait()
            self.told_at = time.perf_counter()
            feed.status("abc12345", "running")
            feed.serve_until_closed()
        else:
            request.answer(container(0))


def container(number: int) -> dict[str, Any]:
    """One as a server tells it, with all that it can tell."""
    id_ = f"c{number:07}"
    return {
        "id": id_,
        "name": f"box-{number}",
        "status": "running",
        "hostname": f"{id_}.compute.example.org",
        "memory_mb": 512,
        "storage_gb": 5,
        "instance_type": "nano",
        "created_at": f"2026-01-15T10:30:00.{number % 1000000:06}Z",
        "ssh_enabled": True,
        "https_enabled": False,
        "memory_used_mb": 100,
        "storage_used_gb": 0.5,
        "ssh_command": f"ssh root@{id_}.compute.example.org",
        "external_ip": f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}",
        "ssh_host_key": PUBLIC_KEY,
    }


def measure_waking(rounds: int) -> dict[str, float]:
    """From before the status is sent until `wait` has returned, with the one look at the container that it
    takes then. One clock, since server and client are threads of one process. The first of all, which loads
    modules as well, is told by itself.
    """
    times = {name: [wake(run) for _ in range(rounds + 1)] for name, run in WAITS.items()}
    figures = {"first_ms": 1e3 * times["sync"][0]}
    for name, found in times.items():
        figures |= {
            f"{name}_ms": 1e3 * statistics.median(found[1:]),
            f"{name}_worst_ms": 1e3 * max(found[1:]),
        }
    return figures


def wait_sync(url: str) -> float:
    """When the sync client's `wait` has returned."""
    with ecompute.Client("t", url) as client:
        client.containers.wait("abc12345")
        returned = time.perf_counter()
        # none but the look at the end
        assert client.stats.requests == 1
        return returned


def wait_async(url: str) -> float:
    """When the async client's `wait` has returned, on asyncio."""

    async def wait() -> float:
        async with ecompute.AsyncClient("t", url) as client:
            await client.containers.wait("abc12345")
            returned = time.perf_counter()
            assert client.stats.requests == 1
            return returned

    return asyncio.run(wait())


WAITS = {"sync": wait_sync, "async": wait_async}


def wake(run: Callable[[str], float]) -> float:
    """How long one wait takes to return."""
    machine = Machine()
    with serving(machine.answer) as server, ThreadPoolExecutor() as pool:
        returned = pool.submit(run, server.url)
        machine.listened_to.wait()
        time.sleep(SETTLED)
        machine.go.set()
        return returned.result() - machine.told_at


def measure_view(python: Path, count: int) -> dict[str, float]:
    """Resident memory of a process with a client that has made a call, and with a view of so many as well."""

    def answer(request: Request) -> None:
        if request.path != "/compute/ws":
            return request.answer({"user_id": "u1", "username": "bench"})
        feed: Socket = request.upgrade()
        feed.tell("containers", [container(number) for number in range(count)])
        feed.serve_until_closed()
        return None

    def resident(server: FakeServer, kind: str) -> float:
        with subprocess.Popen(
            [python, "-c", VIEW, server.url, kind, str(count)],
            cwd=python.parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as child:
            assert child.stdout is not None
            try:
                return int(child.stdout.readline()) / 1024
            finally:
                child.kill()

    with serving(answer) as server:
        without, with_view = resident(server, "client"), resident(server, "view")
    return {"client_mb": without, "view_mb": with_view, "above_mb": with_view - without}


def measure(rounds: int = 25) -> dict[str, Any]:
    """All figures."""
    figures: dict[str, Any] = {}
    with base_install() as python:
        figures["loading"] = measure_loading(python, rounds)
        figures["view"] = measure_view(python, 10_000)
    figures["list_3"] = measure_listing(3, 40 * rounds)
    figures["list_100"] = measure_listing(100, 20 * rounds)
    figures["waking"] = measure_waking(rounds)
    return figures


def main() -> None:
    """Print the figures, each with its limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--rounds", type=int, default=25, help="repeats of each process (25)")
    arguments = parser.parse_args()
    figures = measure(arguments.rounds)
    if arguments.json:
        arguments.json.write_text(json.dumps({**figures, "limits": LIMITS}, indent=2) + "\n")
    loading, view, waking = figures["loading"], figures["view"], figures["waking"]
    for name, title in (("import", "import"), ("first_client", "import and first client")):
        print(
            f"{title}: {loading[name]:.2f} of httpx (at most {LIMITS[name]}),"
            f" {loading[f'{name}_without_start']:.2f} without Python's own start"
        )
    print(
        f"the same for an https server: {loading['first_client_tls']:.2f},"
        f" {loading['first_client_tls_without_start']:.2f} without Python's own start"
    )
    print(", ".join(f"{name} {value:.0f} ms" for name, value in loading["ms"].items()))
    for count in (3, 100):
        found = figures[f"list_{count}"]
        print(
            f"list of {count}: {found['ratio']:.2f} of bare httpx (at most {LIMITS[f'list_{count}']}),"
            f" {found['ours_us']:.0f} and {found['bare_us']:.0f} µs"
        )
    for name in WAITS:
        print(
            f"waking, {name}: {waking[f'{name}_ms']:.1f} ms after the event (at most {LIMITS['wake_ms']:g}),"
            f" worst {waking[f'{name}_worst_ms']:.1f} ms"
        )
    print(f"waking for the first time in a process: {waking['first_ms']:.1f} ms")
    print(
        f"view of 10,000 containers: {view['view_mb']:.0f} MB resident (at most {LIMITS['view_mb']:g}),"
        f" {view['above_mb']:.0f} MB more than a client without one"
    )


if __name__ == "__main__":
    main()
