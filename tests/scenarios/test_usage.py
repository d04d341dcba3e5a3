"""What containers use of memory and storage, told from real guests of both architectures."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

import ecompute
from ecompute_server.testing import RunningServer
from examples.first_light import Person

from .conftest import BOOT_SECONDS, until

KINDS = {"nano": "aarch64", "tiny": "x86_64"}
MEMORY_MB = 256
STORAGE_GB = 2
JUNK = (
    '{"type": "usage"}',
    '{"type": "usage", "memory_available_kb": -1, "storage_used_kb": -1}',
    '{"type": "usage", "memory_available_kb": NaN, "storage_used_kb": Infinity}',
    '{"type": "usage", "memory_available_kb": "1", "storage_used_kb": [true]}',
    '{"type": "usage", "memory_available_kb": 0, "storage_used_kb": ' + "9" * 4000 + "}",
)
EXTREME = '{"type": "usage", "memory_available_kb": 0, "storage_used_kb": 1000000000000000}'
"""All the memory and more storage than there is."""
LIAR = """
port=/dev/$(ls /sys/class/virtio-ports)
(while [ -e /run/lies ]; do
    for link in /proc/[0-9]*/fd/*; do
        pid=${link#/proc/}
        [ "$(readlink $link)" != $port ] || kill -9 ${pid%%/*}
    done
    while cat /run/lies; do usleep 100000; done >$port
done) </dev/null >/dev/null 2>&1 &
"""
"""Puts itself in the agent's place for as long as there is something to lie."""


@pytest.fixture(scope="module")
def boxes(machines: RunningServer, person: Person) -> Iterator[dict[str, ecompute.Container]]:
    """A running container of each architecture."""
    with machines.client() as client:
        key = client.ssh_keys.add("ed25519", person.public_key("ed25519"))
        made = [
            client.containers.create(
                kind, [key.id], instance_type=kind, memory_mb=MEMORY_MB, storage_gb=STORAGE_GB
            )
            for kind in KINDS
        ]
        yield {box.name: client.containers.wait(box.id, "running", timeout=BOOT_SECONDS) for box in made}
        for box in made:
            client.containers.delete(box.id)


@pytest.fixture(params=KINDS)
def box(request: pytest.FixtureRequest, boxes: dict[str, ecompute.Container]) -> ecompute.Container:
    return boxes[request.param]


@pytest.fixture
def client(machines: RunningServer) -> Iterator[ecompute.Client]:
    with machines.client() as client:
        yield client


Figures = tuple[int | None, float | None]


def figures(shown: ecompute.Container) -> Figures:
    return shown.memory_used_mb, shown.storage_used_gb


def told(client: ecompute.Client, box: ecompute.Container, wanted: Callable[[int, float], bool]) -> Figures:
    """The first figures of the container that are known and as wanted."""
    seen: list[tuple[int, float]] = []

    def as_wanted() -> bool:
        memory, storage = figures(client.containers.get(box.id))
        if memory is None or storage is None:
            return False
        seen.append((memory, storage))
        return wanted(memory, storage)

    until(as_wanted)
    return seen[-1]


def test_storage_follows_the_files_on_the_mount_paths(
    client: ecompute.Client, box: ecompute.Container
) -> None:
    """50 MB more when they are written, the same less when they are removed."""
    _, before = told(client, box, lambda memory, storage: True)
    assert before is not None
    assert before < 0.02
    client.run(box.id, "head -c 50m /dev/urandom >/root/file", check=True)
    _, grown = told(client, box, lambda memory, storage: storage > before + 0.04)
    assert grown == pytest.approx(before + 50 / 1024, abs=0.011)
    client.run(box.id, "rm /root/file", check=True)
    told(client, box, lambda memory, storage: storage == before)


def test_memory_follows_what_programs_take(client: ecompute.Client, box: ecompute.Container) -> None:
    """And what files outside the mount paths take, which are no storage; the kernel's part counts always."""
    idle, before = told(client, box, lambda memory, storage: True)
    assert idle is not None
    assert 40 < idle < 120
    taking = "dd if=/dev/zero of=/dev/null bs=40M count=1000000 </dev/null >/dev/null 2>&1 & echo $! >/run/dd"
    client.run(box.id, f"head -c 30m /dev/urandom >/tmp/file; {taking}", check=True)
    held, storage = told(client, box, lambda memory, storage: memory > idle + 60)
    assert held is not None
    assert held < idle + 90
    assert storage == before
    client.run(box.id, "rm /tmp/file; kill $(cat /run/dd)", check=True)
    told(client, box, lambda memory, storage: memory < idle + 10)


def test_every_answer_tells_the_same(client: ecompute.Client, boxes: dict[str, ecompute.Container]) -> None:
    """One container, the list and the feed's first message, with figures that may be a report apart."""
    for box in boxes.values():
        told(client, box, lambda memory, storage: True)
    listed = {each.id: figures(each) for each in client.containers.list()}
    with client.events() as events:
        snapshot = next(iter(events))
    assert isinstance(snapshot, ecompute.Snapshot)
    first = {each.id: figures(each) for each in snapshot.containers}
    for box in boxes.values():
        memory, storage = figures(client.containers.get(box.id))
        assert memory is not None
        for other in (listed[box.id], first[box.id]):
            assert other[0] == pytest.approx(memory, abs=15)
            assert other[1] == storage


def test_a_guest_that_lies_is_cut_to_what_it_has(client: ecompute.Client, box: ecompute.Container) -> None:
    """Junk is dropped, figures beyond the container are told as all that it has, and the truth comes back
    with the agent.
    """
    before = told(client, box, lambda memory, storage: memory < MEMORY_MB)
    client.run(box.id, "cat >/run/lies", input="".join(f"{line}\n" for line in (*JUNK, EXTREME)), check=True)
    client.run(box.id, LIAR, check=True)
    assert told(client, box, lambda memory, storage: memory == MEMORY_MB) == (MEMORY_MB, STORAGE_GB)
    client.run(box.id, "rm /run/lies", check=True)
    after = told(client, box, lambda memory, storage: memory < MEMORY_MB)
    assert after[0] == pytest.approx(before[0], abs=15)
    assert after[1] == before[1]


def test_what_does_not_run_tells_nothing(
    client: ecompute.Client, boxes: dict[str, ecompute.Container]
) -> None:
    """From the answer to the stop on, and until the next start has told something; last, as it stops them."""
    for box in boxes.values():
        told(client, box, lambda memory, storage: True)
        client.containers.stop(box.id)
        assert figures(client.containers.get(box.id)) == (None, None)
    assert [figures(each) for each in client.containers.list()] == [(None, None)] * len(boxes)
    for box in boxes.values():
        assert figures(client.containers.start(box.id)) == (None, None)
    for box in boxes.values():
        told(client, box, lambda memory, storage: True)
