"""What the micro image promises, seen from outside: the agent's messages, SSH, the volume, the end."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import termios
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ecompute_server.images.build import ARCHES, build
from ecompute_server.images.catalogue import default_cache
from ecompute_server.images.interface import Image

from .plain_qemu import DEADLINE, Guest, make_identity, make_key, make_volume, need, ssh_options

KINDS = {"ed25519": (), "rsa": ("-b", "3072"), "ecdsa": ("-b", "384")}
ODD_PATH = '/srv/it\'s "odd" \\ $(x)\nä'
LONG_PATHS = (
    "/a/" + "/".join("d" * 100),
    "/" + "/".join("e" * 127),
    "/" + "b" * 254,
    "/b/" + "b" * 200,
    "/b/" + "b" * 201,
    "/ä" + "/ü" * 84,
    "/" + "漢" * 84,
    "/ " + "".join(map(chr, range(1, 0x2F))),
    "/" + "".join(map(chr, range(0x30, 0xD0))),
    "/h" + "".join(map(chr, range(0x101, 0x17F))),
    "/i" + "".join(map(chr, range(0x4E00, 0x4E50))),
    "/j" + "".join(map(chr, range(0x1F600, 0x1F63E))),
    "/k\n\n",
    "/l  ",
    "/m:/=/%2F=",
    "/m:/=/%2F",
)
"""As many as there may be, of up to 255 bytes each, with every byte that may be in one."""


@pytest.fixture(scope="module", params=ARCHES)
def image(request: pytest.FixtureRequest) -> Image:
    return build(request.param, default_cache(), lambda progress: None)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("keys")
    for kind, options in KINDS.items():
        make_key(folder / kind, kind, *options)
    return {kind: folder / kind for kind in KINDS}


@pytest.fixture(scope="module")
def identity(keys: dict[str, Path]) -> dict[str, Any]:
    folder = next(iter(keys.values())).parent
    (folder / "host_key").unlink(missing_ok=True)
    return make_identity(folder, tuple(key.with_suffix(".pub").read_text().strip() for key in keys.values()))


@pytest.fixture(scope="module")
def guest(
    image: Image, identity: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Guest]:
    """A guest that has its identity; its tests leave it as they found it."""
    folder = tmp_path_factory.mktemp(image.arch)
    with Guest(image, folder / "guest", make_volume(folder / "volume")) as running:
        hello = running.agent.receive()
        assert hello == {"type": "hello", "configured": False, "image": "micro", "boot_id": hello["boot_id"]}
        assert running.configure(identity, 41) == {"type": "ready", "id": 41}
        yield running


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_user_key_logs_in(guest: Guest, keys: dict[str, Path], kind: str) -> None:
    """Also: the host key is the one that was sent, for `known_hosts` has no other."""
    assert guest.ssh("id -un", key=keys[kind]) == "root\n"


def test_a_strange_key_does_not_log_in(guest: Guest, keys: dict[str, Path], tmp_path: Path) -> None:
    """And no other method is offered."""
    make_key(tmp_path / "strange")
    (tmp_path / "known_hosts").write_bytes((keys["rsa"].parent / "known_hosts").read_bytes())
    with pytest.raises(AssertionError, match=r"Permission denied \(publickey\)"):
        guest.ssh("true", key=tmp_path / "strange")


def test_identity_is_seen_inside(guest: Guest, keys: dict[str, Path], identity: dict[str, Any]) -> None:
    """Host name, machine id, clock and address are those of the message; the tools of a shell are there."""
    seen = guest.ssh(
        "hostname; cat /etc/machine-id; date +%s; ip -o -4 addr show eth0 | awk '{print $4}';"
        "pwd; uname -m; nproc; cat /etc/resolv.conf; which vi tar wget ping httpd free df ps stty | wc -l",
        key=keys["ed25519"],
    ).splitlines()
    machine = {"amd64": "x86_64", "arm64": "aarch64"}[guest.image.arch]
    assert seen[:2] == [identity["hostname"], identity["machine_id"]]
    assert abs(int(seen[2]) - identity["clock"]) < 60
    assert seen[3:] == ["10.0.2.15/24", "/root", machine, "1", "nameserver 10.0.2.3", "9"]


def test_files_go_both_ways(guest: Guest, keys: dict[str, Path], tmp_path: Path) -> None:
    """By scp in both of its protocols, and by sftp."""
    data = os.urandom(200_000)
    (tmp_path / "sent").write_bytes(data)
    options = [*ssh_options(keys["ed25519"]), "-P", str(guest.ssh_port)]
    for protocol in ("-s", "-O"):
        place = f"root@127.0.0.1:/tmp/sent{protocol}"
        for pair in ((tmp_path / "sent", place), (place, tmp_path / f"back{protocol}")):
            subprocess.run([need("scp"), "-q", protocol, *options, *pair], check=True, timeout=DEADLINE)
        assert (tmp_path / f"back{protocol}").read_bytes() == data
    subprocess.run(
        [need("sftp"), "-q", *options, "-b", "-", "root@127.0.0.1"], check=True, timeout=DEADLINE,
        input=f"get /tmp/sent-s {tmp_path}/fetched\n".encode(), stdout=subprocess.DEVNULL,
    )  # fmt: skip
    assert (tmp_path / "fetched").read_bytes() == data


def test_terminals_have_their_size_and_name(guest: Guest, keys: dict[str, Path]) -> None:
    """A terminal of the given size is opened, and TERM arrives."""
    host_side, ssh_side = pty.openpty()
    try:
        fcntl.ioctl(ssh_side, termios.TIOCSWINSZ, struct.pack("HHHH", 37, 121, 0, 0))
        command = [
            need("ssh"),
            "-tt",
            *ssh_options(keys["ed25519"]),
            "-p",
            str(guest.ssh_port),
            "root@127.0.0.1",
        ]
        result = subprocess.run(
            [*command, "stty size; echo $TERM; tty"], stdin=ssh_side, capture_output=True, timeout=DEADLINE,
            env=os.environ | {"TERM": "xterm-256color"}, check=True,
        )  # fmt: skip
    finally:
        os.close(host_side)
        os.close(ssh_side)
    assert result.stdout.decode().split() == ["37", "121", "xterm-256color", "/dev/pts/0"]


def test_twenty_sessions_at_once(guest: Guest, keys: dict[str, Path]) -> None:
    """None is turned away."""
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda n: guest.ssh(f"echo {n}", key=keys["ed25519"]), range(20)))
    assert answers == [f"{n}\n" for n in range(20)]


def test_the_agent_outlives_garbage_and_reconnection(guest: Guest) -> None:
    """Lines that are no message have no effect, and whoever connects anew is answered."""
    guest.agent.send_bytes(
        b"[" * 65535 + b"\n" + b'{"type":"hello"' + b"\n\0\xff\n" + b"{}\n42\n" + b'"' + b"\\" * 999 + b"\n"
    )
    guest.agent.send({"type": "unheard of", "id": 1})
    guest.agent.send({"type": "hello", "id": 7, "new": [{}]})
    first = guest.agent.receive(id=7)
    assert first["type"] == "hello"
    assert first["configured"] is True
    guest.agent.send_bytes(b'{"type": "hel')
    guest.reconnect()
    guest.agent.send({"type": "hello", "id": 8})
    assert guest.agent.receive(id=8) == first | {"id": 8}


def test_usage_is_told_unasked(guest: Guest, keys: dict[str, Path]) -> None:
    """Every few seconds, and soon to a host that has just come back; storage is what the volume carries."""
    guest.reconnect()
    guest.agent.send({"type": "hello", "id": 20})
    assert guest.agent.receive(type="hello", id=20)["configured"] is True
    before = guest.agent.receive(type="usage")
    assert set(before) == {"type", "memory_available_kb", "storage_used_kb"}
    assert 64 << 10 < before["memory_available_kb"] < 192 << 10
    guest.ssh("head -c 20m /dev/urandom >/tmp/large; head -c 9m /dev/urandom >/root/large", key=keys["rsa"])
    after = guest.agent.receive(type="usage")
    while after["storage_used_kb"] - before["storage_used_kb"] < 9 << 10:
        after = guest.agent.receive(type="usage")
    assert after["storage_used_kb"] - before["storage_used_kb"] < 10 << 10
    assert before["memory_available_kb"] - after["memory_available_kb"] > 16 << 10
    guest.ssh("rm /root/large /tmp/large", key=keys["rsa"])


def test_an_idle_agent_takes_no_time(guest: Guest, keys: dict[str, Path]) -> None:
    """Nobody connected: the agent waits in the kernel instead of asking again and again."""
    guest.agent.close()
    ticks = "cat /proc/[0-9]*/stat | awk '$2 ~ /agent|awk/ {sum += $14 + $15 + $16 + $17} END {print sum}'"
    before, after = guest.ssh(f"{ticks}; usleep 500000; {ticks}", key=keys["ed25519"]).split()
    guest.reconnect()
    assert int(after) - int(before) <= 2


def test_what_is_wrong_is_told(guest: Guest, identity: dict[str, Any]) -> None:
    """One line each, and the identity from before stays."""
    incomplete = {name: value for name, value in identity.items() if name != "hostname"}
    wrong: list[tuple[dict[str, Any], str]] = [
        (incomplete, "hostname is missing or no string"),
        (identity | {"mount_paths": ["../x"]}, "a mount path is not absolute and plain"),
        (identity | {"mount_paths": ["/etc/motd"]}, "/etc/motd is no directory in the image"),
        (identity | {"volume": "other"}, "another volume is mounted already"),
        (identity | {"network": identity["network"] | {"address": 'a "b"'}}, "ip: "),
    ]
    for number, (fields, message) in enumerate(wrong, start=100):
        answer = guest.configure(fields, number)
        assert (answer["type"], answer["id"]) == ("error", number)
        assert message in answer["message"]
        assert "\n" not in answer["message"]
    assert guest.configure(identity)["type"] == "ready"


def test_configuring_again_replaces(
    guest: Guest, identity: dict[str, Any], keys: dict[str, Path], tmp_path: Path
) -> None:
    """Keys and host key are the new ones at once, mounts are not doubled, and sessions live on."""
    make_key(tmp_path / "key")
    other = make_identity(tmp_path, ((tmp_path / "key.pub").read_text().strip(),))
    mounts = guest.ssh("cat /proc/mounts", key=keys["rsa"])
    command = [need("ssh"), *ssh_options(keys["rsa"]), "-p", str(guest.ssh_port), "root@127.0.0.1"]
    session = subprocess.Popen(
        [*command, "echo here; exec cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert session.stdout is not None
    assert session.stdout.readline() == b"here\n"
    assert guest.configure(other, 5) == {"type": "ready", "id": 5}
    assert guest.ssh("cat /proc/mounts", key=tmp_path / "key") == mounts
    assert session.communicate(b"still\n", timeout=DEADLINE)[0] == b"still\n"
    assert guest.configure(identity, 6) == {"type": "ready", "id": 6}
    (tmp_path / "known_hosts").write_bytes((keys["rsa"].parent / "known_hosts").read_bytes())
    with pytest.raises(AssertionError, match="Permission denied"):
        guest.ssh("true", key=tmp_path / "key")


def test_the_volume_outlives_reboot_and_stop(
    image: Image, identity: dict[str, Any], keys: dict[str, Path], tmp_path: Path
) -> None:
    """Mount paths keep their data over a reboot, both ways to power off and a change of the list; all else is
    gone; and the file system is always left clean.
    """
    key, volume = keys["ed25519"], make_volume(tmp_path / "volume")
    first = identity | {"mount_paths": ["/root", ODD_PATH, "/var/log"]}
    with Guest(image, tmp_path / "guest", volume) as guest:
        boot_id = guest.agent.receive(type="hello")["boot_id"]
        assert guest.configure(first)["type"] == "ready"
        odd = '"$(printf \'/srv/it\\047s "odd" \\\\ $(x)\\nä\')"'
        writes = f"echo 1 > /root/one; echo 2 > {odd}/two; echo 3 > /srv/three; echo 4 > /var/log/four"
        guest.ssh(writes, key=key)
        # A shell that ignores TERM, and a process that has its place on the volume.
        guest.ssh(
            "cd /root; (trap '' TERM HUP; exec sleep 999) <>/dev/null >&0 2>&0 & reboot; exec sleep 999",
            key=key,
            status=255,
        )
        again = guest.agent.receive(type="hello", configured=False)
        assert again["boot_id"] != boot_id
        assert guest.configure(first | {"mount_paths": ["/root", ODD_PATH]})["type"] == "ready"
        assert (
            guest.ssh(f"cat /root/one {odd}/two; ls /var/log; ! ls /srv/three", key=key) == "1\n2\nlastlog\n"
        )
        if image.arch == "amd64":
            # Its driver is loaded after the guest said that it is ready.
            guest.ssh("until pidof acpid; do usleep 10000; done", key=key)
            guest.command("system_powerdown")
        else:
            guest.agent.send({"type": "poweroff", "id": 9})
        assert guest.wait_for_end() < 5
    assert_clean(volume)
    with Guest(image, tmp_path / "guest", volume) as guest:
        assert guest.configure(first)["type"] == "ready"
        assert guest.ssh("cat /var/log/four; stat -c %a /root", key=key) == "4\n700\n"
        guest.agent.send({"type": "poweroff", "id": 9})
        guest.wait_for_end()
    assert_clean(volume)


def test_every_path_that_the_api_takes_can_be_mounted(
    image: Image, identity: dict[str, Any], keys: dict[str, Path], tmp_path: Path
) -> None:
    """However long and odd: each has a folder of its own and finds its data there after a stop."""
    assert max(len(path.encode()) for path in LONG_PATHS) == 255
    key, volume = keys["ed25519"], make_volume(tmp_path / "volume")
    whole = identity | {"mount_paths": list(LONG_PATHS)}
    files = {path: f"{path}/number".encode() for path in LONG_PATHS}

    def quoted(data: bytes) -> str:
        return "\"$(printf '" + "".join(f"\\{byte:03o}" for byte in data) + "')\""

    with Guest(image, tmp_path / "guest", volume) as guest:
        assert guest.configure(whole)["type"] == "ready"
        writes = "; ".join(f"echo {n} >{quoted(file)}" for n, file in enumerate(files.values()))
        guest.ssh(writes, key=key)
        mounts = guest.ssh("cat /proc/mounts", key=key)
        assert mounts.count(" ext4 ") == len(LONG_PATHS) + 1
        assert guest.configure(whole, 2)["type"] == "ready"
        assert guest.ssh("cat /proc/mounts", key=key) == mounts
        guest.agent.send({"type": "poweroff", "id": 9})
        guest.wait_for_end()
    assert_clean(volume)
    with Guest(image, tmp_path / "guest", volume) as guest:
        assert guest.configure(whole)["type"] == "ready"
        numbers = guest.ssh("cat " + " ".join(map(quoted, files.values())), key=key).split()
        assert numbers == [str(number) for number in range(len(LONG_PATHS))]


def test_the_folders_on_a_volume_keep_their_names(
    guest: Guest, identity: dict[str, Any], keys: dict[str, Path]
) -> None:
    """A volume outlives its image: what one version of the agent wrote every later one must find."""
    paths = ["/root", "/srv/ä:b", "/" + "n" * 210]
    assert guest.configure(identity | {"mount_paths": paths})["type"] == "ready"
    shown = guest.ssh("cd /run/ecompute/volume/mounts; find . -name '*=' | sort", key=keys["ed25519"])
    assert shown.splitlines() == [
        "./%2F" + "n" * 198 + "/" + "n" * 12 + "=", "./%2Froot=", "./%2Fsrv%2F%C3%A4%3Ab=",
    ]  # fmt: skip
    undo = "umount /srv/ä:b /nnn*; rm -r /run/ecompute/volume/mounts/%2F[sn]* /run/ecompute/mounted/%2F[sn]*"
    guest.ssh(f"{undo}; rmdir /srv/ä:b /nnn*", key=keys["ed25519"])


@pytest.mark.parametrize("place", ["/run/ecompute/configured", "/etc/ssh/authorized_keys.d/root.new"])
def test_a_file_that_cannot_be_written_is_told(
    guest: Guest, identity: dict[str, Any], keys: dict[str, Path], place: str
) -> None:
    """Some of these end the shell that tries: it is not the one that listens."""
    guest.ssh(f"rm -f {place}; mkdir {place}", key=keys["ed25519"])
    answer = guest.configure(identity, 50)
    guest.ssh(f"rmdir {place}", key=keys["ed25519"])
    assert answer["type"] == "error"
    assert place in answer["message"]
    assert guest.configure(identity, 51)["type"] == "ready"


def assert_clean(volume: Path) -> None:
    shown = subprocess.run([need("dumpe2fs"), "-h", volume], check=True, capture_output=True).stdout.decode()
    assert "Filesystem state:         clean" in shown
    assert "needs_recovery" not in shown
