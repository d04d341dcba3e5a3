"""Who may import whom: the rooms of the house and their doors."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# room -> what it may import of ours, beside itself; the longest matching room counts
ALLOWED: dict[str, set[str]] = {
    "ecompute.contract": {"ecompute.shown"},
    "ecompute.shown": {"ecompute.display"},  # when a notebook asks
    "ecompute.protocol": {"ecompute.contract", "ecompute.errors", "ecompute.exchange", "ecompute.shown"},
    "ecompute.exchange": set(),
    "ecompute.errors": {"ecompute.contract", "ecompute.exchange", "ecompute.shown"},
    "ecompute.helper": set(),
    "ecompute.files": {"ecompute.errors"},
    "ecompute.locking": {"ecompute.errors"},
    "ecompute.credentials": {"ecompute.errors", "ecompute.helper"},
    "ecompute.profiles": {
        "ecompute.credentials",
        "ecompute.errors",
        "ecompute.files",
        "ecompute.profiles_file",
        "ecompute.settings",
    },
    "ecompute.profiles_file": {
        "ecompute.credentials",
        "ecompute.errors",
        "ecompute.files",
        "ecompute.locking",
        "ecompute.profiles",
    },
    "ecompute.settings": {"ecompute.credentials", "ecompute.errors", "ecompute.profiles"},
    "ecompute.network": set(),
    "ecompute.secret": set(),
    "ecompute.socks": {"ecompute.network", "ecompute.secret"},
    "ecompute.foreign": {"ecompute.errors"},
    "ecompute.custom": {"ecompute.errors"},
    "ecompute.pool": {
        "ecompute.errors",
        "ecompute.network",
        "ecompute.secret",
        "ecompute.settings",
        "ecompute.socks",
    },
    "ecompute.carrier": {
        "ecompute.contract",
        "ecompute.credentials",
        "ecompute.errors",
        "ecompute.exchange",
        "ecompute.late",
        "ecompute.secret",
        "ecompute.settings",
    },
    "ecompute.transport": {
        "ecompute.carrier",
        "ecompute.credentials",
        "ecompute.custom",
        "ecompute.errors",
        "ecompute.exchange",
        "ecompute.foreign",
        "ecompute.late",
        "ecompute.network",
        "ecompute.pool",
        "ecompute.protocol",
        "ecompute.settings",
    },
    "ecompute.conformance": {"ecompute.contract"},
    "ecompute.conformance.connections": {"ecompute.conformance.verdict", "ecompute.network"},
    "ecompute.conformance.strategies.registration": {
        "ecompute.async_bound",
        "ecompute.bound",
        "ecompute.conformance.strategies",
        "ecompute.contract",
    },
    "ecompute": {"ecompute"},
    "ecompute_server.clock": set(),
    "ecompute_server.logs": set(),
    "ecompute_server.memory": set(),
    "ecompute_server.core": {"ecompute.contract"},
    "ecompute_server.hypervisor.interface": {"ecompute.contract", "ecompute_server.core"},
    "ecompute_server.hypervisor.checks": {"ecompute.contract", "ecompute_server.hypervisor.interface"},
    "ecompute_server.hypervisor.simulated": {"ecompute.contract", "ecompute_server.hypervisor.interface"},
    "ecompute_server.hypervisor.libvirt": {
        "ecompute.contract",
        "ecompute_server.hypervisor.interface",
        "ecompute_server.images.interface",
    },
    "ecompute_server.images": {"ecompute.contract"},
    "ecompute_server.guest.interface": {"ecompute.contract", "ecompute_server.core"},
    "ecompute_server.guest.checks": {"ecompute.contract", "ecompute_server.guest.interface"},
    "ecompute_server.guest.ssh": {"ecompute.contract", "ecompute_server.guest.interface"},
    "ecompute_server.guest.simulated": {
        "ecompute.contract",
        "ecompute_server.guest.interface",
        "ecompute_server.hypervisor.interface",
        "ecompute_server.hypervisor.simulated",
    },
    "ecompute_server.gateway": {"ecompute.contract"},
    "ecompute_server.store.interface": {"ecompute.contract", "ecompute_server.core"},
    "ecompute_server.store": {"ecompute.contract", "ecompute_server.core"},
    "ecompute_server.guest.keys": set(),
    "ecompute_server.identity": {
        "ecompute_server.guest.keys",
        "ecompute.contract",
        "ecompute_server.core",
        "ecompute_server.store.interface",
    },
    "ecompute_server.broadcast": {"ecompute.contract", "ecompute_server.core", "ecompute_server.http.frames"},
    "ecompute_server.supervisor": {
        "ecompute.contract",
        "ecompute_server.core",
        "ecompute_server.broadcast",
        "ecompute_server.hypervisor.interface",
        "ecompute_server.guest.interface",
        "ecompute_server.gateway.interface",
        "ecompute_server.store.interface",
    },
    "ecompute_server.handlers": {
        "ecompute.contract",
        "ecompute_server.core",
        "ecompute_server.broadcast",
        "ecompute_server.supervisor",
        "ecompute_server.identity",
        "ecompute_server.guest.interface",
        "ecompute_server.gateway.interface",
        "ecompute_server.store.interface",
        "ecompute_server.http.sockets",
        "ecompute_server.metrics",
    },
    "ecompute_server.http": {
        "ecompute.contract",
        "ecompute_server.core",
        "ecompute_server.identity",
        "ecompute_server.handlers",
        "ecompute_server.metrics",
        "ecompute_server.store.interface",
    },
    "ecompute_server.metrics": {
        "ecompute.contract",
        "ecompute_server.core",
        "ecompute_server.store.interface",
    },
    "ecompute_server.testing": {"ecompute", "ecompute_server"},
    "ecompute_server.in_process": {"ecompute", "ecompute_server"},
    "ecompute_server.pairs": set(),
    "ecompute_server.pytest_plugin": {"ecompute", "ecompute_server.testing"},
    "ecompute_server": {"ecompute.contract", "ecompute_server"},
}

# what every room of the server may use
EVERYWHERE = {"ecompute_server.clock", "ecompute_server.logs"}

# modules that only one file may import
DOORS = {
    "httpx": {
        "ecompute.conformance.wire",
        "ecompute.custom",
        "ecompute.testing",
        "ecompute_server.in_process",
        "ecompute_server.pairs",
    },
    "httpcore": {
        "ecompute.transport",
        "ecompute.async_transport",
        "ecompute.carrier",
        "ecompute.conformance.connections",
        "ecompute.custom",
        "ecompute.foreign",
        "ecompute.network",
        "ecompute.pool",
        "ecompute.socks",
        "ecompute.testing",
        "ecompute_server.pairs",
    },
    "cattrs": {"ecompute.contract.converter"},
    "h11": {
        "ecompute_server.gateway.https",
        "ecompute_server.http",
        "ecompute_server.pairs",
    },
    "hypothesis": {"ecompute.conformance"},
    "libvirt": {"ecompute_server.hypervisor.libvirt"},
    "asyncssh": {"ecompute_server.guest"},
    "sqlite_utils": {"ecompute_server.store"},
    "prometheus_client": {"ecompute_server.metrics"},
    "starlette": {"ecompute_server.http", "ecompute_server.embedding"},
    "uvicorn": {"ecompute_server.http", "ecompute_server.in_process"},
}


def modules() -> Iterator[tuple[str, Path]]:
    for top in ("ecompute", "ecompute_server"):
        for path in sorted((ROOT / top).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def imports(name: str, path: Path) -> set[str]:
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                up = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*up, *([node.module] if node.module else [])])
            found |= {base} if node.module else {f"{base}.{alias.name}" for alias in node.names}
    return found


def inside(name: str, room: str) -> bool:
    return name == room or name.startswith(room + ".")


def room_of(name: str) -> str:
    return max((room for room in ALLOWED if inside(name, room)), key=len)


@pytest.mark.parametrize(("name", "path"), list(modules()), ids=lambda value: str(value))
def test_a_module_imports_only_what_its_room_may(name: str, path: Path) -> None:
    """Every import of our own code goes through a door that the plan allows."""
    room = room_of(name)
    pure = not inside(name, "ecompute_server") or inside(name, "ecompute_server.core")
    everywhere = set() if pure else EVERYWHERE
    allowed = {room, *ALLOWED[room], *everywhere}
    ours = {i for i in imports(name, path) if i.partition(".")[0] in ("ecompute", "ecompute_server")}
    assert {i for i in ours if not any(inside(i, door) for door in allowed)} == set()


@pytest.mark.parametrize("foreign", sorted(DOORS))
def test_a_foreign_library_stays_behind_its_door(foreign: str) -> None:
    """Libraries that may be replaced one day are imported in one place only."""
    importers = {n for n, p in modules() if any(inside(i, foreign) for i in imports(n, p))}
    assert {n for n in importers if not any(inside(n, door) for door in DOORS[foreign])} == set()
