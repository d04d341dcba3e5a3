"""The walls around every guest, tried by guests that do all they can: root inside, its routes bent.

Whoever is reached on this host hears it, so a try counts as failed when nobody heard anything and nothing
came back. Each test first shows that its tool works in that guest.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from attrs import frozen

import ecompute
from ecompute_server.gateway.ports import can_bind_low_ports
from ecompute_server.testing import RunningServer
from examples.first_light import Person
from examples.first_light import machine_processes as processes_of
from tests.outside import (
    ANSWER,
    GROUPS,
    HOSTILE,
    PORT,
    Ears,
    Outside,
    all_tries,
    ears,
    outside,
    own_addresses,
    tcp_tries,
    udp_tries,
)

from .conftest import BOOT_SECONDS

OFFSET = 0 if can_bind_low_ports() else 20000
PUBLISHED = 8000 + OFFSET
LOOPBACK = ("127.0.0.1", "127.0.0.53", "127.77.0.1", "::1", "::ffff:127.0.0.1", "0.0.0.0")
STAND_INS = ("10.0.2.2", "10.0.2.3", "fec0::2", "fec0::3")
"""QEMU's own names for its host."""
FURTHER_STAND_INS = ("10.0.3.2", "10.0.3.3", "10.0.3.100", "fd00::2", "fd00::3")
"""Those of the way out."""
EVERYONE = ("255.255.255.255", *GROUPS, f"{GROUPS[1]}%eth0")


@frozen
class Village:
    """Running machines: two of one user's, of both architectures, and one of somebody else's."""

    mine: dict[str, ecompute.Container]
    others: ecompute.Container
    client: ecompute.Client
    server: RunningServer

    def inside(self, kind: str, command: str) -> str:
        """What a command prints in one of the first user's guests."""
        return self.client.run(self.mine[kind].id, command).text

    def answers(self, kind: str, command: str) -> dict[str, str]:
        """What `tcp_tries` and `udp_tries` print, by address."""
        lines = [line.split(" ", 2) for line in self.inside(kind, command).splitlines()]
        return {line[0]: line[2] for line in lines if len(line) == 3}


@pytest.fixture(scope="module")
def world() -> Iterator[Outside]:
    with outside() as made:
        yield made


@pytest.fixture(scope="module")
def listening() -> Iterator[Ears]:
    with ears() as made:
        yield made


@pytest.fixture(scope="module")
def village(machines: RunningServer, person: Person) -> Iterator[Village]:
    """All that is published is reached from this host; the first user's guests are hostile."""
    with ExitStack() as stack:
        mine = stack.enter_context(machines.client())
        theirs = stack.enter_context(machines.client(machines.add_user("bob").token))
        made = [
            (
                client,
                client.containers.create(kind, [key.id], instance_type=kind, memory_mb=192, ssh_enabled=True),
            )
            for client, kinds in ((mine, ("nano", "tiny")), (theirs, ("nano",)))
            for key in [client.ssh_keys.add("laptop", person.public_key("ed25519"))]
            for kind in kinds
        ]
        boxes = []
        for client, box in made:
            stack.callback(client.containers.delete, box.id)
            boxes.append(client.containers.wait(box.id, "running", timeout=BOOT_SECONDS))
            serve = f"mkdir -p /root/w; echo page of {box.id} >/root/w/index.html; httpd -h /root/w -p 3000"
            client.run(box.id, serve, check=True)
            client.ingress.add(box.id, 8000, target_port=3000)
        village = Village(dict(zip(("nano", "tiny"), boxes[:2], strict=True)), boxes[2], mine, machines)
        for kind in village.mine:
            mine.run(village.mine[kind].id, HOSTILE, check=True)
        yield village


BOTH = pytest.mark.parametrize("kind", ["nano", "tiny"])


@BOTH
def test_what_a_hostile_guest_sends_to_loopback_does_leave_it(village: Village, kind: str) -> None:
    """The control of all that follows: QEMU takes it, and it ends in the guest's own forwards."""
    said = village.answers(kind, tcp_tries([("127.0.0.1", 22), ("10.0.2.2", 22)]))
    assert set(said) == {"127.0.0.1", "10.0.2.2"}
    assert all(each.startswith("SSH-2.0-") for each in said.values())


