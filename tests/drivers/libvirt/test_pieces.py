"""The driver's small pieces that need no guest, most of them pure."""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
import sys
import termios
import threading
from pathlib import Path

import pytest

from ecompute_server.hypervisor.interface import HypervisorError
from ecompute_server.hypervisor.libvirt import binding, kvm
from ecompute_server.hypervisor.libvirt.connection import WORKERS, Connection
from ecompute_server.hypervisor.libvirt.console import KEEP, ConsoleLog, tail
from ecompute_server.hypervisor.libvirt.files import trim
from ecompute_server.hypervisor.libvirt.layout import LONGEST_BASE, MachineFiles, home_of, layout_of
from ecompute_server.hypervisor.libvirt.link import CHUNK, MAX_WAITING, Link, Pace
from ecompute_server.hypervisor.libvirt.machine import AGENT_BURST, AGENT_LINE, AGENT_RATE, LiveMachine
from ecompute_server.hypervisor.libvirt.settings import LibvirtSettings
from ecompute_server.images.catalogue import Catalogue

# Console


def test_a_console_log_never_grows_beyond_its_bound_and_keeps_the_end(tmp_path: Path) -> None:
    log = ConsoleLog(tmp_path / "console.log")
    for number in range(3000):
        log.append(f"line {number:06}\n".encode() * 10)
        assert (tmp_path / "console.log").stat().st_size <= KEEP
    assert tail(tmp_path / "console.log", 12) == b"line 002999\n"


def test_a_console_log_goes_on_where_an_earlier_process_stopped(tmp_path: Path) -> None:
    ConsoleLog(tmp_path / "log").append(b"before ")
    ConsoleLog(tmp_path / "log").append(b"after")
    assert tail(tmp_path / "log", 100) == b"before after"
    assert (tmp_path / "log").stat().st_mode & 0o077 == 0


def test_one_piece_larger_than_the_bound_is_cut(tmp_path: Path) -> None:
    ConsoleLog(tmp_path / "log").append(b"a" * KEEP + b"end")
    assert (tmp_path / "log").stat().st_size == KEEP
    assert tail(tmp_path / "log", 3) == b"end"


def test_a_console_that_never_was_is_empty(tmp_path: Path) -> None:
    assert tail(tmp_path / "none", 10) == b""


# Link


def test_a_guest_that_reads_nothing_cannot_make_the_queue_grow(tmp_path: Path) -> None:
    async def scene() -> int:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(tmp_path / "s"))
            listener.listen()
            link = await Link.connect(tmp_path / "s", lambda data: None, Pace(rate=1, burst=1))
            for _ in range(10 * MAX_WAITING):
                link.send(b"x" * 65536)
            waiting = link._outgoing.qsize()
            await link.close()
            return waiting

    assert asyncio.run(scene()) <= MAX_WAITING


def test_a_pace_lets_a_burst_through_and_then_its_rate() -> None:
    now = 10.0
    pace = Pace(rate=100, burst=300, clock=lambda: now)
    pace.spend(300)
    assert pace.pause() == 0
    pace.spend(50)
    assert pace.pause() == 0.5
    now = 10.5
    assert pace.pause() == 0
    now = 1000.0
    pace.spend(1000)
    assert pace.pause() == 7, "a silence gives no more than a burst"


