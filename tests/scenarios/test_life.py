"""A container's life as its user sees it, the same on a simulated and on a real host."""

from __future__ import annotations

import re

import anyio
import pytest

import ecompute
from ecompute_server.testing import RunningServer
from examples.first_light import Person

from .conftest import BOOT_SECONDS, in_terminal

MEMORY_MB = 192


@pytest.fixture(scope="module")
def client(any_server: RunningServer) -> ecompute.Client:
    with any_server.client() as made:
        yield made  # type: ignore[misc]


@pytest.fixture(scope="module")
def key_ids(client: ecompute.Client, person: Person) -> list[int]:
    return [client.ssh_keys.add(name, person.public_key(name)).id for name in ("ed25519", "rsa", "ecdsa")]


def create(client: ecompute.Client, key_ids: list[int], kind: str, **more: object) -> ecompute.Container:
    made = client.containers.create(
        kind,
        key_ids,
        instance_type=kind,
        memory_mb=MEMORY_MB,
        **more,  # type: ignore[arg-type]
    )
    assert made.status == "pending"
    return made


@pytest.mark.parametrize(("kind", "machine"), [("nano", "aarch64"), ("tiny", "x86_64")])
def test_from_create_to_delete(client: ecompute.Client, key_ids: list[int], kind: str, machine: str) -> None:
    """Both architectures: the feed tells each step, the terminal shows the machine that was asked for, mount
    paths survive a stop and nothing else does.
    """
    with client.events() as events:
        box = create(client, key_ids, kind)
        box = client.containers.wait(box.id, "running", timeout=BOOT_SECONDS)
        shown = in_terminal(
            client,
            box,
            "uname -m; nproc; stty size; echo term=$TERM; hostname; echo kept > /root/f; echo lost > /tmp/f",
        )
        for line in (machine, "1", "24 80", "term=xterm-256color", box.id):
            assert re.search(rf"^{line}\s*$", shown, re.M), shown
        memory = in_terminal(client, box, "cat /proc/meminfo")
        total = int(re.findall(r"MemTotal:\s+(\d+) kB", memory)[0]) / 1024
        assert 0.7 * MEMORY_MB < total <= MEMORY_MB
        assert client.containers.stop(box.id).status == "stopped"
        assert client.containers.start(box.id).status == "pending"
        client.containers.wait(box.id, "running", timeout=BOOT_SECONDS)
        files = in_terminal(client, box, "cat /root/f; cat /tmp/f || echo gone")
        assert re.search(r"^kept\s*$", files, re.M)
        assert re.search(r"^gone\s*$", files, re.M)
        client.containers.delete(box.id)
        assert box.id not in {one.id for one in client.containers.list()}
        told = []
        for event in events:
            if isinstance(event, ecompute.StatusChanged) and event.container_id == box.id:
                told.append(event.status)
            elif isinstance(event, ecompute.Deleted) and event.container_id == box.id:
                break
        boot = ["pending", "initializing", "running"]
        assert told == [*boot, "stopped", *boot]


def test_two_at_once_by_the_asynchronous_client(
    any_server: RunningServer, client: ecompute.Client, key_ids: list[int]
) -> None:
    """Side by side, each waited for by its own events."""

    async def story() -> list[ecompute.Container]:
        boxes: list[ecompute.Container] = []

        async def boot(kind: str) -> None:
            made = await asynchronous.containers.create(
                kind, key_ids, instance_type=kind, memory_mb=MEMORY_MB
            )
            boxes.append(await asynchronous.containers.wait(made.id, "running", timeout=BOOT_SECONDS))

        async with any_server.async_client() as asynchronous, anyio.create_task_group() as group:
            group.start_soon(boot, "nano")
            group.start_soon(boot, "tiny")
        return boxes

    boxes = anyio.run(story)
    assert {box.instance_type for box in boxes} == {"nano", "tiny"}
    assert len({box.external_ip for box in boxes}) == 2
    for box in boxes:
        client.containers.delete(box.id)


def test_stop_before_it_ran_and_delete_at_once(client: ecompute.Client, key_ids: list[int]) -> None:
    """Nobody has to wait for a boot that is not wanted any more."""
    box = create(client, key_ids, "nano")
    assert client.containers.stop(box.id).status == "stopped"
    client.containers.start(box.id)
    client.containers.delete(box.id)
    with pytest.raises(ecompute.NotFound):
        client.containers.get(box.id)
    other = create(client, key_ids, "nano")
    client.containers.delete(other.id)


def test_a_stopped_container_has_no_terminal(client: ecompute.Client, key_ids: list[int]) -> None:
    """Refused before the upgrade, with the reason."""
    box = create(client, key_ids, "nano")
    client.containers.stop(box.id)
    with pytest.raises(ecompute.NotRunning), client.terminal(box.id):
        pass
    client.containers.delete(box.id)
