"""What types, `memory_mb` and `storage_gb` promise, in real guests; using all of it up hurts nobody else."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import ecompute
from ecompute_server.hypervisor.libvirt.host import cpu_quota_fault
from ecompute_server.testing import RunningServer
from examples.first_light import Person, machine_processes

from .conftest import BOOT_SECONDS, KINDS, ask, both_kinds, in_terminal, until

LARGER = {"mini": ("aarch64", 2), "small": ("x86_64", 2), "medium": ("x86_64", 4)}
MEMORY_MB = 192
LARGER_MEMORY_MB = 320
KERNEL_MB = 64
"""More than what a guest's kernel takes of its memory for itself."""

MIB = 1 << 20


@pytest.fixture(scope="module")
def key(client: ecompute.Client, person: Person) -> int:
    return client.ssh_keys.add("laptop", person.public_key("ed25519")).id


@pytest.fixture(scope="module")
def boxes(client: ecompute.Client, key: int) -> Iterator[dict[str, ecompute.Container]]:
    """A machine of each architecture with the smallest volume, for all tests of this module."""
    with both_kinds(client, key, memory_mb=MEMORY_MB, storage_gb=1, ssh_enabled=True) as running:
        yield running


def answers(client: ecompute.Client, box: ecompute.Container) -> None:
    """Its terminal and its disk are as ever."""
    assert re.search(r"^here\s*$", in_terminal(client, box, "echo here"), re.M)
    wrote = "dd if=/dev/urandom of=/root/written bs=64k count=4 2>/dev/null && sync && wc -c </root/written"
    assert ask(client, box, wrote) == str(4 * 64 * 1024)


def file_of(machines: RunningServer, box: ecompute.Container, name: str) -> Path:
    (found,) = machines.state.rglob(f"machines/{box.id}/{name}")
    return found


def test_larger_types_have_their_processors_and_memory(client: ecompute.Client, key: int) -> None:
    """As the catalogue says; the guest's kernel keeps a little of the memory for itself."""
    made = {
        kind: client.containers.create(kind, [key], instance_type=kind, memory_mb=LARGER_MEMORY_MB)
        for kind in LARGER
    }
    for kind, (machine, processors) in LARGER.items():
        box = client.containers.wait(made[kind].id, "running", timeout=BOOT_SECONDS)
        found = ask(client, box, "uname -m; nproc; grep MemTotal /proc/meminfo").split()
        assert found[:2] == [machine, str(processors)]
        assert LARGER_MEMORY_MB - KERNEL_MB < int(found[3]) / 1024 <= LARGER_MEMORY_MB
        client.containers.delete(box.id)


def throttled(box: ecompute.Container) -> int:
    """How often the host has held back the threads that are the guest's processors."""
    (pid,) = machine_processes(box.id)
    times = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        if (task / "comm").read_text().startswith("CPU "):
            for line in (task / "cgroup").read_text().splitlines():
                _, controllers, group = line.split(":", 2)
                figures = Path(f"/sys/fs/cgroup/{controllers}{group}/cpu.stat")
                if figures.exists():
                    times += sum(map(int, re.findall(r"nr_throttled (\d+)", figures.read_text())))
    return times


def test_half_a_processor_is_half_a_processor(
    machines: RunningServer, client: ecompute.Client, boxes: dict[str, ecompute.Container]
) -> None:
    """Where the host has control groups, a nano that computes is held back and a tiny is not; elsewhere the
    server says once that it enforces no shares.
    """
    warnings = (machines.state / "serve.log").read_text().count("shares of processors are not enforced")
    if cpu_quota_fault("embed"):
        assert warnings == 1
        return
    assert warnings == 0
    for box in boxes.values():
        assert client.run(box.id, "timeout 1 sh -c 'while :; do :; done'").exit_status == 128 + 15
    assert throttled(boxes["nano"]) > 0
    assert throttled(boxes["tiny"]) == 0


