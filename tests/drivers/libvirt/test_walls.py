"""Each kind of walls on real guests, and what becomes of them when the host or the server changes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from ecompute_server.hypervisor.libvirt.layout import home_of, layout_of
from tests.outside import (
    ANSWER,
    HOSTILE,
    NAME_SERVED,
    PORT,
    Ears,
    Outside,
    all_tries,
    ears,
    outside,
    own_addresses,
    run,
    tcp_tries,
)

from .conftest import Drive
from .harness import Driver, processes_of

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="the world outside and the firewall are root's")


@pytest.fixture(scope="module")
def world() -> Iterator[Outside]:
    with outside() as made:
        yield made


@pytest.fixture(scope="module")
def listening() -> Iterator[Ears]:
    with ears() as made:
        yield made


def answers(driver: Driver, container: str, command: str) -> dict[str, str]:
    """What tries in a guest were answered, by address."""
    lines = [
        line.split(" ", 2) for line in driver.do("run", container=container, command=command).split("\n")
    ]
    return {line[0]: line[2] for line in lines if len(line) == 3 and line[1].isdigit()}


def started(driver: Driver, container: str, arch: str = "arm64") -> None:
    """A running, hostile guest."""
    driver.do("start", container=container, generation=1, arch=arch)
    driver.fact(container, 1, "ready")
    assert driver.do("exchange", container=container, port=22).startswith("SSH-2.0-")
    driver.do("run", container=container, command=HOSTILE)


def qemu_of(state: Path, container: str) -> int:
    name = f"guest=ecompute-{container}-"
    [pid] = [pid for pid, command in processes_of(str(layout_of(state).base)).items() if name in command]
    return pid


def of_this_host(listening: Ears) -> list[tuple[str, int]]:
    """Where a guest might find it."""
    loopback = ("127.0.0.1", "127.0.0.53", "127.77.0.1", "::1", "::ffff:127.0.0.1", "10.0.2.2", "fec0::2")
    return [(each, listening.port) for each in (*loopback, *own_addresses())]


def forwards_of(pid: int) -> list[tuple[str, int]]:
    """Where a QEMU in the host's network listens."""
    inodes = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        inodes.add(str(entry.readlink()).removeprefix("socket:[").removesuffix("]"))
    found = []
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        words = line.split()
        if words[3] == "0A" and words[9] in inodes:
            address, port = words[1].split(":")
            assert address == "0100007F", "on loopback only"
            found.append(("127.0.0.1", int(port, 16)))
    return found


def table_of(state: Path) -> str:
    return f"ecompute_{(home_of(state) / 'owner').read_text().strip()}"


def has_table(state: Path) -> bool:
    command = ["nft", "list", "table", "inet", table_of(state)]
    return subprocess.run(command, capture_output=True).returncode == 0


