"""The parts of a guest's network, most of them without any guest."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ecompute_server.hypervisor.interface import HypervisorError
from ecompute_server.hypervisor.libvirt.layout import MachineFiles
from ecompute_server.hypervisor.libvirt.network import firewall, outbound, routes, wrapper
from ecompute_server.hypervisor.libvirt.network.forwards import Forwards, listed
from ecompute_server.hypervisor.libvirt.network.host import Fault, HostNetwork, namespaces_remedy
from ecompute_server.hypervisor.libvirt.network.interface import Mode
from ecompute_server.hypervisor.libvirt.network.namespace import Namespace, NamespaceNetwork

# Walls

FIB_TRIE = """\
Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 127.0.0.0/8 2 0 2
        |-- 127.0.0.1
           /32 host LOCAL
     +-- 192.0.2.0/24 2 0 2
        |-- 192.0.2.0
           /24 link UNICAST
        |-- 192.0.2.7
           /32 host LOCAL
        |-- 192.0.2.255
           /32 link BROADCAST
Local:
     |-- 192.0.2.7
        /32 host LOCAL
     |-- 198.51.100.1
        /32 host LOCAL
     |-- 203.0.113.0
        /24 host LOCAL
"""

IF_INET6 = """\
00000000000000000000000000000001 01 80 10 80       lo
fe80000000000000000000fffe000001 02 40 20 80     eth0
20010db8000000000000000000000007 02 40 00 80     eth0
"""


def test_every_address_of_the_host_is_prohibited() -> None:
    """Whole networks that the host answers for, and broadcasts that it hears, too."""
    commands = routes.batch(routes.local_v4(FIB_TRIE), routes.local_v6(IF_INET6)).splitlines()
    assert commands[0] == "link set lo up"
    prohibited = {command.removeprefix("route replace prohibit ") for command in commands[1:]}
    assert prohibited == {
        *("192.0.2.7/32", "192.0.2.255/32", "198.51.100.1/32", "203.0.113.0/24"),
        *("169.254.0.0/16", "224.0.0.0/4", "255.255.255.255/32"),
        *("2001:0db8:0000:0000:0000:0000:0000:0007/128", "fe80::/10", "::ffff:0:0/96"),
    }


def test_a_kernel_without_ipv6_gets_no_ipv6_commands() -> None:
    """`ip` would stop at the first."""
    assert ":" not in routes.batch(["192.0.2.7/32"], None)


def test_the_walls_of_this_host_know_its_addresses() -> None:
    """The kernel's own text, whatever its version, must be understood."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # a UDP connect sends nothing
        except OSError:
            pytest.skip("this host has no route")
        ours = probe.getsockname()[0]
    assert f"route replace prohibit {ours}/32" in routes.for_this_host().splitlines()


@pytest.mark.parametrize(
    ("name", "value", "remedy"),
    [
        ("kernel/apparmor_restrict_unprivileged_userns", "1", "apparmor_restrict_unprivileged_userns=0"),
        ("user/max_user_namespaces", "0", "max_user_namespaces=15000"),
        ("user/max_user_namespaces", "100", "where user namespaces are allowed"),
    ],
)
def test_the_remedy_names_the_setting_that_is_in_the_way(
    tmp_path: Path, name: str, value: str, remedy: str
) -> None:
    """As a command that can be pasted, where there is one."""
    (tmp_path / name).parent.mkdir()
    (tmp_path / name).write_text(value + "\n")
    assert remedy in namespaces_remedy(tmp_path)


# Wrapper


def test_the_wrapper_is_rewritten_only_when_qemu_or_its_text_changed(tmp_path: Path) -> None:
    """libvirt looks at QEMU again whenever the file's change time moves."""
    qemu = tmp_path / "qemu-system-x86_64"
    qemu.write_text("#!/bin/sh\n")
    emulator = wrapper.install(tmp_path / "e", qemu)
    before = emulator.stat()
    wrapper.install(tmp_path / "e", qemu)
    assert (emulator.stat().st_ino, emulator.stat().st_ctime_ns) == (before.st_ino, before.st_ctime_ns)
    qemu.write_text("#!/bin/sh\n# upgraded\n")
    wrapper.install(tmp_path / "e", qemu)
    assert emulator.stat().st_ino != before.st_ino


def test_a_question_of_libvirts_reaches_qemu_without_walls(tmp_path: Path) -> None:
    """There is no guest then, and no folder of one."""
    qemu = tmp_path / "a qemu"
    qemu.write_text('#!/bin/sh\necho "asked: $*"\n')
    qemu.chmod(0o755)
    emulator = wrapper.install(tmp_path / "e", qemu)
    done = subprocess.run(
        [emulator, "-S", "-machine", "none,accel=tcg"], capture_output=True, text=True, check=True
    )
    assert done.stdout == "asked: -S -machine none,accel=tcg\n"


