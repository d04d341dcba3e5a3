"""Persistent paths in real guests: what lies there is kept as it was, and odd paths are paths too."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

import pytest

import ecompute
from examples.first_light import Person

from .conftest import BOOT_SECONDS, KINDS, ask, both_kinds, in_terminal

KEPT = "/srv/kept"
SSH = "/root/.ssh"
ODD = (
    KEPT,
    SSH,
    "/tmp",
    "/var/log",
    "/opt",
    "/var/lib/data",
    "/home/x/y/z",
    "/srv/a b/ü",
    "/" + 254 * "l",
    "/mnt" + 125 * "/d" + "!",
    "/srv/'$(reboot)' \"*\" `id` \\",
    "/srv/line\nbreak\tand\x01more",
    "/srv/%2Fopt=",
    "/srv/.new",
    "/-rf",
    "/usrlocal",
)

FILL = f"""
mkdir -p {KEPT}/empty {KEPT}/sub/dir && cd {KEPT}
printf 'some text' >file && chown 1234:5678 file && chmod 4750 file && ln file sub/hard
touch -d '2001-02-03 04:05:06' old && chmod 0 old && chmod 1777 empty
ln -s nowhere/at/all symlink && mkfifo -m 620 fifo && mknod -m 600 device c 1 3
truncate -s 100M sparse && printf x >'sub/odd
 name' && chown -R 77:88 sub/dir && chmod 2711 sub/dir && sync
"""
LIST = (
    f"cd {KEPT} && find . -not -name '* name' -exec stat -c '%n|%N|%f|%u:%g|%h|%s|%t:%T' {{}} + | sort;"
    " stat -c %y old; cat file sub/odd*"
)


@pytest.fixture(scope="module")
def boxes(client: ecompute.Client, person: Person) -> Iterator[dict[str, ecompute.Container]]:
    """A machine of each architecture with two persistent paths."""
    key = client.ssh_keys.add("laptop", person.public_key("ed25519")).id
    with both_kinds(
        client, key, memory_mb=192, storage_gb=1, ssh_enabled=True, mount_paths=[KEPT, "/root"]
    ) as running:
        yield running


def mount(client: ecompute.Client, box: ecompute.Container, *paths: str) -> None:
    """Choose the paths of a running container, and wait until it runs again."""
    assert client.mounts.set(box.id, paths).restarted is True
    client.containers.wait(box.id, "running", timeout=BOOT_SECONDS)


@pytest.mark.parametrize("kind", KINDS)
def test_what_lies_there_is_kept_as_it_was(
    client: ecompute.Client, boxes: dict[str, ecompute.Container], person: Person, kind: str
) -> None:
    """Owners, modes, links, times and all kinds of files, while the paths grow from 2 to 16. Every odd path
    can be written to and has its files after the next start; `/root/.ssh` adds keys and takes none away.
    """
    box = boxes[kind]
    client.run(box.id, FILL, check=True)
    before = ask(client, box, LIST)
    assert "some text" in before
    mount(client, box, *ODD)
    assert client.mounts.get(box.id).mount_paths == ODD
    assert ask(client, box, LIST) == before
    assert ask(client, box, "stat -c %a /tmp; ls /var/log").split() == ["1777", "lastlog"]

    stranger = person.public_key("stranger").strip()
    ask(client, box, f"echo '{stranger}' >{SSH}/authorized_keys")
    for number, path in enumerate(ODD):
        client.run(box.id, f"echo {number} >{shlex.quote(path)}/number", check=True)
    client.containers.stop(box.id)
    client.containers.start(box.id)
    client.containers.wait(box.id, "running", timeout=BOOT_SECONDS)
    read = " ".join(shlex.quote(f"{path}/number") for path in ODD)
    assert ask(client, box, f"cat {read}").split() == [str(number) for number in range(len(ODD))]
    assert ask(client, box, f"rm {KEPT}/number; {LIST}") == before
    for key in ("ed25519", "stranger"):
        assert person.ask(box, "echo in", key) == "in"


def test_what_cannot_be_a_directory_is_told(
    client: ecompute.Client, boxes: dict[str, ecompute.Container]
) -> None:
    """A path that the image has as a file fails the container, as does a full volume on which a path is new;
    with other paths it starts again, and nothing is lost.
    """
    box = boxes["nano"]
    ask(client, box, f"echo kept >{KEPT}/note; sync")
    client.mounts.set(box.id, [KEPT, "/init"])
    fails(client, box, "/init is no directory in the image")
    assert client.mounts.set(box.id, [KEPT]).restarted is False
    client.containers.start(box.id)
    client.containers.wait(box.id, "running", timeout=BOOT_SECONDS)
    ask(client, box, f"cd {KEPT}; fallocate -l 950M most; dd if=/dev/zero of=rest bs=64k 2>/dev/null; sync")
    client.mounts.set(box.id, [KEPT, "/srv/new"])
    fails(client, box, "No space left on device")
    client.mounts.set(box.id, [KEPT])
    client.containers.start(box.id)
    client.containers.wait(box.id, "running", timeout=BOOT_SECONDS)
    assert "kept" in in_terminal(client, box, f"cat {KEPT}/note")


def fails(client: ecompute.Client, box: ecompute.Container, reason: str) -> None:
    with pytest.raises(ecompute.ContainerFailed, match=reason):
        client.containers.wait(box.id, "running", timeout=BOOT_SECONDS)
    told = client.containers.get(box.id)
    assert told.status == "failed"
    assert reason in (told.status_reason or "")