@pytest.mark.parametrize(("kind", "other"), [KINDS, KINDS[::-1]])
def test_a_full_volume_is_its_owners_affair(
    machines: RunningServer,
    client: ecompute.Client,
    boxes: dict[str, ecompute.Container],
    person: Person,
    kind: str,
    other: str,
) -> None:
    """The guest is told that no space is left, and goes on, as everybody else does; what is deleted there
    comes back to the guest and to the host.
    """
    box = boxes[kind]
    size = int(ask(client, box, "df -k /root | tail -1").split()[1])
    assert 0.9 * MIB < size <= 1 * MIB
    on_host = file_of(machines, box, "volume.qcow2")
    wrote = client.run(box.id, "fallocate -l 920M /root/most && dd if=/dev/urandom of=/root/rest bs=1M; sync")
    assert b"No space left on device" in wrote.error
    assert client.run(box.id, "dd if=/dev/urandom of=/root/more bs=1M count=1").exit_status == 1
    assert on_host.stat().st_blocks * 512 > 16 * MIB
    assert person.ask(box, "echo still here") == "still here"
    assert "still here" in in_terminal(client, box, "echo still $(echo here)")
    answers(client, boxes[other])
    client.run(box.id, "rm /root/most /root/rest /root/more; sync", check=True)
    until(lambda: on_host.stat().st_blocks * 512 < 4 * MIB)
    answers(client, box)
    assert client.containers.get(box.id).status == "running"


@pytest.mark.parametrize("kind", KINDS)
def test_a_program_that_eats_all_memory_is_ended_and_nothing_else(
    client: ecompute.Client, boxes: dict[str, ecompute.Container], person: Person, kind: str
) -> None:
    """By the guest's own kernel."""
    box = boxes[kind]
    before = ask(client, box, "cat /proc/sys/kernel/random/boot_id")
    assert client.run(box.id, "tail /dev/zero").exit_status == 128 + 9
    assert person.ask(box, "cat /proc/sys/kernel/random/boot_id") == before
    answers(client, box)


def test_guests_at_the_end_of_their_memory_hurt_nobody_else(
    machines: RunningServer, client: ecompute.Client, boxes: dict[str, ecompute.Container], key: int
) -> None:
    """One multiplies processes until nothing is left, another eats its memory over and over. A third answers
    all the while; the two are as new when their owner stops and starts them.
    """
    made = client.containers.create("neighbour", [key], memory_mb=MEMORY_MB)
    neighbour = client.containers.wait(made.id, "running", timeout=BOOT_SECONDS)
    before = {kind: last_death(machines, box) for kind, box in boxes.items()}
    begin(client, boxes["tiny"], "bomb() { bomb | bomb & }; bomb")
    begin(client, boxes["nano"], "while :; do tail /dev/zero; done")
    deadline = time.monotonic() + BOOT_SECONDS
    while any(last_death(machines, box) == before[kind] for kind, box in boxes.items()):
        answers(client, neighbour)
        assert time.monotonic() < deadline
    for box in boxes.values():
        assert client.containers.stop(box.id).status == "stopped"
        client.containers.start(box.id)
    answers(client, neighbour)
    for box in boxes.values():
        client.containers.wait(box.id, "running", timeout=BOOT_SECONDS)
        answers(client, box)
    client.containers.delete(neighbour.id)


def last_death(machines: RunningServer, box: ecompute.Container) -> str:
    """What the guest's kernel told last on the console of a process that it ended for want of memory."""
    told = file_of(machines, box, "console.log").read_text(errors="replace")
    return "".join(re.findall(r".*Out of memory: Killed process.*", told)[-1:])


def begin(client: ecompute.Client, box: ecompute.Container, command: str) -> None:
    """Leave a command behind. It waits a moment, in which the one that left it can end."""
    client.run(box.id, f"( sleep 1; {command} ) >/dev/null 2>&1 </dev/null &", check=True)
