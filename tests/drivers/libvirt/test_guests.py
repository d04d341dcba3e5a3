"""Real guests of both architectures, in a driver process that can end, crash and come back."""

from __future__ import annotations

import os
import pwd
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ecompute_server.hypervisor.libvirt.layout import home_of, layout_of

from .conftest import Drive, end_all
from .harness import DEADLINE, Driver, Failed, processes_of

ROOT = Path(__file__).parents[3]


def qemu_of(state: Path, container: str) -> int:
    """The process of a container's machine."""
    name = f"guest=ecompute-{container}-"
    base = str(layout_of(state).base)
    [pid] = [pid for pid, command in processes_of(base).items() if name in command]
    return pid


def left_of(state: Path, container: str) -> set[str]:
    """What still speaks of a container on this host: files, processes."""
    files = {str(path) for path in home_of(state).rglob("*") if container in path.name}
    processes = set(processes_of(str(layout_of(state).base)).values())
    return files | processes


def way_out_of(pid: int) -> dict[int, str]:
    return {p: c for p, c in processes_of("slirp4netns").items() if f"/proc/{pid}/ns/user" in c}


def gone(pids: set[int], seconds: float = DEADLINE) -> bool:
    """Waits until processes have ended."""
    for pid in pids:
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        ended = select.select([descriptor], [], [], seconds)[0]
        os.close(descriptor)
        if not ended:
            return False
    return True


def test_a_life(drive: Drive, state: Path) -> None:
    """On amd64: start, SSH, stop, start with the same volume, reboot inside, delete: then nothing is left."""
    driver = drive(state, "--arch", "amd64")
    driver.do("open")
    driver.do("start", container="life1", generation=1)
    driver.fact("life1", 1, "started")
    driver.fact("life1", 1, "ready")
    assert driver.do("exchange", container="life1", port=22).startswith("SSH-2.0-")
    said = driver.do("run", container="life1", command="echo kept > /root/note; uname -m; hostname")
    assert said == "x86_64\nguest\n"
    driver.do("stop", container="life1", grace=30)
    assert "Power down" in driver.do("console", container="life1")

    driver.do("start", container="life1", generation=2)
    driver.fact("life1", 2, "ready")
    assert driver.do("run", container="life1", command="cat /root/note") == "kept\n"
    first = qemu_of(state, "life1")
    way_out = set(way_out_of(first))
    driver.do("run", container="life1", command="reboot")
    driver.fact("life1", 2, "ready")
    assert qemu_of(state, "life1") == first, "a reboot inside keeps the machine"
    assert driver.do("run", container="life1", command="cat /root/note") == "kept\n"

    driver.do("delete", container="life1")
    assert gone({first, *way_out})
    driver.end()
    assert left_of(state, "life1") == set()
    assert list(driver.facts) == []


def test_guests_outlive_their_server_and_the_next_one_finds_them(drive: Drive, state: Path) -> None:
    """On arm64: one ready and one still booting when the server is killed; later QEMU is killed too."""
    driver = drive(state, "--arch", "arm64")
    driver.do("open")
    driver.do("start", container="old1", generation=3)
    driver.fact("old1", 3, "ready")
    assert driver.do("run", container="old1", command="uname -m") == "aarch64\n"
    driver.do("start", container="new1", generation=1)
    driver.kill()

    driver = drive(state, "--arch", "arm64")
    driver.do("open")
    assert sorted(driver.do("machines")) == [["new1", 1], ["old1", 3]]
    driver.fact("old1", 3, "ready")
    assert driver.do("exchange", container="old1", port=22).startswith("SSH-2.0-")
    driver.do("start", container="new1", generation=1)
    driver.fact("new1", 1, "started")
    driver.fact("new1", 1, "ready")
    assert driver.do("exchange", container="new1", port=22).startswith("SSH-2.0-")

    victim = qemu_of(state, "old1")
    way_out = way_out_of(victim)
    os.kill(victim, signal.SIGKILL)
    lost = driver.fact("old1", 3, "lost")
    assert re.fullmatch(r"[^\n]+", lost[3]), "one line says why"
    assert driver.do("machines") == [["new1", 1]]
    assert gone(set(way_out)), "the way out ends with QEMU"
    with pytest.raises(Failed, match="NoSuchMachine"):
        driver.do("exchange", container="old1", port=22)

    driver.do("start", container="old1", generation=4)
    driver.do("delete", container="old1")
    driver.do("delete", container="new1")
    driver.end()
    assert left_of(state, "old1") | left_of(state, "new1") == set()


def test_a_second_process_is_refused_in_one_sentence(drive: Drive, state: Path) -> None:
    first = drive(state)
    first.do("open")
    with pytest.raises(Failed, match=r"HypervisorError: Another process holds the machines in [^\n]*\.$"):
        drive(state).do("open")
    first.do("close")


@contextmanager
def listening(address: str) -> Iterator[tuple[int, threading.Event]]:
    """A listener on an address of this host's, and whether anybody came."""
    came = threading.Event()
    with socket.create_server((address, 0)) as server:
        server.settimeout(0.1)
        done = threading.Event()

        def accept() -> None:
            while not done.is_set():
                try:
                    server.accept()[0].close()
                except TimeoutError:
                    continue
                came.set()

        thread = threading.Thread(target=accept)
        thread.start()
        yield server.getsockname()[1], came
        done.set()
        thread.join()


def own_address() -> str | None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return None
        return str(probe.getsockname()[0])