@BOTH
def test_the_internet_is_reached_in_both_families(village: Village, world: Outside, kind: str) -> None:
    """By TCP and UDP: the tools of the other tests get through where they may."""
    places = [(world.v4, PORT), (world.v6, PORT), (f"::ffff:{world.v4}", PORT)]
    assert village.answers(kind, tcp_tries(places)) == {address: ANSWER for address, _ in places}
    said = village.answers(kind, udp_tries(places[:2]))
    assert said == {address: f"server error: (0) {ANSWER}" for address, _ in places[:2]}


@BOTH
def test_no_address_of_the_host_is_reached(village: Village, listening: Ears, kind: str) -> None:
    """Loopback, the stand-ins of user networks, the host's own addresses, broadcasts: IPv4 and IPv6, by TCP
    and UDP, with a listener that hears on all of them.
    """
    own = own_addresses()
    for address in ("127.0.0.1", "127.77.0.1", "::1", *own):
        listening.reached_by_us(address)
    places = [(each, listening.port) for each in (*LOOPBACK, *STAND_INS, *FURTHER_STAND_INS, *own, *EVERYONE)]
    assert village.answers(kind, all_tries(places)) == {}
    listening.reached_by_us("127.0.0.1")
    assert listening.heard == []


@BOTH
def test_no_link_local_address_is_reached(village: Village, world: Outside, kind: str) -> None:
    """Clouds keep their metadata there; the host itself does reach this one."""
    reached = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import socket; print(socket.create_connection({(world.metadata, PORT)}).recv(9))",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert ANSWER in reached.stdout
    places = [(world.metadata, PORT), ("169.254.169.254", 80), ("fe80::2%eth0", PORT)]
    assert village.answers(kind, all_tries(places)) == {}


@BOTH
def test_no_other_guest_is_reached(village: Village, kind: str) -> None:
    """Neither what it publishes nor its SSH, be it the same user's or somebody else's; this host reaches
    both.
    """
    neighbours = [box for name, box in village.mine.items() if name != kind] + [village.others]
    places = [(str(box.external_ip), port) for box in neighbours for port in (PUBLISHED, 22 + OFFSET, 3000)]
    for box in neighbours:
        assert _said(str(box.external_ip), 22 + OFFSET, b"").startswith("SSH-2.0-")
        assert _said(str(box.external_ip), PUBLISHED, b"GET /index.html HTTP/1.0\r\n\r\n").endswith(
            f"page of {box.id}\n"
        )
    # its own web server, asked in the same words by the same tool, does answer
    request = "GET /index.html HTTP/1.0\\r\\n\\r\\n"
    assert "HTTP/1" in village.answers(kind, tcp_tries([("10.0.2.15", 3000)], say=request))["10.0.2.15"]
    assert village.answers(kind, tcp_tries(places)) == {}
    assert village.answers(kind, tcp_tries(places, say=request)) == {}


def _said(address: str, port: int, request: bytes) -> str:
    import socket

    with socket.create_connection((address, port), timeout=30) as visit:
        if not request:
            return visit.recv(64).decode()
        visit.sendall(request)
        return b"".join(iter(lambda: visit.recv(4096), b"")).decode()


@BOTH
def test_the_api_is_not_reached(village: Village, kind: str) -> None:
    """By no name of the host's; a visitor on the host gets an answer to the same request."""
    port = int(village.server.url.rpartition(":")[2])
    assert "401" in _said("127.0.0.1", port, b"GET /compute/containers HTTP/1.0\r\n\r\n")
    places = [(each, port) for each in (*LOOPBACK, *STAND_INS, *FURTHER_STAND_INS, *own_addresses())]
    request = "GET /compute/containers HTTP/1.0\\r\\n\\r\\n"
    assert village.answers(kind, tcp_tries(places, say=request)) == {}


VISIT = """
import socket, sys
for address in sys.argv[2:]:
    try:
        with socket.socket(socket.AF_INET6) as visit:
            visit.settimeout(5)
            visit.connect((address, int(sys.argv[1])))
            print(address, visit.recv(64).decode().strip())
    except OSError:
        pass
"""


