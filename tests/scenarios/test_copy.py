"""Copies into a real guest and out of it, by the `tar` that it has, and long jobs whose output is watched."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

import ecompute
from ecompute.protocol.archive import Progress
from examples.first_light import Person
from tests.library.trees import make_tree, seen

from .conftest import BOOT_SECONDS, ask


@pytest.fixture(scope="module")
def box(client: ecompute.Client, person: Person) -> Iterator[ecompute.Container]:
    """A running machine."""
    key = client.ssh_keys.add("ed25519", person.public_key("ed25519"))
    made = client.containers.create("copy", [key.id], instance_type="nano", memory_mb=192)
    yield client.containers.wait(made.id, "running", timeout=BOOT_SECONDS)
    client.containers.delete(made.id)


def test_a_folder(client: ecompute.Client, box: ecompute.Container, tmp_path: Path) -> None:
    """With modes, times, links, empty folders, and names of any length and bytes; twice, over itself."""
    tree = make_tree(tmp_path / "tree")
    for _ in range(2):
        client.copy_to(box.id, f"{tree}/.", "/root/there")
        client.copy_from(box.id, "/root/there/.", tmp_path / "back")
    assert seen(tmp_path / "back") == seen(tree)
    assert ask(client, box, "stat -c '%U %a %Y' /root/there/a/file") == "root 750 1000"
    assert ask(client, box, "ls /root") == "there"


def test_a_large_file(client: ecompute.Client, box: ecompute.Container, tmp_path: Path) -> None:
    """Megabytes go there and come back, with their progress."""
    path, back = tmp_path / "large", tmp_path / "back"
    path.write_bytes(random.Random(1).randbytes(8_000_000))
    heard: list[Progress] = []
    client.copy_to(box.id, path, "/tmp/", progress=heard.append)
    client.copy_from(box.id, "/tmp/large", back, progress=heard.append)
    assert back.read_bytes() == path.read_bytes()
    assert heard[-1] == Progress(8_000_000, 8_000_000, "back")
    assert ask(client, box, "rm /tmp/large; ls /tmp") == ""


def test_links_and_devices(client: ecompute.Client, box: ecompute.Container, tmp_path: Path) -> None:
    """Hard links stay such; what leads elsewhere or is no file is left out."""
    ask(
        client,
        box,
        "mkdir /srv/x && cd /srv/x && echo x > one && ln one two && ln -s two three && ln -s one ..two",
    )
    client.copy_from(box.id, "/srv/x", tmp_path)
    assert (tmp_path / "x" / "one").samefile(tmp_path / "x" / "two")
    assert (tmp_path / "x" / "three").readlink() == Path("two")
    ask(client, box, "cd /srv/x && mknod null c 1 3 && mkfifo pipe && ln -s /etc/passwd passwd")
    with pytest.raises(ecompute.Unsupported, match="and 2 more"):
        client.copy_from(box.id, "/srv/x", tmp_path / "y")
    assert sorted(path.name for path in (tmp_path / "y").iterdir()) == ["..two", "one", "three", "two"]


def test_a_full_disk(client: ecompute.Client, box: ecompute.Container, tmp_path: Path) -> None:
    """Is told in the words of the guest's `tar`."""
    ask(client, box, "mkdir /small && mount -t tmpfs -o size=100k none /small")
    (tmp_path / "file").write_bytes(bytes(1_000_000))
    with pytest.raises(ecompute.CommandFailed, match="No space left on device"):
        client.copy_to(box.id, tmp_path / "file", "/small")


def test_a_path_of_any_bytes(client: ecompute.Client, box: ecompute.Container, tmp_path: Path) -> None:
    """Names the same in the guest."""
    name = os.fsdecode(b"/tmp/\xff '$\n%s\\x")
    (tmp_path / "file").write_bytes(b"x")
    client.copy_to(box.id, tmp_path / "file", name)
    client.copy_from(box.id, name, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b"x"


def test_a_long_job(client: ecompute.Client, box: ecompute.Container) -> None:
    """Is watched while it runs; its input comes bit by bit, and hanging up ends it."""
    taken: list[bytes] = []
    result = client.run(box.id, "cat; echo problem >&2", input=iter([b"a", b"b"]), on_output=taken.append)
    assert (b"".join(taken), result.output, result.error) == (b"ab", b"", b"problem\n")

    def stop(data: bytes) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        client.run(box.id, "echo $$ > /tmp/pid; while true; do echo x; sleep 0.01; done", on_output=stop)
    ask(client, box, "while kill -0 $(cat /tmp/pid) 2>/dev/null; do sleep 0.05; done; rm /tmp/pid")