def test_a_guest_cannot_reach_its_host_and_may_power_itself_off(drive: Drive, place: Path) -> None:
    """Neither loopback nor the host's own address, even with root's routes in the guest. The state directory
    has a long path.
    """
    state = place / ("a-rather-long-name-" * 6) / "state"
    driver = drive(state, "--arch", "arm64")
    try:
        driver.do("open")
        driver.do("start", container="wall1", generation=1)
        driver.fact("wall1", 1, "ready")
        own = driver.do("run", container="wall1", command="nc -w 9 10.0.2.2 22 </dev/null")
        assert own.startswith("SSH-2.0-"), "the way to 10.0.2.2 is open, and ends in its own forwards"
        listeners = [("127.0.0.1", "10.0.2.2"), ("127.0.0.1", "127.0.0.1")]
        if (ours := own_address()) is not None:
            listeners.append((ours, ours))
        for address, seen_as in listeners:
            with listening(address) as (port, came):
                route = "ip route add 127.0.0.1 dev eth0 2>/dev/null; " if seen_as.startswith("127.") else ""
                driver.do(
                    "run", container="wall1", command=f"{route}nc -w 2 {seen_as} {port} </dev/null; true"
                )
                assert not came.is_set(), f"the guest reached {address} as {seen_as}"
        driver.begin("run", container="wall1", command="poweroff")
        driver.fact("wall1", 1, "stopped")
        assert driver.do("machines") == []
        driver.do("delete", container="wall1")
        driver.end()
        assert left_of(state, "wall1") == set()
    finally:
        end_all(state)


def test_a_start_that_fails_leaves_nothing(drive: Drive, state: Path) -> None:
    """No image, no such architecture, more memory than there is: one sentence each, and no trace."""
    driver = drive(state)
    driver.do("open")
    with pytest.raises(Failed, match=r"NotReady: .*ecompute-server images build --image none --arch amd64"):
        driver.do("start", container="bad1", generation=1, image="none")
    with pytest.raises(Failed, match="HypervisorError: The architecture 'vax' is unknown"):
        driver.do("start", container="bad1", generation=1, arch="vax")
    with pytest.raises(Failed, match=r"HypervisorError: libvirt did not start the machine: [^\n]*memory"):
        driver.do("start", container="bad1", generation=1, memory_mb=1 << 40)
    with pytest.raises(Failed, match="HypervisorError: The identity of 'guest' takes"):
        driver.do("start", container="bad1", generation=1, authorized_keys=["k" * 70_000])
    assert driver.do("machines") == []
    driver.end()
    assert left_of(state, "bad1") == set()
    assert [fact for fact in driver.facts if fact[2] != "started"] == []


def test_a_start_that_its_server_did_not_live_to_finish_is_undone(drive: Drive, state: Path) -> None:
    driver = drive(state, "--arch", "arm64")
    driver.do("open")
    driver.do("start", container="half1", generation=1)
    driver.kill()
    (home_of(state) / "machines/half1/whole").unlink()
    driver = drive(state, "--arch", "arm64")
    driver.do("open")
    assert driver.do("machines") == []
    assert gone(set(processes_of("guest=ecompute-half1-")))
    driver.do("delete", container="half1")


@pytest.mark.parametrize("until_killed", [0.0, 0.5, 1.0])
def test_a_stop_that_its_server_did_not_live_to_finish_is_finished_by_the_next(
    drive: Drive, state: Path, until_killed: float
) -> None:
    """Wherever in its end the guest is then: the grace is for a guest that is still there."""
    driver = drive(state, "--arch", "arm64")
    driver.do("open")
    driver.do("start", container="end1", generation=1)
    driver.fact("end1", 1, "ready")
    pid = qemu_of(state, "end1")
    driver.begin("stop", container="end1", grace=60)
    gone({pid}, until_killed)
    driver.kill()
    driver = drive(state, "--arch", "arm64")
    driver.do("open")
    begin = time.monotonic()
    driver.do("stop", container="end1", grace=60)
    assert time.monotonic() - begin < 20
    assert driver.do("machines") == []
    driver.do("start", container="end1", generation=2)
    driver.fact("end1", 2, "ready")
    driver.do("delete", container="end1")
    driver.end()
    assert processes_of(str(layout_of(state).base)) == {}


def ordinary_user() -> tuple[str, ...]:
    """How to run Python as somebody who is not root, from a process of root's."""
    for python in (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}"):
        packages = f"PYTHONPATH={ROOT}:{sysconfig.get_path('purelib')}"
        whole = ("env", packages, "HOME=/nonexistent", "runuser", "--user", "nobody", "--", python)
        tried = subprocess.run(
            [*whole, "-c", "import libvirt, ecompute_server.hypervisor.libvirt"], cwd="/", capture_output=True
        )
        if tried.returncode == 0:
            return whole
    pytest.skip("another user cannot reach this Python")


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become another user; the others ran as one")
def test_an_ordinary_user_runs_guests_too(drive: Drive, images: Path, place: Path) -> None:
    python = ordinary_user()
    nobody = pwd.getpwnam("nobody")
    place.chmod(0o755)
    folder = place / "nobody"
    shutil.copytree(images / "images", folder / "cache" / "images", symlinks=True)
    state = folder / "state"
    state.mkdir(mode=0o700)
    os.chown(state, nobody.pw_uid, nobody.pw_gid)
    driver = Driver(state, folder / "cache", "--arch", "arm64", python=python)
    try:
        driver.do("open")
        driver.do("start", container="user1", generation=1)
        driver.fact("user1", 1, "ready")
        assert driver.do("exchange", container="user1", port=22).startswith("SSH-2.0-")
        driver.do("stop", container="user1", grace=30)
        driver.do("delete", container="user1")
        driver.end()
        assert set(home_of(state).rglob("*user1*")) == set()
    finally:
        driver.kill()
        end_all(state)
