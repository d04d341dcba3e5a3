"""What ssh is told of containers: exactly what is meant, whatever their names are."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from attrs import evolve

from ecompute.cli.exits import CommandError
from ecompute.cli.ssh_files import place_of, slug, texts
from ecompute.contract.resources import Container

BOX = Container(
    "abc12345",
    "web",
    "running",
    ssh_enabled=True,
    ssh_command="ssh root@127.77.1.2 -p 20022",
    external_ip="127.77.1.2",
)
EVIL = [
    "web\n    ProxyCommand touch /tmp/owned",
    "web\r\nHost *",
    "*",
    "?eb",
    "!web",
    "web db",
    "web,db",
    '"web"',
    "-oProxyCommand=x",
    "#web",
    "github.com",
    "localhost",
    "LocalHost",
    "café",
    "%h",
    "~root",
    "$(reboot)",
    "a" * 64,
    "",
]


def described(*boxes: Container) -> dict[str, str]:
    return {box.id: box.id for box in boxes}


def effective(config: Path, name: str) -> dict[str, list[str]]:
    """What the stock client makes of a name."""
    done = subprocess.run(
        ["ssh", "-G", "-F", str(config), name], capture_output=True, text=True, check=True, timeout=30
    )
    found: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        key, _, value = line.partition(" ")
        found.setdefault(key, []).append(value)
    return found


@pytest.fixture
def known(tmp_path: Path) -> Path:
    return tmp_path / "100% known hosts"


def test_the_stock_client_takes_name_and_id(tmp_path: Path, known: Path, public_key: str) -> None:
    """Address, port, user, pinned key and identity, also where paths have spaces and percent signs."""
    box = evolve(BOX, ssh_host_key=f"{public_key} host@{BOX.id}")
    identity = tmp_path / "my 50% key"
    made = texts([box], known, [identity], described(box))
    config = tmp_path / "config"
    config.write_text(made.config)
    for name in ("web", BOX.id):
        options = effective(config, name)
        assert options["hostname"] == ["127.77.1.2"]
        assert options["port"] == ["20022"]
        assert options["user"] == ["root"]
        assert options["hostkeyalias"] == [BOX.id]
        assert options["stricthostkeychecking"] in (["true"], ["yes"])
        assert options["userknownhostsfile"] == [str(known)]
        assert options["identityfile"] == [str(identity).replace("%", "%%")]  # expanded when it is used
    assert made.known_hosts == f"{BOX.id} {public_key}\n"
    assert made.left_out == ()


@pytest.mark.parametrize("name", EVIL)
def test_no_name_becomes_anything_else(tmp_path: Path, known: Path, name: str) -> None:
    """A name that ssh could read otherwise is left out; the id remains, and nothing else changes."""
    box, other = evolve(BOX, name=name), evolve(BOX, id="other123", name="other")
    made = texts([box, other], known, [], described(box, other))
    usual = texts([evolve(BOX, name=BOX.id), other], known, [], described(box, other))
    assert made.config == usual.config
    assert len(made.left_out) == 1
    config = tmp_path / "config"
    config.write_text(made.config)
    assert effective(config, "somewhere.else")["hostname"] == ["somewhere.else"]


def test_a_name_of_two_belongs_to_neither(known: Path) -> None:
    """Nor does one that is another container's id."""
    twin, namesake = evolve(BOX, id="twin1234"), evolve(BOX, id="same1234", name=BOX.id)
    made = texts([BOX, twin, namesake], known, [], described(BOX, twin, namesake))
    hosts = [line for line in made.config.splitlines() if line.startswith("Host ")]
    assert hosts == [f"Host {BOX.id}", "Host twin1234", "Host same1234"]
    assert len(made.left_out) == 3


@pytest.mark.parametrize(
    "command",
    [
        None,
        "",
        "ssh root@host -p 0",
        "ssh root@host -p 70000",
        "ssh root@-oProxyCommand=x",
        "ssh -oProxyCommand=x root@host",
        "ssh root@host\nProxyCommand x",
        "ssh 'root@a b'",
        "ssh root@host; reboot",
        "ssh 'ro ot@host'",
        "ssh root@host '",
        "scp root@host",
    ],
)
def test_an_address_that_is_none_leaves_the_container_out(known: Path, command: str | None) -> None:
    """Rather than being written down."""
    box = evolve(BOX, ssh_command=command)
    assert place_of(box) is None
    made = texts([box], known, [], described(box))
    assert (made.config, made.known_hosts, len(made.left_out)) == ("", "", 1)


def test_an_id_or_a_host_key_that_is_none_is_not_written(known: Path) -> None:
    """An id with a space would pin the key of another host; without a known key ssh asks, as ever."""
    assert place_of(evolve(BOX, id="a *")) is None
    for key in ("ssh-ed25519 AAAA", "* ssh-ed25519 AAAA", "x\ny", None):
        made = texts([evolve(BOX, ssh_host_key=key)], known, [], described(BOX))
        assert made.known_hosts == ""
        assert "KnownHosts" not in made.config
        assert "StrictHostKeyChecking" not in made.config


def test_a_path_that_cannot_be_quoted_is_refused(public_key: str) -> None:
    """In one sentence, before anything is written."""
    box = evolve(BOX, ssh_host_key=public_key)
    for path in ('/tmp/a"b', "/tmp/a\nb", "/tmp/a\\b"):
        with pytest.raises(CommandError):
            texts([box], Path(path), [], described(box))


def test_a_server_s_files_have_its_name() -> None:
    """Two servers do not share one."""
    assert slug("https://compute.example.org") == "compute.example.org"
    assert slug("http://127.0.0.1:7780/api") == "127.0.0.1-7780-api"
    assert slug("http://[::1]:7780") == "1-7780"
