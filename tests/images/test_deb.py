"""Reading of packages, among them damaged ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from ecompute_server.images import deb
from ecompute_server.images.interface import ImageError

from .packages import COMPRESSIONS, make_ar, make_deb, make_tar

FILES: dict[str, bytes | str] = {"./": b"", "./usr/": b"", "./usr/tool": b"content", "./usr/link": "tool"}


@pytest.mark.parametrize("suffix", COMPRESSIONS)
def test_members_keep_kind_mode_content_and_target(tmp_path: Path, suffix: str) -> None:
    """In the package's order, for every compression that is read."""
    members = list(deb.members(make_deb(tmp_path / "p.deb", FILES, suffix=suffix)))
    assert members == [
        deb.Member("usr", "dir", 0o750),
        deb.Member("usr/tool", "file", 0o4711, data=b"content"),
        deb.Member("usr/link", "link", 0o777, target="tool"),
    ]


def test_only_what_is_wanted_is_given(tmp_path: Path) -> None:
    """The predicate sees paths without a leading dot."""
    package = make_deb(tmp_path / "p.deb", FILES)
    assert [member.path for member in deb.members(package, lambda path: path == "usr/tool")] == ["usr/tool"]


def test_a_path_cannot_leave_the_tree(tmp_path: Path) -> None:
    """Members with `..` in their path are left out."""
    assert not list(deb.members(make_deb(tmp_path / "p.deb", {"./../../etc/passwd": b"x"})))


def test_control_fields_are_joined(tmp_path: Path) -> None:
    """A continuation line belongs to the field above."""
    package = make_deb(tmp_path / "p.deb", {}, control="Package: p\nDescription: one\n two\nVersion: 1:2\n")
    assert deb.control(package) == {"Package": "p", "Description": "one\n two", "Version": "1:2"}


def _sound(path: Path) -> bytes:
    return make_deb(path, {"./tool": bytes(range(256)) * 999}).read_bytes()


DAMAGES = {
    "empty": lambda data: b"",
    "no archive": lambda data: b"MZ" + data,
    "cut in a header": lambda data: data[:30],
    "cut in the data": lambda data: data[: len(data) * 3 // 4],
    "bad size": lambda data: data.replace(b"4         `\n", b"four      `\n", 1),
    "bad header": lambda data: data.replace(b"`\n", b"??", 1),
    "no data": lambda data: data.replace(b"data.tar.xz", b"dada.tar.xz"),
    "overwritten": lambda data: data[:-200] + bytes(200),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_package_is_an_error_that_names_it(tmp_path: Path, damage: str) -> None:
    """And never anything but an ImageError."""
    package = tmp_path / "broken.deb"
    package.write_bytes(DAMAGES[damage](_sound(package)))
    with pytest.raises(ImageError, match=r"broken\.deb"):
        list(deb.members(package))


def test_an_unknown_compression_is_named(tmp_path: Path) -> None:
    """The packages of some derivatives are compressed with zstd."""
    package = tmp_path / "p.deb"
    package.write_bytes(make_ar({"debian-binary": b"2.0\n", "data.tar.zst": make_tar({})}))
    with pytest.raises(ImageError, match="zst"):
        list(deb.members(package))
