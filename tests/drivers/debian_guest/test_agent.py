"""The conversation over a socket in place of the port, and what the agent knows of its guest."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from struct import pack

import pytest
from ecompute_guest import agent as guest
from ecompute_guest import identity, initctl

from ecompute_server.hypervisor.libvirt import agent as host


class Talk:
    """A running agent and the host's end of its port."""

    def __init__(self, ours: socket.socket) -> None:
        self.ours = ours
        self._lines = host.Lines()
        self._heard: list[host.Message | None] = []

    def hear(self) -> host.Message | None:
        while not self._heard:
            self._heard += [host.parse(line) for line in self._lines.feed(self.ours.recv(65536))]
        return self._heard.pop(0)


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The guest's own places, in a folder."""
    monkeypatch.setattr(identity, "RUN", str(tmp_path))
    monkeypatch.setattr(identity, "VOLUME", str(tmp_path))
    monkeypatch.setattr(identity, "CONFIGURED", str(tmp_path / "configured"))
    monkeypatch.setattr(guest, "note", lambda text: None)
    return tmp_path


@pytest.fixture
def talk(places: Path) -> Iterator[Talk]:
    ours, theirs = socket.socketpair()

    def run() -> None:
        # The write after the end of a connection is where a port would wait for the next one.
        with pytest.raises(BrokenPipeError):
            guest.Agent(theirs.fileno()).talk()

    thread = threading.Thread(target=run)
    thread.start()
    ours.settimeout(60)
    yield Talk(ours)
    ours.close()
    thread.join()
    theirs.close()


def test_the_agent_says_hello_first_and_when_asked(talk: Talk) -> None:
    """Junk, unknown types and half a line of an earlier connection change nothing."""
    assert talk.hear() == host.Hello(False)
    talk.ours.sendall(b'{"type":"configu\n' + b"x" * 200_000 + b'\n[]\n{"type":"later"}\n{"type":7}\n\n')
    talk.ours.sendall(b"\n" + host.hello(7))
    assert talk.hear() == host.Hello(False, 7)


def test_an_identity_that_cannot_be_is_refused_in_a_sentence(talk: Talk) -> None:
    """The next message is read all the same."""
    assert talk.hear() == host.Hello(False)
    talk.ours.sendall(b'{"type":"configure","id":8}\n' + host.hello(9))
    assert talk.hear() == host.Refused(8, "network is missing or no object")
    assert talk.hear() == host.Hello(False, 9)


def test_a_configured_guest_tells_its_figures_at_once(places: Path, talk: Talk) -> None:
    """After a hello that says so, for a host that has just come back."""
    assert talk.hear() == host.Hello(False)
    (places / "configured").touch()
    talk.ours.sendall(host.hello(3))
    assert talk.hear() == host.Hello(True, 3)
    usage = talk.hear()
    assert isinstance(usage, host.Usage)
    assert usage.memory_available > 0
    assert usage.storage_used > 0


def test_the_rest_starts_once(places: Path) -> None:
    """Process 1 reads a line; where it has no pipe, nothing happens."""
    guest.start_the_rest()
    os.mkfifo(places / "later")
    guest.start_the_rest()
    reading = os.open(places / "later", os.O_RDONLY | os.O_NONBLOCK)
    try:
        guest.start_the_rest()
        assert os.read(reading, 100) == b"\n"
    finally:
        os.close(reading)


def test_the_port_is_found_by_its_name(tmp_path: Path) -> None:
    """Other ports, and one whose name has not come yet, are passed over."""
    assert guest.find_port(str(tmp_path / "none")) is None
    for port, name in (("vport1p1", "com.example.other"), ("vport1p2", "org.ecompute.agent.0")):
        (tmp_path / port).mkdir()
        assert guest.find_port(str(tmp_path)) is None
        (tmp_path / port / "name").write_text(f"{name}\n")
    assert guest.find_port(str(tmp_path)) == "vport1p2"


def test_figures_are_the_kernels(tmp_path: Path) -> None:
    """KiB in both cases, and a file system's blocks without a walk."""
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:  481272 kB\nMemFree:   1 kB\nMemAvailable:   441652 kB\n")
    assert guest.memory_available_kb(str(meminfo)) == 441652
    meminfo.write_text("MemTotal:  481272 kB\n")
    with pytest.raises(ValueError, match="does not tell"):
        guest.memory_available_kb(str(meminfo))
    status = os.statvfs("/proc")
    assert guest.storage_used_kb("/proc") == (status.f_blocks - status.f_bfree) * status.f_frsize // 1024


@pytest.mark.parametrize(
    ("problem", "sentence"),
    [
        (OSError(28, "No space left on device", "/run/volume/x"), "/run/volume/x: No space left on device"),
        (OSError(1, "the address was refused"), "the address was refused"),
        (ValueError("the host name was refused"), "the host name was refused"),
        (MemoryError(), "MemoryError"),
    ],
)
def test_a_problem_is_told_in_one_sentence(problem: Exception, sentence: str) -> None:
    """Whatever it was, there is something to read."""
    assert guest.explained(problem) == sentence


def test_hosts_keeps_what_others_have_written() -> None:
    """The guest's name is there once, however often it changes, and the rest stays."""
    first = identity.hosts("", "one")
    assert first == "127.0.0.1 localhost\n127.0.1.1 one\n::1 localhost ip6-localhost\n"
    assert identity.hosts(first, "one") == first
    theirs = "# mine\n127.0.0.1\tlocalhost me\n::1 localhost\n127.0.1.1 old older\n10.0.0.1 db\n"
    second = identity.hosts(theirs, "two")
    assert sorted(second.splitlines()) == sorted(
        theirs.replace("127.0.1.1 old older", "127.0.1.1 two").splitlines()
    )
    assert identity.hosts(second, "two") == second


@pytest.mark.parametrize("name", ["", "two words", "a\nb", "x" * 65])
def test_a_host_name_that_cannot_be_is_refused(name: str) -> None:
    """Before anything is written."""
    with pytest.raises(ValueError, match="host name"):
        identity.set_names(name, "0" * 32)


def test_a_file_is_written_as_a_whole(tmp_path: Path) -> None:
    """It takes the place of a link, and what the link led to stays as it is."""
    (tmp_path / "elsewhere").write_text("theirs\n")
    (tmp_path / "resolv.conf").symlink_to("elsewhere")
    identity.write(str(tmp_path / "resolv.conf"), "ours\n", 0o640)
    assert (tmp_path / "resolv.conf").read_text() == "ours\n"
    assert (tmp_path / "resolv.conf").lstat().st_mode == 0o100640
    assert (tmp_path / "elsewhere").read_text() == "theirs\n"
    assert len(list(tmp_path.iterdir())) == 2


def request(magic: int, command: int, runlevel: str) -> bytes:
    return pack("=iii372x", magic, command, ord(runlevel))


@pytest.mark.parametrize(
    ("sent", "signal"),
    [
        (request(0x03091969, 1, "0"), initctl.POWER_OFF),
        (request(0x03091969, 1, "6"), initctl.REBOOT),
        (request(0x03091969, 1, "2"), None),
        (request(0x03091969, 1, "u"), None),
        (request(0x03091969, 2, "0"), None),
        (request(0, 1, "0"), None),
        (b"0", None),
        (b"", None),
    ],
)
def test_only_whole_requests_for_an_end_count(sent: bytes, signal: int | None) -> None:
    """Runlevels 0 and 6 of the old protocol, and nothing else that may be written there."""
    assert initctl.wanted(sent) == signal