def status_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def assert_shell(pid: int) -> None:
    """QEMU has the same rights, none, whatever the walls are."""
    status = status_of(pid)
    assert {status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {"0" * 16}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert "0" not in status["Uid"].split()
    words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    assert {"-nodefaults", "-no-user-config", "-sandbox"} <= set(words)


def with_resolver(folder: Path, server: str) -> tuple[str, ...]:
    """How to run Python where the host's resolv.conf names that server."""
    (folder / "resolv.conf").write_text(f"nameserver {server}\n")
    script = 'mount --bind "$0" /etc/resolv.conf; exec "$@"'
    return ("unshare", "--mount", "sh", "-ec", script, str(folder / "resolv.conf"), sys.executable)


def without(*programs: str) -> tuple[str, ...]:
    """How to run Python in a view of the file system that lacks those programs."""
    script = "".join(f'mount --bind /dev/null "$(command -v {each})"; ' for each in programs)
    return ("unshare", "--mount", "sh", "-ec", script + 'exec "$@"', "sh", sys.executable)


@pytest.fixture
def rules(state: Path) -> Iterator[None]:
    """Rules that a test which failed leaves behind go too."""
    yield
    if (home_of(state) / "owner").exists() and has_table(state):
        run("nft", "delete", "table", "inet", table_of(state))


@pytest.mark.usefixtures("rules")
def test_behind_a_firewall_guests_reach_the_internet_and_nothing_here(
    drive: Drive, state: Path, world: Outside, listening: Ears, tmp_path: Path
) -> None:
    """Names are told by the host's name server. When somebody takes the rules away the same tries do get
    through, until the next start of any machine. A server without nftables ends what it finds.
    """
    driver = drive(state, "--walls", "firewall", python=with_resolver(tmp_path, world.v4))
    driver.do("open")
    started(driver, "fire1")
    started(driver, "fire2")
    assert_shell(qemu_of(state, "fire1"))
    assert NAME_SERVED in driver.do("run", container="fire1", command="nslookup some.test 2>&1")
    out = [(world.v4, PORT), (world.v6, PORT)]
    others = {"fire1": forwards_of(qemu_of(state, "fire2")), "fire2": forwards_of(qemu_of(state, "fire1"))}
    for container, forwards in others.items():
        assert answers(driver, container, tcp_tries(out)) == {address: ANSWER for address, _ in out}
        assert forwards
        here = [*forwards, (world.metadata, PORT), *of_this_host(listening)]
        assert answers(driver, container, all_tries(here)) == {}
    listening.reached_by_us("127.0.0.1")
    assert listening.heard == []

    run("nft", "delete", "table", "inet", table_of(state))
    loopback = [("127.0.0.1", listening.port), ("::1", listening.port), ("10.0.2.2", listening.port)]
    assert {"127.0.0.1", "10.0.2.2"} <= set(answers(driver, "fire1", tcp_tries(loopback)))
    assert answers(driver, "fire1", tcp_tries(others["fire1"]))
    assert listening.heard
    listening.heard.clear()
    driver.do("delete", container="fire2")
    driver.do("start", container="fire2", generation=2)
    assert answers(driver, "fire1", tcp_tries(loopback)) == {}
    assert listening.heard == []
    driver.do("delete", container="fire2")
    driver.end()
    assert has_table(state), "a guest runs on"

    driver = drive(state)
    driver.do("open")
    assert driver.do("machines") == [["fire1", 1]]
    assert driver.do("exchange", container="fire1", port=22).startswith("SSH-2.0-")
    driver.kill()
    driver = drive(state, python=without("nft"))
    driver.do("open")
    assert driver.do("machines") == []
    assert processes_of("guest=ecompute-fire1-") == {}
    driver.end()
    driver = drive(state, "--walls", "firewall")
    driver.do("open")
    assert has_table(state)
    driver.end()
    assert not has_table(state), "they go with the last guest"


def test_restricted_guests_reach_nothing_and_are_reached(
    drive: Drive, state: Path, world: Outside, listening: Ears
) -> None:
    """One of each architecture; their tools do work, since they reach themselves. A server that has better
    walls takes them over as they are.
    """
    driver = drive(state, "--walls", "restricted")
    driver.do("open")
    started(driver, "tight1", "arm64")
    started(driver, "tight2", "amd64")
    assert_shell(qemu_of(state, "tight1"))
    places = [*of_this_host(listening), (world.v4, PORT), (world.v6, PORT), (world.metadata, PORT)]
    places += [*forwards_of(qemu_of(state, "tight1")), *forwards_of(qemu_of(state, "tight2"))]
    for container in ("tight1", "tight2"):
        itself = answers(driver, container, tcp_tries([("10.0.2.15", 22)]))
        assert itself["10.0.2.15"].startswith("SSH-2.0-")
        assert answers(driver, container, all_tries(places)) == {}
    listening.reached_by_us("127.0.0.1")
    assert listening.heard == []
    driver.kill()
    driver = drive(state)
    driver.do("open")
    for container in ("tight1", "tight2"):
        assert driver.do("exchange", container=container, port=22).startswith("SSH-2.0-")
        driver.do("delete", container=container)
    driver.end()


def test_guests_without_a_way_out_are_still_reached(drive: Drive, state: Path, world: Outside) -> None:
    """`outbound = none`: what the internet test of other guests does fails here."""
    driver = drive(state, "--outbound", "none")
    driver.do("open")
    started(driver, "shut1")
    assert not [c for c in processes_of("slirp4netns").values() if str(qemu_of(state, "shut1")) in c.split()]
    out = [(world.v4, PORT), (world.v6, PORT)]
    assert answers(driver, "shut1", tcp_tries([("10.0.2.2", 22)]))["10.0.2.2"].startswith("SSH-2.0-")
    assert answers(driver, "shut1", all_tries(out)) == {}
    driver.do("delete", container="shut1")
    driver.end()


def test_an_address_that_comes_after_the_start_is_not_reached(
    drive: Drive, state: Path, world: Outside, listening: Ears, tmp_path: Path
) -> None:
    """Neither one that comes while the server runs nor one that comes while it does not. Names are told by
    the host's name server. A server that gives no way out takes back the one that an earlier server gave.
    """
    driver = drive(state, python=with_resolver(tmp_path, world.v4))
    driver.do("open")
    started(driver, "late1")
    assert NAME_SERVED in driver.do("run", container="late1", command="nslookup some.test 2>&1")
    pid = qemu_of(state, "late1")
    early = (f"{world.v4.rpartition('.')[0]}.77", f"{world.v6.removesuffix('2')}77")
    later = (f"{world.v4.rpartition('.')[0]}.78", f"{world.v6.removesuffix('2')}78")
    # the way there is open until this host takes the address
    assert answers(driver, "late1", tcp_tries([(world.v4, PORT), (world.v6, PORT)]))
    with added(world, *early):
        walled(pid, *early)
        assert_unreached(driver, listening, *early)
        driver.kill()
        with added(world, *later):
            driver = drive(state)
            driver.do("open")
            assert driver.do("machines") == [["late1", 1]]
            assert_unreached(driver, listening, *early, *later)
    driver.end()
    driver = drive(state, "--outbound", "none")
    driver.do("open")
    assert answers(driver, "late1", all_tries([(world.v4, PORT), (world.v6, PORT)])) == {}
    assert answers(driver, "late1", tcp_tries([("10.0.2.2", 22)]))["10.0.2.2"].startswith("SSH-2.0-")
    driver.do("delete", container="late1")
    driver.end()


@contextmanager
def added(world: Outside, *addresses: str) -> Iterator[None]:
    """Addresses of this host for a while."""
    with ExitStack() as stack:
        for address in addresses:
            place, more = (f"{address}/128", ["nodad"]) if ":" in address else (f"{address}/32", [])
            run("ip", "address", "add", place, "dev", world.link, *more)
            stack.callback(run, "ip", "address", "delete", place, "dev", world.link)
        yield


def walled(pid: int, *addresses: str) -> None:
    """Waits until a machine's namespace prohibits them."""
    enter = ["nsenter", "--target", str(pid), "--user", "--net", "--", "ip"]
    deadline = time.monotonic() + PATIENCE
    for address in addresses:
        show = [*enter, "-6" if ":" in address else "-4", "route", "show", "type", "prohibit"]
        while address not in subprocess.run(show, capture_output=True, text=True, check=True).stdout:
            assert time.monotonic() < deadline, f"{address} is not prohibited"


def assert_unreached(driver: Driver, listening: Ears, *addresses: str) -> None:
    for address in addresses:
        listening.reached_by_us(address)
    assert answers(driver, "late1", all_tries([(each, listening.port) for each in addresses])) == {}
    listening.reached_by_us(addresses[0])
    assert listening.heard == []


def findings(driver: Driver) -> dict[str, list[str]]:
    """What the probe says of walls and way out: severity, sentence, remedy."""
    return {check: rest for check, *rest in driver.do("probe") if check in ("network walls", "outbound")}


PATIENCE = 30.0
NO_NAMESPACES = "(missing programs: setpriv)"
NO_WAY_OUT = "guests cannot open connections: missing programs: setpriv, nftables is not installed"


def test_a_host_without_namespaces_is_told_of_weaker_walls(
    drive: Drive, state: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """With the command that mends it; a way out that was asked for and cannot be had is none, and told."""
    walls, out = findings(drive(state, python=without("setpriv"))).values()
    assert walls[0] == "warning"
    assert walls[1].startswith("an nftables rule: guests share the host's network")
    assert walls[1].endswith(NO_NAMESPACES)
    assert walls[2].startswith("apt-get install util-linux")
    assert out[:2] == ["ok", "filtered, by an nftables rule"]
    walls, out = findings(drive(state, python=without("setpriv", "nft"))).values()
    assert walls[1].startswith("QEMU alone: guests share the host's network")
    assert (out[0], out[1]) == ("warning", NO_WAY_OUT)
    insisting = drive(state, "--outbound", "filtered", python=without("setpriv", "nft"))
    assert findings(insisting)["outbound"][0] == "error"
    insisting.do("open")
    insisting.end()
    assert NO_WAY_OUT in capfd.readouterr().err
