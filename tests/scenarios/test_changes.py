"""What can be changed about a container that is there, the same on a simulated and on a real host."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator

import pytest

import ecompute
from ecompute_server.testing import RunningServer
from examples.first_light import Person

from .conftest import BOOT_SECONDS, PATIENCE, in_terminal, until

MEMORY_MB = 192


@pytest.fixture(scope="module")
def client(any_server: RunningServer) -> Iterator[ecompute.Client]:
    with any_server.client() as made:
        yield made


@pytest.fixture(scope="module")
def box(client: ecompute.Client, person: Person) -> Iterator[ecompute.Container]:
    """A running container for all tests of this module, each of which leaves it running."""
    key = client.ssh_keys.add("laptop", person.public_key("ed25519"))
    made = client.containers.create("box", [key.id], memory_mb=MEMORY_MB)
    yield client.containers.wait(made.id, "running", timeout=BOOT_SECONDS)
    client.containers.delete(made.id)


def shows(client: ecompute.Client, box: ecompute.Container, line: str, expected: str) -> None:
    shown = in_terminal(client, box, line)
    assert re.search(rf"^{expected}\s*$", shown, re.M), shown


def test_mount_paths_change_and_keep_their_data(client: ecompute.Client, box: ecompute.Container) -> None:
    """A running container restarts for it and a stopped one does not; what leaves the list comes back with
    its data.
    """
    in_terminal(client, box, "echo one > /root/f; sync")
    changed = client.mounts.set(box.id, ["/root", "/var//data/"])
    assert (changed.mount_paths, changed.restarted) == (("/root", "/var/data"), True)
    client.containers.wait(box.id, "running", timeout=BOOT_SECONDS)
    shows(client, box, "cat /root/f; echo two > /var/data/g; sync", "one")
    same = client.mounts.set(box.id, ["/var/data", "/root"])
    assert (same.restarted, client.containers.get(box.id).status) == (False, "running")
    client.containers.stop(box.id)
    assert client.mounts.set(box.id, ["/var/data"]).restarted is False
    client.containers.start(box.id)
    client.containers.wait(box.id, "running", timeout=BOOT_SECONDS)
    shows(client, box, "cat /root/f || echo gone; cat /var/data/g", "gone")
    assert client.mounts.set(box.id, ["/root", "/var/data"]).restarted is True
    client.containers.wait(box.id, "running", timeout=BOOT_SECONDS)
    shows(client, box, "cat /root/f /var/data/g", "one\ntwo")
    assert client.mounts.get(box.id).mount_paths == ("/root", "/var/data")


def test_ssh_access_is_told_and_followed(
    any_server: RunningServer, client: ecompute.Client, box: ecompute.Container
) -> None:
    """The command comes and goes with it; where something listens, so does the listener. The terminal works
    regardless.
    """
    assert client.ssh_access.get(box.id).ssh_enabled is False
    assert client.containers.get(box.id).ssh_command is None
    assert client.ssh_access.set(box.id, True).ssh_enabled is True
    command = client.containers.get(box.id).ssh_command
    assert command is not None
    port = re.search(r"-p (\d+)", command)
    address = (box.external_ip or "", int(port[1]) if port else 22)
    real = any_server.hypervisor == "libvirt"
    if real:
        until(lambda: banner(address).startswith(b"SSH-2.0-"))
    assert client.ssh_access.set(box.id, False).ssh_enabled is False
    assert client.containers.get(box.id).ssh_command is None
    if real:
        until(lambda: banner(address) == b"")
    shows(client, box, "echo still here", "still here")


def test_ingress_rules_outlive_a_stop(client: ecompute.Client, box: ecompute.Container) -> None:
    """A port is published once; changing its target keeps the rule."""
    assert client.ingress.list(box.id) == []
    rule = client.ingress.add(box.id, 8080, target_port=3000)
    https = client.ingress.add(box.id, 443, target_port=8000)
    again = client.ingress.add(box.id, 8080)
    assert (again.id, again.target_port, again.created_at) == (rule.id, 8080, rule.created_at)
    client.containers.stop(box.id)
    client.containers.start(box.id)
    assert client.ingress.list(box.id) == [https, again]
    assert client.containers.wait(box.id, "running", timeout=BOOT_SECONDS).https_enabled is True
    client.ingress.remove(box.id, 443)
    client.ingress.remove(box.id, 8080)
    with pytest.raises(ecompute.NotFound):
        client.ingress.remove(box.id, 8080)
    assert client.containers.get(box.id).https_enabled is False


def banner(address: tuple[str, int]) -> bytes:
    """The first bytes that a listener says; nothing where there is none."""
    try:
        with socket.create_connection(address, timeout=PATIENCE) as connection:
            return connection.recv(16)
    except OSError:
        return b""
