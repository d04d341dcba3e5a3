"""Archives as they pass by: what the standard library writes is read, what it reads is written."""

from __future__ import annotations

import io
import tarfile
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecompute.errors import InvalidAnswer
from ecompute.protocol.archive import END, Kind, Member, Reader, header, padding, parts, stays_inside

names = st.binary(min_size=1, max_size=300).map(
    lambda data: data.replace(b"\0", b"x").strip(b"/").decode("utf-8", "surrogateescape") or "x"
)
FORMATS = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)


def read(data: bytes, size: int = 1 << 20) -> list[tuple[Member, bytes]]:
    """All members with their content, from an archive that comes in pieces of a size."""
    reader, found = Reader(), []
    for start in range(0, len(data), size):
        for item in reader.feed(data[start : start + size]):
            if isinstance(item, bytes):
                assert item
                found[-1][1].extend(item)
            else:
                found.append((item, bytearray()))
    assert reader.ended
    return [(member, bytes(content)) for member, content in found]


def block(name: str = "x", kind: bytes = tarfile.REGTYPE, size: int = 0, **fields: Any) -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    for field, value in fields.items():
        setattr(info, field, value)
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


@given(st.lists(st.tuples(names, st.binary(max_size=1500)), max_size=4), st.sampled_from([1, 511, 512, 1000]))
def test_what_is_written_is_read(files: list[tuple[str, bytes]], size: int) -> None:
    """Here, in any pieces, and by the standard library."""
    members = [(Member(name, Kind.FILE, 0o640, 7.0, len(data)), data) for name, data in files]
    packed = b"".join(header(member) + data + padding(len(data)) for member, data in members) + END
    assert read(packed, size) == members
    with tarfile.open(fileobj=io.BytesIO(packed), errors="surrogateescape", encoding="utf-8") as archive:
        found = [(one.name, archive.extractfile(one)) for one in archive]
        assert [(name, content and content.read()) for name, content in found] == files


@given(names, names, st.sampled_from(FORMATS[1:]))
@settings(deadline=None)
def test_what_others_write(name: str, target: str, form: int) -> None:
    """Long names and links as GNU and pax have them, with any bytes."""
    buffer = io.BytesIO()
    with tarfile.open(
        fileobj=buffer, mode="w", format=form, encoding="utf-8", errors="surrogateescape"
    ) as out:
        link = tarfile.TarInfo(name)
        link.type, link.linkname, link.mtime = tarfile.SYMTYPE, target, 12.5  # type: ignore[assignment]
        out.addfile(link)
    ((member, _),) = read(buffer.getvalue())
    assert (member.name, member.kind, member.target) == (name, Kind.LINK, target)
    assert member.mtime == (12.5 if form == tarfile.PAX_FORMAT else 12.0)


@pytest.mark.parametrize("size", [8 * 2**30, 2**40 + 1])
def test_large_files(size: int) -> None:
    """Sizes beyond what octal digits hold, written as GNU does and read from that and pax."""
    for packed in (header(Member("x", Kind.FILE, size=size)), pax(size=str(size)) + block()):
        (member,) = Reader().feed(packed)
        assert isinstance(member, Member)
        assert member.size == size


def pax(**records: str) -> bytes:
    data = b""
    for key, value in records.items():
        rest = f" {key}={value}\n".encode()
        length = len(rest) + 1
        while length != len(rest) + len(str(length)):
            length += 1
        data += str(length).encode() + rest
    return block("p", b"x", len(data)) + data + padding(len(data))


def test_kinds() -> None:
    """What is no file has no content, whatever its header says."""
    kinds = {
        tarfile.DIRTYPE: Kind.FOLDER,
        tarfile.LNKTYPE: Kind.HARD_LINK,
        tarfile.CHRTYPE: Kind.OTHER,
        tarfile.FIFOTYPE: Kind.OTHER,
        tarfile.CONTTYPE: Kind.FILE,
    }
    packed = b"".join(block(kind=kind) for kind in kinds) + END
    assert [member.kind for member, _ in read(packed)] == list(kinds.values())


def test_what_is_said_of_all_is_passed_over() -> None:
    """A global header, as `git archive` writes one, changes no name; nor does the next member inherit one."""
    data = b"20 path=/etc/passwd\n"
    packed = block("g", b"g", len(data)) + data + padding(len(data))
    packed += pax(path="a") + block("b") + block("c") + END
    assert [member.name for member, _ in read(packed)] == ["a", "c"]


@pytest.mark.parametrize(
    "packed",
    [
        b"no archive" + bytes(600),
        b"x" * 512,
        block(kind=tarfile.GNUTYPE_SPARSE),
        pax(**{"GNU.sparse.major": "1"}) + block(),
        pax(size="-1") + block(),
        pax(size="nan") + block(),
        pax(size="x") + block(),
        pax(mtime="x") + block(),
        pax(size="9" * 400) + block(),
        block("p", b"x", 5) + b"9 a=b" + padding(5) + block(),
        block("p", b"x", 5) + b"5 abc" + padding(5) + block(),
        block("p", b"x", 6) + b"0 a=b\n" + padding(6) + block(),
        block("p", b"L", 2 << 20),
        block("p", b"L", 800_000) + bytes(800_000) + padding(800_000) + block("p", b"K", 800_000),
    ],
)
def test_what_no_tar_makes(packed: bytes) -> None:
    """Is refused."""
    with pytest.raises(InvalidAnswer):
        list(Reader().feed(packed))


@given(st.binary(max_size=2000))
def test_any_bytes(data: bytes) -> None:
    """Nothing but members and refusals comes of what anybody sends."""
    reader = Reader()
    with suppress(InvalidAnswer):
        assert all(isinstance(item, bytes | Member) for item in reader.feed(data))


def test_times_are_what_systems_take() -> None:
    """Neither before 1970 nor beyond what file systems hold."""
    for said, expected in (("-5", 0.0), ("inf", 2.0**33), ("1.5", 1.5)):
        (member,) = Reader().feed(pax(mtime=said) + block())
        assert isinstance(member, Member)
        assert member.mtime == expected


@pytest.mark.parametrize(
    ("name", "steps"),
    [(".", ()), ("./", ()), ("./a//b/", ("a", "b")), ("a\\b", ("a\\b",)), ("...", ("...",))],
)
def test_names_below(name: str, steps: tuple[str, ...]) -> None:
    """As their steps."""
    assert parts(name) == steps


@pytest.mark.parametrize("name", ["/a", "..", "a/../b", "./../a", "a\0b", "c:x", "a\\..\\b"])
def test_names_that_lead_elsewhere(name: str) -> None:
    """Are refused, where the characters mean something."""
    with pytest.raises(InvalidAnswer):
        parts(name, "\\:")


@pytest.mark.parametrize(
    ("link", "target", "inside"),
    [
        (("a",), "b", True),
        (("a",), "./b/c", True),
        (("a",), ".", True),
        (("a",), "..", False),
        (("d", "a"), "..", True),
        (("d", "a"), "../b", True),
        (("d", "a"), "../../b", False),
        (("d", "a"), "b/../..", False),
        # `b` may be a link to `.`
        (("a",), "b/..", False),
        (("a",), "/etc", False),
        (("a",), "", False),
        (("a",), "b\0", False),
    ],
)
def test_links(link: tuple[str, ...], target: str, inside: bool) -> None:
    """Stay inside when nothing on their way could lead out."""
    assert stays_inside(link, target) is inside