@pytest.mark.parametrize(
    ("line", "worth"),
    [(b"", 1), (b"y", 2), (b"{", 2 + AGENT_LINE), (b'{"type":"hello","configured":true}', 35 + AGENT_LINE)],
)
def test_a_guest_that_floods_its_agent_link_has_to_wait(tmp_path: Path, line: bytes, worth: int) -> None:
    """What it gets read in some time is what its pace allows, and the rest stays in its socket."""
    files = MachineFiles(tmp_path)

    async def scene() -> tuple[int, float]:
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_UNIX) as agent, socket.socket(socket.AF_UNIX) as console:
            for listener, path in ((agent, files.agent), (console, files.console)):
                listener.bind(str(path))
                listener.listen()
            machine = LiveMachine("box", 1, "uuid", files, lambda fact: None)
            await machine.attach(fresh=True)
            guest, begin, sent = agent.accept()[0], loop.time(), 0
            with guest:
                guest.setblocking(False)
                data = (line + b"\n") * (65536 // (len(line) + 1))
                while loop.time() < begin + 0.5:
                    try:
                        sent += guest.send(data)
                    except BlockingIOError:
                        await asyncio.sleep(0.01)
                assert machine._agent is not None
                unread = fcntl.ioctl(machine._agent._socket, termios.FIONREAD, b"\0" * 4)
                seconds = loop.time() - begin
                await machine.detach()
            return sent - int.from_bytes(unread, sys.byteorder), seconds

    read, seconds = asyncio.run(scene())
    bytes_allowed = (AGENT_BURST + AGENT_RATE * seconds) * (len(line) + 1) / worth
    assert read <= bytes_allowed + 2 * CHUNK


# Layout and settings


def test_the_short_name_is_short_and_the_same_in_every_process() -> None:
    long = Path("/srv") / ("d" * 120) / "state"
    for uid in (0, 1000):
        layout = layout_of(long, uid=uid)
        assert len(os.fsencode(layout.base)) <= LONGEST_BASE
        assert layout == layout_of(long, uid=uid)
    assert layout_of(Path("/srv/state"), uid=1000).base == home_of(Path("/srv/state"))


@pytest.mark.parametrize("container", ["", ".", "..", "a/b", "-x", "a\nb", "x" * 64, "ü"])
def test_an_id_that_is_no_harmless_file_name_is_refused(container: str) -> None:
    with pytest.raises(HypervisorError):
        layout_of(Path("/srv/state")).machine(container)


@pytest.mark.parametrize("uri", ["qemu+ssh://host/system", "qemu://host/system", "xen:///system", ""])
def test_an_address_on_another_host_is_refused(uri: str) -> None:
    with pytest.raises(HypervisorError, match="not supported"):
        LibvirtSettings(state=Path("/s"), find_image=lambda name, arch: None, uri=uri)


# KVM


def test_the_answer_on_kvm_is_remembered_for_the_same_boot_and_qemu_only(tmp_path: Path) -> None:
    memory, key = tmp_path / "kvm.json", {"boot": "b", "qemu": "q"}
    assert kvm.recall(memory, key) is None
    kvm.remember(memory, key, kvm.Kvm.UNUSABLE)
    assert kvm.recall(memory, key) is kvm.Kvm.UNUSABLE
    assert kvm.recall(memory, {**key, "boot": "another"}) is None
    memory.write_text("{broken")
    assert kvm.recall(memory, key) is None


@pytest.mark.parametrize(
    ("program", "speaks"),
    [
        ("print('[0] Linux version 6.1', flush=True); import time; time.sleep(60)", True),
        ("print('KVM: entry failed')", False),
        ("raise SystemExit(134)", False),
        ("import time; time.sleep(60)", False),
    ],
)
def test_only_a_kernels_own_words_count_as_kvm(program: str, speaks: bool) -> None:
    assert kvm.speaks([sys.executable, "-I", "-S", "-c", program], patience=1.0) is speaks


@pytest.mark.parametrize("arch", ["amd64", "arm64"])
def test_the_kernel_of_the_trial_does_speak(arch: str, images: Path) -> None:
    """Emulated, because KVM itself is nothing that a test can ask for."""
    image, qemu = Catalogue(images).find("micro", arch), kvm.qemu_program(arch)
    assert image is not None
    assert qemu is not None
    assert kvm.speaks(kvm.command(qemu, str(image.kernel), arch, accelerator="tcg"), patience=60)


# Logs


def test_a_log_that_grew_too_large_starts_again_and_others_are_left(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("ab", buffering=0) as writer:
        writer.write(b"x" * 100)
        trim([log], 100)
        assert log.stat().st_size == 100
        writer.write(b"x")
        trim([log], 100)
        writer.write(b"next")
    assert log.read_bytes() == b"next"
    trim([tmp_path / "none"], 1)


# libvirt's words


def test_a_failure_is_told_in_the_last_line_that_says_why() -> None:
    text = (
        "internal error: process exited while connecting to monitor: total 0\n"
        "2026-01-01T00:00:00.000000Z qemu-system-x86_64: cannot set up guest memory 'pc.ram':"
        " Cannot allocate memory\n"
    )
    assert binding.sentence(text) == (
        "qemu-system-x86_64: cannot set up guest memory 'pc.ram': Cannot allocate memory"
    )
    assert binding.sentence("") == "unknown error"


COMMAND = """\
2026-01-01 00:00:00.000+0000: starting up libvirt version: 9.0.0
LC_ALL=C \\
-sandbox on \\
-msg timestamp=on
"""


@pytest.mark.parametrize(
    ("printed", "words"),
    [
        ("", ""),
        ("2026-01-01 00:00:09.000+0000: shutting down, reason=crashed\n", ""),
        ("2026-01-01T00:00:00.000000Z qemu-system-x86_64: no memory\n", "qemu-system-x86_64: no memory"),
        ("RTNETLINK answers: Invalid argument\nCommand failed walls:4\n", "Command failed walls:4"),
    ],
)
def test_the_last_words_of_a_log_are_not_libvirts(printed: str, words: str) -> None:
    assert binding.last_words(COMMAND + printed) == words


# Connection


def test_a_ping_is_answered_while_all_workers_are_busy() -> None:
    """On libvirt's own test driver; once the connection is closed, a ping fails."""

    async def scene() -> None:
        connection = Connection("test:///default")
        await connection.open(lambda ended: None)
        go_on = threading.Event()
        busy = [asyncio.create_task(connection.run(go_on.wait)) for _ in range(WORKERS)]
        try:
            async with asyncio.timeout(20):
                await connection.ping()
            assert not any(task.done() for task in busy)
            connection._connection.close()
            with pytest.raises(HypervisorError):
                await connection.ping()
        finally:
            go_on.set()
            await asyncio.gather(*busy)
            connection._connection = None
            await connection.close()

    asyncio.run(scene())