@pytest.mark.skipif(os.getuid() != 0 and not Path("/proc/self/ns/user").exists(), reason="no user namespaces")
def test_behind_the_wrapper_qemu_has_no_network_no_capability_and_holds_the_fifo(tmp_path: Path) -> None:
    """Its name server is that of the way out."""
    if subprocess.run(["unshare", "-rnm", "true"], capture_output=True).returncode != 0:
        pytest.skip("this host allows no user namespaces")
    machine = tmp_path / "m"
    machine.mkdir()
    (machine / "walls").write_text(routes.for_this_host())
    os.mkfifo(machine / "alive")
    qemu = tmp_path / "qemu"
    qemu.write_text(
        "#!/bin/sh\n"
        "ls /sys/class/net 2>/dev/null | grep -c . >/dev/null; cat /proc/net/dev | tail -n +3 | cut -d: -f1\n"
        "grep -E 'CapEff|CapBnd|NoNewPrivs' /proc/self/status\n"
        "ls -l /proc/$$/fd | grep -c alive\n"
        "cat /etc/resolv.conf; cat /proc/sys/net/ipv4/ip_unprivileged_port_start\n"
        "ip route get 192.0.2.1 2>&1; ip route show type prohibit\n"
    )
    qemu.chmod(0o755)
    emulator = wrapper.install(tmp_path / "e", qemu)
    done = subprocess.run(
        [emulator, "-machine", "pc"],
        env={"ECOMPUTE_MACHINE": str(machine)},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.split("\n")
    assert lines[0].strip() == "lo"
    assert [line.split()[1] for line in lines[1:4]] == ["0" * 16, "0" * 16, "1"]
    assert lines[4] == "1"
    assert "nameserver 10.0.3.3" in lines
    assert "0" in lines
    assert any("unreachable" in line for line in lines)
    assert "prohibit 169.254.0.0/16 " in lines


def test_qemu_does_not_start_when_its_walls_cannot_be_built(tmp_path: Path) -> None:
    """One route that the kernel does not take is enough."""
    machine = tmp_path / "m"
    machine.mkdir()
    (machine / "walls").write_text("link set lo up\nroute add prohibit not-an-address\n")
    os.mkfifo(machine / "alive")
    qemu = tmp_path / "qemu"
    qemu.write_text("#!/bin/sh\necho started\n")
    qemu.chmod(0o755)
    emulator = wrapper.install(tmp_path / "e", qemu)
    done = subprocess.run(
        [emulator, "-machine", "pc"], env={"ECOMPUTE_MACHINE": str(machine)}, capture_output=True, text=True
    )
    assert done.returncode != 0
    assert "started" not in done.stdout


def test_slirp4netns_is_kept_from_the_hosts_loopback_and_in_its_sandbox() -> None:
    """By its own options; the walls do not count on them alone."""
    command = outbound.command("slirp4netns", 42, exit_fd=5, ready_fd=6)
    assert {"--disable-host-loopback", "--enable-sandbox", "--enable-seccomp"} <= set(command)
    assert command[-2:] == ["42", "tap0"]


# Forwards

USERNET = """\
Hub -1 (hostnet0):
  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ
  TCP[ESTABLISHED]   29       127.0.0.1  22       10.0.2.15    22     0     0
  TCP[HOST_FORWARD]  28       127.0.0.1    22       10.0.2.15    22     0     0
  TCP[HOST_FORWARD]  27       127.0.0.1 40123       10.0.2.15  8080     0     0
"""


def test_the_monitors_list_of_forwards_is_understood() -> None:
    """Connections that go through a forward are no forwards."""
    assert listed(USERNET) == {22: 22, 8080: 40123}


def test_a_port_is_forwarded_once_however_many_ask() -> None:
    """They wait for the first."""
    asked: list[str] = []

    async def ask(command: str) -> str:
        asked.append(command)
        await asyncio.sleep(0)
        return ""

    async def scene() -> None:
        forwards = Forwards(ask, "same")
        await asyncio.gather(*(forwards.ensure(22) for _ in range(5)))

    asyncio.run(scene())
    assert asked == ["hostfwd_add hostnet0 tcp:127.0.0.1:22-:22"]


def test_a_forward_that_an_earlier_process_made_is_taken_over_and_another_failure_is_told() -> None:
    """QEMU answers to both in the same words."""

    async def ask(command: str) -> str:
        return USERNET if command == "info usernet" else "could not set up host forwarding rule\r\n"

    async def scene() -> None:
        forwards = Forwards(ask, "same")
        await forwards.ensure(8080)
        with pytest.raises(HypervisorError, match="port 9000: could not set up"):
            await forwards.ensure(9000)

    asyncio.run(scene())


def test_in_the_hosts_network_a_forward_takes_a_free_port_and_is_found_again() -> None:
    """The kernel chooses; who asks later, or in a later process, is told the same."""
    asked: list[str] = []

    async def ask(command: str) -> str:
        asked.append(command)
        made = f"  TCP[HOST_FORWARD]  9  127.0.0.1 {51000 + len(asked)}  10.0.2.15 9000 0 0\n"
        return USERNET + (made if len(asked) == 3 else "") if command == "info usernet" else ""

    async def scene() -> None:
        forwards = Forwards(ask, "free")
        assert await forwards.ensure(9000) == await forwards.ensure(9000) == 51003
        assert len(asked) == 3
        assert asked[1] == "hostfwd_add hostnet0 tcp:127.0.0.1:0-:9000"
        assert await Forwards(ask, "free").ensure(8080) == 40123
        with pytest.raises(HypervisorError, match="port 7000: it is not there"):
            await forwards.ensure(7000)

    asyncio.run(scene())


# Which walls

NONE = Fault("no user namespaces", "sysctl")
CLOSED = Fault("no slirp4netns", "apt-get")


@pytest.mark.parametrize(
    ("found", "outbound", "mode", "fault"),
    [
        (HostNetwork(None, "", "/s", None), True, Mode.NAMESPACE, None),
        (HostNetwork(None, "", "", CLOSED), True, Mode.NAMESPACE, CLOSED),
        (HostNetwork(NONE, "", "/s", None), True, Mode.FIREWALL, None),
        (HostNetwork(NONE, "", "/s", None), False, Mode.RESTRICTED, NONE),
        (
            HostNetwork(NONE, "no nft", "/s", None),
            True,
            Mode.RESTRICTED,
            Fault("no user namespaces, no nft", "sysctl"),
        ),
    ],
)
def test_a_host_gets_the_best_walls_that_it_allows(
    found: HostNetwork, outbound: bool, mode: Mode, fault: Fault | None
) -> None:
    """A rule in the host's firewall is not asked for where guests shall have no way out anyway."""
    assert found.mode(outbound=outbound) is mode
    assert found.outbound_fault(mode) == fault


# Firewall


def test_the_hosts_name_servers_are_read_and_what_is_none_is_left_out() -> None:
    """Those with a scope cannot stand in a rule."""
    text = "search x\nnameserver 127.0.0.53\n nameserver ::1 \nnameserver fe80::1%eth0\nnameserver x\n"
    assert firewall.name_servers(text) == ["127.0.0.53", "::1"]


def test_a_user_without_rights_gets_no_firewall() -> None:
    """The reason says so."""
    assert firewall.fault(None) == "guests do not run as a user of their own"


BEHIND = """\
import socket, subprocess, sys
from ecompute_server.hypervisor.libvirt.files import Owner
from ecompute_server.hypervisor.libvirt.layout import MachineFiles
from ecompute_server.hypervisor.libvirt.network import firewall
owner = Owner(64999, 64999)
assert firewall.fault(owner) == "", firewall.fault(owner)
walls = firewall.Firewall(owner, "trial")
print(firewall.reaches_loopback(owner.uid))
for _ in range(2):
    walls.hold()
    print(firewall.reaches_loopback(owner.uid), firewall.reaches_loopback(0))
walls.release()
print(firewall.reaches_loopback(owner.uid), subprocess.run(["nft", "list", "tables"]).returncode)
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root has a firewall")
def test_the_rules_keep_one_user_from_the_host_and_nobody_else() -> None:
    """In a network namespace of this test's own. Loaded twice they are there once; released they are gone."""
    done = subprocess.run(
        ["unshare", "--net", "sh", "-c", 'ip link set lo up; exec "$@"', "sh", sys.executable, "-c", BEHIND],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[3],
    )
    assert done.stdout.splitlines() == ["True", "False True", "False True", "True 0"], done.stderr


WITHOUT_EFFECT = """\
from ecompute_server.hypervisor.interface import HypervisorError
from ecompute_server.hypervisor.libvirt.files import Owner
from ecompute_server.hypervisor.libvirt.layout import MachineFiles
from ecompute_server.hypervisor.libvirt.network import firewall
firewall._RULES = firewall._RULES.replace("meta skuid {uid} jump", "meta skuid 1 jump")
try:
    firewall.Firewall(Owner(64999, 64999), "trial").hold()
except HypervisorError as error:
    print(error)
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root has a firewall")
def test_rules_without_effect_are_no_walls() -> None:
    """They are tried, not only loaded."""
    done = subprocess.run(
        [
            *("unshare", "--net", "sh", "-c", 'ip link set lo up; exec "$@"', "sh"),
            *(sys.executable, "-c", WITHOUT_EFFECT),
        ],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[3],
    )
    assert done.stdout == "The walls of the guests do not hold: the rules are loaded and do nothing\n", (
        done.stderr
    )


# Addresses

WATCHING = """\
import asyncio, subprocess
from ecompute_server.hypervisor.libvirt.network import routes
from ecompute_server.hypervisor.libvirt.network.addresses import Addresses
async def scene():
    addresses = Addresses()
    for new in ("192.0.2.9/24", "2001:db8::9/64"):
        subprocess.run(["ip", "address", "add", new, "dev", "lo"], check=True)
        async with asyncio.timeout(20):
            await addresses.changed()
    print(routes.for_this_host())
    addresses.close()
asyncio.run(scene())
"""


def test_an_address_that_comes_is_told_and_then_known() -> None:
    """Of both families, in a network namespace of this test's own."""
    if subprocess.run(["unshare", "-rn", "true"], capture_output=True).returncode != 0:
        pytest.skip("this host allows no user namespaces")
    done = subprocess.run(
        ["unshare", "-rn", "sh", "-c", 'ip link set lo up; exec "$@"', "sh", sys.executable, "-c", WATCHING],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[3],
    )
    assert "route replace prohibit 192.0.2.9/32\n" in done.stdout, done.stderr
    assert "route replace prohibit 2001:0db8:0000:0000:0000:0000:0000:0009/128\n" in done.stdout


def test_only_what_is_new_is_added_and_nothing_is_taken_away() -> None:
    """An address that goes and comes back is never open in between."""
    before = routes.batch(["192.0.2.7/32", "192.0.2.8/32"], [])
    assert routes.missing(before, before) == ""
    after = routes.batch(["192.0.2.7/32", "192.0.2.9/32"], [])
    assert routes.missing(after, before) == "route replace prohibit 192.0.2.9/32\n"


@pytest.fixture
def inside() -> Iterator[int]:
    """A process of our own user's in a private user and network namespace."""
    if subprocess.run(["unshare", "-rn", "true"], capture_output=True).returncode != 0:
        pytest.skip("this host allows no user namespaces")
    process = subprocess.Popen(["unshare", "-rn", "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"\n")
    process.stdin.flush()
    assert process.stdout.read(1) == b"\n"
    yield process.pid
    process.communicate()


async def no_monitor(command: str) -> str:
    raise AssertionError(command)


def test_walls_are_kept_up_in_the_namespace_of_ones_own_user(inside: int, tmp_path: Path) -> None:
    """Every address of the host that was not prohibited is afterwards, once, and the record says so."""
    files = MachineFiles(tmp_path)
    files.walls.write_text("")
    network = NamespaceNetwork(inside, files, no_monitor, Namespace(tmp_path, None, ""))
    network.keep_up()
    assert set(files.walls.read_text().splitlines()) == set(routes.for_this_host().splitlines())
    show = ["nsenter", "--target", str(inside), "--user", "--net", "--preserve-credentials", "--"]
    shown = subprocess.run(
        [*show, "ip", "-4", "route", "show", "type", "prohibit"], capture_output=True, text=True, check=True
    )
    prohibited = {line.split()[1] for line in shown.stdout.splitlines()}
    v4 = {net.removesuffix("/32") for net in routes.local_v4(Path("/proc/net/fib_trie").read_text())}
    assert prohibited == {net.removesuffix("/32") for net in routes.FIXED_V4} | v4
    before = files.walls.read_text()
    network.keep_up()
    assert files.walls.read_text() == before
    asyncio.run(network.close())


def test_a_process_in_the_hosts_own_network_has_no_walls(tmp_path: Path) -> None:
    """Whatever number it has, nothing is changed there."""
    files = MachineFiles(tmp_path)
    files.walls.write_text("")
    network = NamespaceNetwork(os.getpid(), files, no_monitor, Namespace(tmp_path, None, ""))
    with pytest.raises(HypervisorError, match="not behind them"):
        network.keep_up()
    assert files.walls.read_text() == ""
    asyncio.run(network.close())
