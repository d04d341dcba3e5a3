"""Published ports of real machines, as visitors meet them."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator

import pytest

import ecompute
from ecompute_server.gateway.ports import can_bind_low_ports
from examples.first_light import Person

from .conftest import BOOT_SECONDS, PATIENCE, until

PUBLISH = "mkdir -p /root/www && echo page of $(hostname) > /root/www/index.html && httpd -h /root/www -p "


@pytest.fixture(scope="module")
def boxes(client: ecompute.Client, person: Person) -> Iterator[list[ecompute.Container]]:
    """One machine of each architecture, with a web server on the ports 80 and 3000."""
    key = client.ssh_keys.add("laptop", person.public_key("ed25519"))
    made = [
        client.containers.create(kind, [key.id], instance_type=kind, memory_mb=192)
        for kind in ("nano", "tiny")
    ]
    running = [client.containers.wait(one.id, "running", timeout=BOOT_SECONDS) for one in made]
    for box in running:
        for port in (80, 3000):
            client.run(box.id, f"{PUBLISH}{port}", check=True)
    yield running
    for box in running:
        client.containers.delete(box.id)


def page(box: ecompute.Container, port: int) -> str:
    """What a visitor gets there; nothing where nobody listens or answers."""
    offset = 0 if can_bind_low_ports() else 20000
    try:
        with urllib.request.urlopen(f"http://{box.external_ip}:{port + offset}/", timeout=PATIENCE) as answer:
            return str(answer.read().decode().strip())
    except OSError:
        return ""


def test_two_containers_publish_the_same_ports(
    client: ecompute.Client, boxes: list[ecompute.Container]
) -> None:
    """Each has an address of its own; a rule leads where it says, and is gone when it is removed."""
    for box in boxes:
        client.ingress.add(box.id, 80)
        client.ingress.add(box.id, 8080, target_port=3000)
    for box in boxes:
        until(lambda box=box: page(box, 80) == page(box, 8080) == f"page of {box.id}")
    first, second = boxes
    client.ingress.remove(first.id, 8080)
    until(lambda: page(first, 8080) == "")
    assert page(first, 80) == f"page of {first.id}"
    assert page(second, 8080) == f"page of {second.id}"


def test_a_rule_can_lead_elsewhere_and_outlives_a_stop(
    client: ecompute.Client, boxes: list[ecompute.Container]
) -> None:
    """Changed without a restart; closed while the machine is off; open again with it."""
    box = boxes[0]
    client.ingress.add(box.id, 8000, target_port=4)
    until(lambda: page(box, 80) != "" and page(box, 8000) == "")
    client.ingress.add(box.id, 8000, target_port=3000)
    until(lambda: page(box, 8000) == f"page of {box.id}")
    client.containers.stop(box.id)
    until(lambda: page(box, 8000) == "")
    client.containers.start(box.id)
    client.containers.wait(box.id, "running", timeout=BOOT_SECONDS)
    client.run(box.id, f"{PUBLISH}3000", check=True)
    until(lambda: page(box, 8000) == f"page of {box.id}")