@pytest.mark.skipif(os.getuid() != 0, reason="enters a machine's namespaces as their owner's superior")
def test_behind_the_walls_an_ipv4_address_in_ipv6_clothes_opens_nothing(
    village: Village, world: Outside, listening: Ears
) -> None:
    """As if QEMU itself were turned: a program in its namespaces asks for the mapped form of each address."""
    (pid,) = processes_of(village.mine["nano"].id)
    own = [each for each in own_addresses() if ":" not in each]

    def visit(port: int, *addresses: str) -> str:
        done = subprocess.run(
            [
                *("nsenter", "--target", str(pid), "--user", "--net", "--preserve-credentials", "--"),
                *(sys.executable, "-I", "-S", "-c", VISIT, str(port)),
                *(f"::ffff:{address}" for address in addresses),
            ],
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    assert visit(PORT, world.v4) == f"::ffff:{world.v4} {ANSWER}\n"
    assert visit(listening.port, "127.0.0.1", "10.0.3.2", "10.0.3.3", *own) == ""
    assert visit(PORT, world.metadata) == ""
    listening.reached_by_us("127.0.0.1")
    assert listening.heard == []


# QEMU's own shell


def status_of(pid: int) -> dict[str, str]:
    """/proc/PID/status. Source: proc(5)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def ways_out_of(pid: int) -> list[int]:
    """The slirp4netns of a machine."""
    mark = f"--userns-path=/proc/{pid}/ns/user".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if mark in words:
                found.append(int(entry.name))
    return found


CAPABILITIES = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")


@BOTH
def test_qemu_has_no_rights_and_no_devices_that_nobody_asked_for(village: Village, kind: str) -> None:
    """No capability to use or to gain, libvirt's system call filter, and no user but its own."""
    (pid,) = processes_of(village.mine[kind].id)
    status = status_of(pid)
    assert {status[name] for name in CAPABILITIES} == {"0" * 16}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert "0" not in status["Uid"].split(), "never root"
    words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    assert {"-nodefaults", "-no-user-config"} <= set(words)
    sandbox = words[words.index("-sandbox") + 1].split(",")
    assert {"on", "obsolete=deny", "elevateprivileges=deny", "spawn=deny", "resourcecontrol=deny"} <= set(
        sandbox
    )
    for namespace in ("user", "net", "mnt"):
        assert Path(f"/proc/{pid}/ns/{namespace}").readlink() != Path(f"/proc/self/ns/{namespace}").readlink()


NET_BIND_SERVICE = 1 << 10


@BOTH
def test_the_way_out_has_no_rights_on_this_host(village: Village, kind: str) -> None:
    """slirp4netns is filtered too, sees next to no files, and its one capability is not one of the host's."""
    (pid,) = processes_of(village.mine[kind].id)
    (out,) = ways_out_of(pid)
    status = status_of(out)
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert all(int(status[name], 16) & ~NET_BIND_SERVICE == 0 for name in CAPABILITIES)
    assert Path(f"/proc/{out}/ns/user").readlink() == Path(f"/proc/{pid}/ns/user").readlink()
    if os.getuid() == 0:
        assert {path.name for path in Path(f"/proc/{out}/root").iterdir()} <= {"etc", "run"}
        if Path("/dev/net/tun").stat().st_mode & 0o006 == 0o006:
            assert "0" not in status["Uid"].split(), "never root"


@pytest.mark.skipif(os.getuid() != 0, reason="an ordinary user's QEMU runs as that user")
def test_qemus_user_cannot_read_the_servers_secrets(village: Village) -> None:
    """Nor list where they lie: as that user, in QEMU's own view of the file system."""
    (pid,) = processes_of(village.mine["nano"].id)
    state = village.server.state
    secrets = [path for path in state.iterdir() if path.is_file()]
    assert any(path.name == "ecompute.db" for path in secrets)
    tried = subprocess.run(
        ["nsenter", "--target", str(pid), "--user", "--mount", "--", "cat", "/etc/passwd", state, *secrets],
        capture_output=True,
        text=True,
    )
    assert tried.stdout == Path("/etc/passwd").read_text(), "it reads what everybody may, and that is all"
    assert tried.stderr.count("Permission denied") == 1 + len(secrets)
