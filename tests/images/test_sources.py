"""Which of a host's package sources are taken."""

from __future__ import annotations

from pathlib import Path

import pytest

from ecompute_server.images.apt import PrivateApt, host_sources
from ecompute_server.images.deb import stanzas
from ecompute_server.images.interface import ImageError
from ecompute_server.images.sources import for_guest, may_be_debian, one_line_entries

LIST = """\
# deb http://a.example/debian bookworm main
deb http://b.example/debian bookworm main contrib  # the mirror
deb [arch=amd64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://c.example/d sid main
deb-src http://d.example/debian bookworm main
deb [signed-by=/etc/apt/keyrings/other.asc] https://e.example/linux bookworm stable
deb https://f.example/apt cloud-sdk-bookworm main
deb http://g.example/debian-security bookworm/updates main
deb http://h.example/flat ./
deb cdrom:[Debian]/ bookworm main
"""
STANZAS = """\
Types: deb deb-src
URIs: http://i.example/debian
Suites: bookworm bookworm-backports
Components: main
Architectures: amd64
# a remark
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc

Types: deb
Enabled: no
URIs: http://j.example/debian
Suites: bookworm
Components: main

Types: deb-src
URIs: http://k.example/debian
Suites: bookworm
Components: main

Types: deb
URIs: http://l.example/node
Suites: nodistro
Components: main
"""


@pytest.fixture
def host(tmp_path: Path) -> Path:
    parts = tmp_path / "etc" / "sources.list.d"
    parts.mkdir(parents=True)
    (tmp_path / "etc" / "sources.list").write_text(LIST)
    (parts / "debian.sources").write_text(STANZAS)
    (parts / "old.list.disabled").write_text(LIST)
    return tmp_path / "etc"


def test_what_may_be_debian_is_taken(host: Path) -> None:
    """Both forms of entries; not source code, not what is disabled, not what Debian does not have."""
    taken = [source for source in host_sources(host) if may_be_debian(source)]
    assert [source.get("URIs")[7] for source in taken] == ["b", "c", "g", "i"]


def test_entries_lose_the_limits_of_the_host_and_keep_the_key(host: Path) -> None:
    """An entry that is for one architecture on the host serves the others too."""
    by_uri = {source.get("URIs")[7]: source for source in host_sources(host)}
    assert by_uri["c"].get("Signed-By") == "/usr/share/keyrings/debian-archive-keyring.gpg"
    assert by_uri["i"].text() == (
        "Types: deb\nURIs: http://i.example/debian\nSuites: bookworm bookworm-backports\nComponents: main\n"
        "Signed-By: \n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc\n"
    )
    assert not any("amd64" in source.text() for source in by_uri.values())


def test_a_failure_counts_where_debian_signs(host: Path) -> None:
    """A third party's source that cannot be read is left out, Debian's own is not."""
    assert [source.has_debian_key for source in host_sources(host)][:3] == [True, True, False]


def test_a_host_without_debian_is_told(tmp_path: Path) -> None:
    """Before anything is asked of the network."""
    (tmp_path / "etc").mkdir()
    apt = PrivateApt(tmp_path / "apt", "arm64")
    with pytest.raises(ImageError, match="No package source of Debian"):
        apt.update(lambda progress: None, tmp_path / "etc")


def test_the_private_configuration_has_no_hooks_of_the_host(tmp_path: Path) -> None:
    """They run programs that change the host."""
    PrivateApt(tmp_path, "arm64")
    text = (tmp_path / "apt.conf").read_text()
    assert "Invoke" not in text
    assert f'Dir::State "{tmp_path}/state";' in text


def test_a_guest_gets_the_mirrors_that_it_can_reach() -> None:
    """Without passwords, options of the host and places on its disks, checked with Debian's own keyring."""
    found = [
        *one_line_entries(
            "deb [signed-by=/root/key trusted=yes] https://me:pw@mirror/debian stable main contrib"
        ),
        *one_line_entries("deb file:///srv/debian stable main"),
    ]
    text = for_guest(found)
    assert list(stanzas(text)) == [
        {
            "Types": "deb", "URIs": "https://mirror/debian", "Suites": "stable", "Components": "main contrib",
            "Signed-By": "/usr/share/keyrings/debian-archive-keyring.gpg",
        }
    ]  # fmt: skip
    assert for_guest(found[1:]).startswith("# ")
