"""The file tree and its archive."""

from __future__ import annotations

import io

import pytest

from ecompute_server.images import cpio
from ecompute_server.images.cpio import Entry
from ecompute_server.images.deb import Member
from ecompute_server.images.interface import ImageError
from ecompute_server.images.tree import Pool, Tree, merged

from .packages import make_elf


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("bin/sh", "usr/bin/sh"),
        ("/sbin/ip", "usr/bin/ip"),
        ("usr/sbin/sshd", "usr/bin/sshd"),
        ("lib64/ld.so", "usr/lib64/ld.so"),
        ("etc/lib/x", "etc/lib/x"),
        ("usr/sbin", "usr/sbin"),
    ],
)
def test_paths_are_those_of_a_merged_usr(path: str, expected: str) -> None:
    """Whatever a package calls them; the links themselves keep their names."""
    assert merged(path) == expected


def test_a_program_comes_with_all_that_it_needs() -> None:
    """Interpreter, libraries, their libraries and the links between, and nothing else."""
    pool = Pool(
        [
            Member("usr/sbin/tool", "file", 0o755, make_elf("liba.so.1", interpreter="/lib64/ld.so.2")),
            Member("lib64/ld.so.2", "link", 0o777, target="/lib/x/ld.so"),
            Member("lib/x/ld.so", "file", 0o755, make_elf()),
            Member("usr/lib/x/liba.so.1", "link", 0o777, target="liba.so.1.5"),
            Member("usr/lib/x/liba.so.1.5", "file", 0o644, make_elf("libb.so.2")),
            Member("lib/x/libb.so.2", "file", 0o644, make_elf("liba.so.1")),
            Member("usr/bin/other", "file", 0o755, b"#!/bin/sh"),
        ]
    )
    tree = Tree()
    pool.take("usr/sbin/tool", tree)
    taken = {entry.path for entry in tree.entries() if entry.kind == "file" or ".so" in entry.path}
    assert taken == {
        "usr/bin/tool", "usr/lib64/ld.so.2", "usr/lib/x/ld.so", "usr/lib/x/liba.so.1",
        "usr/lib/x/liba.so.1.5", "usr/lib/x/libb.so.2",
    }  # fmt: skip


def test_a_missing_library_is_named() -> None:
    """With the program that needs it."""
    pool = Pool([Member("bin/tool", "file", 0o755, make_elf("libmissing.so.1"))])
    with pytest.raises(ImageError, match=r"libmissing\.so\.1 that bin/tool"):
        pool.take("bin/tool", Tree())


def test_links_in_a_circle_are_an_error() -> None:
    """Not a hang."""
    pool = Pool([Member("bin/a", "link", 0o777, target="b"), Member("bin/b", "link", 0o777, target="a")])
    with pytest.raises(ImageError, match="lead nowhere"):
        pool.take("bin/a", Tree())


def test_directories_come_before_their_contents() -> None:
    """However they were added; `a-b` sorts before `a/` as text, and is no reason to part a directory."""
    tree = Tree()
    for path in ("a/b/c", "a-b", "a/b.d"):
        tree.file(path, b"")
    seen = {"", "."}
    for entry in tree.entries():
        assert entry.path.rpartition("/")[0] in seen
        seen.add(entry.path)


def test_the_archive_is_a_function_of_its_entries() -> None:
    """Known bytes: no times, no owners; names and contents are padded to four bytes, the whole to 512."""
    output = io.BytesIO()
    size = cpio.write(
        [
            Entry("d", "dir", 0o755),
            Entry("d/file", "file", 0o600, data=b"12345"),
            Entry("l", "link", 0o777, target="d"),
        ],
        output,
    )
    data = output.getvalue()
    assert len(data) == size == 512
    fields = [b"%08X" % n for n in (2, 0o100600, 0, 0, 1, 0, 5, 0, 0, 0, 0, 7, 0)]
    assert b"".join([b"070701", *fields, b"d/file\0", b"\0" * 3, b"12345", b"\0" * 3, b"070701"]) in data
    assert b"TRAILER!!!\0" in data


def test_devices_have_their_numbers() -> None:
    """The kernel opens /dev/console before anything could make it."""
    output = io.BytesIO()
    cpio.write([Entry("c", "char", 0o600, device=(5, 1))], output)
    assert output.getvalue()[14:22] == b"%08X" % 0o020600
    assert output.getvalue()[6 + 9 * 8 : 6 + 11 * 8] == b"0000000500000001"


def test_an_unknown_kind_is_refused() -> None:
    """Instead of an archive that the kernel would not unpack."""
    with pytest.raises(ValueError, match="socket"):
        cpio.write([Entry("s", "socket", 0o600)], io.BytesIO())
