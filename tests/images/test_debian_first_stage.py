"""The Debian image's first stage: packages become one archive with dpkg's database, nothing of them runs."""

from __future__ import annotations

import hashlib
import tarfile
from pathlib import Path

import pytest

from ecompute_server.images import deb
from ecompute_server.images.debian import database, filters, first_stage
from ecompute_server.images.interface import ImageError
from tests.images.packages import make_deb

CONTROL = "Package: {name}\nVersion: 1\nArchitecture: amd64\n{more}Description: short\n long\n"


def package(
    folder: Path,
    name: str,
    files: dict[str, bytes | str],
    more: str = "",
    scripts: dict[str, bytes | str] | None = None,
) -> Path:
    control = CONTROL.format(name=name, more=more)
    return make_deb(folder / f"{name}.deb", files, control=control, scripts=scripts)


def unpacked(
    folder: Path, *packages: Path, rules: str = ""
) -> tuple[dict[str, tarfile.TarInfo], list[database.Record]]:
    """The archive's members by path, and the records."""
    archive = folder / "packages.tar"
    with tarfile.open(archive, "w", format=tarfile.GNU_FORMAT) as tar:
        system = first_stage.System(tar, filters.parse(rules))
        for path in packages:
            system.unpack(path)
    with tarfile.open(archive) as tar:
        return {member.name: member for member in tar}, system.records


def test_a_tree_has_one_usr(tmp_path: Path) -> None:
    """The old places are links, the files lie where the links lead, and the package's list names them as the
    package does.
    """
    members, (record,) = unpacked(
        tmp_path, package(tmp_path, "p", {"./bin/": b"", "./bin/a": b"A", "./usr/sbin/b": b"B"})
    )
    assert members["bin"].issym()
    assert members["bin"].linkname == "usr/bin"
    assert members["usr/bin/a"].isreg()
    assert members["usr/bin/a"].mode == 0o4711
    assert members["usr/sbin/b"].size == 1
    assert "lib64" not in members
    assert record.paths == ["bin", "bin/a", "usr/sbin/b"]


def test_directories_are_those_of_the_first_package(tmp_path: Path) -> None:
    """With their mode; a directory that no package has is made."""
    members, _ = unpacked(
        tmp_path,
        package(tmp_path, "p", {"./etc/": b"", "./etc/a": b""}),
        package(tmp_path, "q", {"./etc/": b"", "./etc/b": b"", "./opt/x/c": b""}),
    )
    assert members["etc"].mode == 0o750
    assert members["opt"].mode == 0o755
    assert members["opt/x"].isdir()


def test_two_packages_with_one_file_are_an_error(tmp_path: Path) -> None:
    """Both are named."""
    one, other = (
        package(tmp_path, name, {path: b""}) for name, path in (("p", "./lib/a"), ("q", "./usr/lib/a"))
    )
    with pytest.raises(ImageError, match="/usr/lib/a of q is also one of p"):
        unpacked(tmp_path, one, other)


def test_what_is_left_out_stays_in_the_list(tmp_path: Path) -> None:
    """As dpkg itself does it; the last rule that matches counts."""
    rules = "# comment\npath-exclude=/usr/share/doc/*\npath-include = /usr/share/doc/*/copyright\n"
    files: dict[str, bytes | str] = {"./usr/share/doc/p/copyright": b"c", "./usr/share/doc/p/news": b"n"}
    members, (record,) = unpacked(tmp_path, package(tmp_path, "p", files), rules=rules)
    assert "usr/share/doc/p/copyright" in members
    assert "usr/share/doc/p/news" not in members
    assert "usr/share/doc/p/news" in record.paths


def test_the_database_says_unpacked(tmp_path: Path) -> None:
    """With the hashes of configuration files, and what else the package tells its manager."""
    path = package(
        tmp_path, "p", {"./etc/p.conf": b"x=1\n"}, "Multi-Arch: same\n",
        {
            "./conffiles": b"/etc/p.conf\nremove-on-upgrade /etc/old\n", "./preinst": b"#!/bin/sh\n",
            "./triggers": b"interest-noawait /usr/lib/x\ninterest ldconfig\nactivate y\n",
        },
    )  # fmt: skip
    _, records = unpacked(tmp_path, path)
    md5 = hashlib.md5(b"x=1\n").hexdigest()
    files = {path: (mode, data) for path, mode, data in database.entries(records)}
    (fields,) = deb.stanzas(files["var/lib/dpkg/status"][1].decode())
    assert fields["Status"] == "install ok unpacked"
    assert fields["Conffiles"] == f"\n /etc/p.conf {md5}"
    assert files["var/lib/dpkg/info/p:amd64.list"][1] == b"/.\n/etc/p.conf\n"
    assert files["var/lib/dpkg/info/p:amd64.preinst"][0] & 0o111
    assert files["var/lib/dpkg/triggers/File"][1] == b"/usr/lib/x p:amd64/noawait\n"
    assert files["var/lib/dpkg/triggers/ldconfig"][1] == b"p:amd64\n"
    assert "var/lib/dpkg/info/p:amd64.control" not in files


def test_packages_that_nobody_asked_for_are_automatic(tmp_path: Path) -> None:
    """So that apt's autoremove works later; essential ones never are."""
    _, records = unpacked(
        tmp_path,
        package(tmp_path, "asked", {}),
        package(tmp_path, "needed", {}),
        package(tmp_path, "base", {}, "Essential: yes\n"),
    )
    text = database.automatic(records, ["asked"], "amd64").decode()
    assert [fields["Package"] for fields in deb.stanzas(text)] == ["needed"]


def test_the_same_packages_make_the_same_archive(tmp_path: Path) -> None:
    """Byte by byte; no time or user of the building host gets in."""
    path = package(tmp_path, "p", {"./etc/a": b"1", "./bin/b": "c"})
    hashes = set()
    for _ in range(2):
        unpacked(tmp_path, path)
        hashes.add(hashlib.sha256((tmp_path / "packages.tar").read_bytes()).hexdigest())
    assert len(hashes) == 1


def test_the_common_packages_come_first() -> None:
    """The others by name."""
    names = [(name, Path(name)) for name in ("zlib", "base-passwd", "adduser", "base-files")]
    ordered = [path.name for path in first_stage.in_order(names)]
    assert ordered == ["base-files", "base-passwd", "adduser", "zlib"]


@pytest.mark.parametrize("control", ["", "Package: p\n", "Version: 1\nArchitecture: all\n"])
def test_a_package_that_does_not_say_what_it_is_is_damaged(tmp_path: Path, control: str) -> None:
    """In one sentence."""
    with pytest.raises(ImageError, match="damaged"):
        unpacked(tmp_path, make_deb(tmp_path / "p.deb", {}, control=control))


def test_equal_large_files_of_a_package_are_one(tmp_path: Path) -> None:
    """Under all their names; small ones, and those of another package, are left alone."""
    large = bytes(first_stage.WORTH_LINKING)
    members, _ = unpacked(
        tmp_path,
        package(tmp_path, "p", {"./bin/a": large, "./lib/b": large, "./bin/c": b"c", "./bin/d": b"c"}),
        package(tmp_path, "q", {"./bin/e": large}),
    )
    assert members["usr/lib/b"].islnk()
    assert members["usr/lib/b"].linkname == "usr/bin/a"
    assert all(members[f"usr/bin/{name}"].isreg() for name in "acde")
