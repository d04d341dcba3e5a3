"""What only real machines can show: stock SSH, adoption, failure, and that nothing is left."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import ecompute
from ecompute_server.testing import RunningServer
from examples.first_light import Person
from examples.first_light import machine_processes as processes_of

from .conftest import BOOT_SECONDS, files_of, in_terminal, real_server

KINDS = {"nano": "aarch64", "tiny": "x86_64"}


@pytest.fixture(scope="module")
def client(machines: RunningServer) -> Iterator[ecompute.Client]:
    with machines.client() as made:
        yield made


@pytest.fixture(scope="module")
def boxes(client: ecompute.Client, person: Person) -> dict[str, ecompute.Container]:
    """A running container of each architecture, with keys of all families."""
    keys = [client.ssh_keys.add(name, person.public_key(name)).id for name in ("ed25519", "rsa", "ecdsa")]
    made = {
        kind: client.containers.create(kind, keys, instance_type=kind, memory_mb=192, ssh_enabled=True)
        for kind in KINDS
    }
    return {
        kind: client.containers.wait(box.id, "running", timeout=BOOT_SECONDS) for kind, box in made.items()
    }


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("key", ["ed25519", "rsa", "ecdsa"])
def test_every_family_of_keys_logs_in_by_the_stock_client(
    boxes: dict[str, ecompute.Container], person: Person, kind: str, key: str
) -> None:
    """As `ssh_command` says, with the host key that the API told."""
    assert person.ask(boxes[kind], "uname -m; nproc", key).split() == [KINDS[kind], "1"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_that_is_not_listed_is_refused(
    boxes: dict[str, ecompute.Container], person: Person, kind: str
) -> None:
    """By the guest itself."""
    refused = person.ssh(boxes[kind], "true", "stranger")
    assert refused.returncode == 255
    assert "Permission denied" in refused.stderr


def test_a_key_that_was_deleted_from_the_list_still_opens_its_containers(
    client: ecompute.Client, boxes: dict[str, ecompute.Container], person: Person
) -> None:
    """Containers carry what they were made with."""
    key = next(key for key in client.ssh_keys.list() if key.name == "ecdsa")
    client.ssh_keys.delete(key.id)
    assert person.ask(boxes["nano"], "echo in", "ecdsa") == "in"


def test_files_are_copied_in_and_out(
    boxes: dict[str, ecompute.Container], person: Person, tmp_path: Path
) -> None:
    """By the stock scp, byte for byte."""
    box = boxes["tiny"]
    content = bytes(range(256)) * 4096
    (tmp_path / "in").write_bytes(content)
    (tmp_path / "known").write_text(f"guest {box.ssh_host_key}\n")
    host, port = _place(box)
    command = ["scp", "-F", "none", "-q", "-P", str(port), "-i", str(person.folder / "ed25519")]
    for option in ("StrictHostKeyChecking=yes", f"UserKnownHostsFile={tmp_path}/known", "HostKeyAlias=guest"):
        command += ["-o", option]
    subprocess.run([*command, str(tmp_path / "in"), f"root@{host}:/root/copy"], check=True, timeout=90)
    subprocess.run([*command, f"root@{host}:/root/copy", str(tmp_path / "out")], check=True, timeout=90)
    assert (tmp_path / "out").read_bytes() == content


def _place(box: ecompute.Container) -> tuple[str, int]:
    assert box.ssh_command is not None
    words = box.ssh_command.split()
    return box.external_ip or "", int(words[words.index("-p") + 1]) if "-p" in words else 22


def test_a_reboot_inside_the_guest_is_nothing_to_worry_about(
    client: ecompute.Client, boxes: dict[str, ecompute.Container], person: Person
) -> None:
    """It gets its identity again, and the doors lead into it as before."""
    box = boxes["nano"]
    before = person.ask(box, "cat /proc/sys/kernel/random/boot_id")
    person.ssh(box, "reboot")
    for _ in range(60):
        answer = person.ssh(box, "cat /proc/sys/kernel/random/boot_id")
        if answer.returncode == 0 and answer.stdout.strip() != before:
            break
    else:
        pytest.fail(f"it did not come back: {answer.stderr}")
    assert client.containers.get(box.id).status == "running"


def test_a_guest_that_powers_itself_off_is_stopped(
    client: ecompute.Client, boxes: dict[str, ecompute.Container], person: Person
) -> None:
    """And can be started again."""
    box = boxes["tiny"]
    person.ssh(box, "poweroff")
    client.containers.wait(box.id, "stopped", timeout=60)
    client.containers.start(box.id)
    client.containers.wait(box.id, "running", timeout=BOOT_SECONDS)
    assert person.ask(box, "ls /root") == "copy"


def test_a_machine_that_is_killed_fails_with_a_reason(
    client: ecompute.Client, boxes: dict[str, ecompute.Container]
) -> None:
    """Told to those who watch, with one sentence; starting it again mends it."""
    box = boxes["nano"]
    with client.events() as events:
        (pid,) = processes_of(box.id)
        subprocess.run(["kill", "-9", str(pid)], check=True)
        for event in events:
            if isinstance(event, ecompute.StatusChanged) and event.container_id == box.id:
                assert event.status == "failed"
                assert event.status_reason
                break
    client.containers.start(box.id)
    client.containers.wait(box.id, "running", timeout=BOOT_SECONDS)


def test_a_deleted_container_leaves_nothing(
    machines: RunningServer, client: ecompute.Client, boxes: dict[str, ecompute.Container]
) -> None:
    """No machine, no file, no listening port."""
    for box in boxes.values():
        with client.events() as events:
            client.containers.delete(box.id)
            assert any(isinstance(event, ecompute.Deleted) for event in events)
    # the clean-up follows the answer; a server that ends in order has finished what it began
    for box in boxes.values():
        _until_gone(machines.state, box.id)
        with socket.socket() as probe:
            assert probe.connect_ex(_place(box)) != 0


def _until_gone(state: Path, container_id: str) -> None:
    import time

    deadline = time.monotonic() + 60
    while processes_of(container_id) or files_of(state, container_id):
        assert time.monotonic() < deadline, (processes_of(container_id), files_of(state, container_id))
        time.sleep(0.05)


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Path]:
    """A state directory that several servers use in turn; no machine of it is left in the end."""
    state = tmp_path / "state"
    yield state
    if (state / "ecompute.db").exists():
        down(state)


def down(state: Path) -> str:
    command = [sys.executable, "-m", "ecompute_server", "down", "--state", str(state)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=90).stdout


def test_machines_outlive_the_server_and_the_next_one_adopts_them(kept: Path, person: Person) -> None:
    """Their uptime goes on, SSH and terminal work again; `down` ends what the last server left."""
    with real_server(state=kept) as server, server.client() as client:
        key = client.ssh_keys.add("ed25519", person.public_key("ed25519"))
        made = client.containers.create("nano", [key.id], memory_mb=192, ssh_enabled=True)
        box = client.containers.wait(made.id, "running", timeout=BOOT_SECONDS)
        person.ask(box, "echo here > /tmp/mark")
        before = float(person.ask(box, "cut -d' ' -f1 /proc/uptime"))
        token = server.token
    assert len(processes_of(box.id)) == 1
    with real_server(state=kept) as server, server.client(token) as client:
        client.containers.wait(box.id, "running", timeout=BOOT_SECONDS)
        shown = in_terminal(client, box, "cat /tmp/mark")
        assert "here" in shown
        assert float(person.ask(box, "cut -d' ' -f1 /proc/uptime")) > before
    assert down(kept) == "1 machine ended\n"
    assert processes_of(box.id) == []


def test_a_guest_that_does_not_answer_in_time_has_failed(person: Person) -> None:
    """With a reason; its resources go when it is deleted."""
    with real_server(boot_deadline=0.2) as server, server.client() as client:
        key = client.ssh_keys.add("ed25519", person.public_key("ed25519"))
        made = client.containers.create("nano", [key.id], memory_mb=192)
        with pytest.raises(ecompute.ContainerFailed, match=r"did not answer within 0\.2 seconds"):
            client.containers.wait(made.id, "running", timeout=BOOT_SECONDS)
        client.containers.delete(made.id)
        _until_gone(server.state, made.id)


def test_ctrl_c_leaves_the_machines_and_says_so(kept: Path, person: Person) -> None:
    """Exit status 0, and one sentence with the command that ends them."""
    with real_server(state=kept) as server, server.client() as client:
        key = client.ssh_keys.add("ed25519", person.public_key("ed25519"))
        made = client.containers.create("nano", [key.id], memory_mb=192)
        client.containers.wait(made.id, "running", timeout=BOOT_SECONDS)
    serve = subprocess.Popen(
        [sys.executable, "-m", "ecompute_server", "serve", "--state", str(kept), "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert serve.stdout is not None
        assert serve.stdout.readline().startswith("ready http://127.0.0.1:")
        serve.send_signal(signal.SIGINT)
        _, errors = serve.communicate(timeout=60)
    finally:
        if serve.poll() is None:
            serve.kill()
            serve.communicate()
    assert serve.returncode == 0
    assert "1 machine left running" in errors
    assert f"ecompute-server down --state {kept}" in errors
    assert down(kept) == "1 machine ended\n"
