"""A `tar` archive as it passes by: headers written, members read, names judged. No files, no sockets.

The standard library knows the header block. What is left out is its extraction: it takes an archive at its
word, while one from a container may have been made by anybody. Written are GNU headers, which the `tar` of
busybox reads as well (it passes over those of pax): names of any length and bytes, sizes beyond 8 GiB. Read
are these, ustar and pax (POSIX.1-2001), without sparse members, of which a few bytes may stand for many.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from enum import Enum

from attrs import frozen

from ecompute.errors import InvalidAnswer

BLOCK = tarfile.BLOCKSIZE
END = bytes(2 * BLOCK)
"""What ends an archive."""

_EXTENSION_LIMIT = 1024 * 1024
"""Bytes of what may precede one member's header: Linux has names of four thousand."""
_LATEST = float(2**33)
_RECORDS, _GLOBAL_RECORDS = b"xX", b"g"
_LONG_NAME, _LONG_LINK = b"L", b"K"
_KNOWN, _SPARSE = ("path", "linkpath", "size", "mtime"), "GNU.sparse."
_EXTENSIONS = _RECORDS + _GLOBAL_RECORDS + _LONG_NAME + _LONG_LINK


@frozen
class Progress:
    """How far a copy is: bytes of content passed on, out of so many (None: not known before the end), and
    what is being copied, as its path below what was named. Bytes passed on to a container may still be on
    their way.
    """

    bytes_done: int
    bytes_total: int | None
    path: str


class Kind(Enum):
    """What a member is."""

    FILE = "file"
    FOLDER = "folder"
    LINK = "symbolic link"
    HARD_LINK = "hard link"
    OTHER = "device, pipe or socket"


@frozen
class Member:
    """One thing in an archive. `name` and `target`, a link's, are as the archive has them; bytes that are no
    UTF-8 are surrogates in them, as in the names of the `os` module.
    """

    name: str
    kind: Kind
    mode: int = 0
    mtime: float = 0.0
    size: int = 0
    target: str = ""


# writing

_TYPES = {Kind.FILE: tarfile.REGTYPE, Kind.FOLDER: tarfile.DIRTYPE, Kind.LINK: tarfile.SYMTYPE}


def header(member: Member) -> bytes:
    """A member's header, which its content follows, filled up by `padding`. It belongs to root."""
    info = tarfile.TarInfo(member.name)
    info.type = _TYPES[member.kind]
    info.mode = member.mode
    info.size = member.size
    info.mtime = int(min(max(member.mtime, 0.0), _LATEST))
    info.linkname = member.target
    info.uname = info.gname = "root"
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


def padding(size: int) -> bytes:
    """What follows a content of this size."""
    return bytes(-size % BLOCK)


# reading


class Reader:
    """An archive in pieces as they come, with a bounded memory."""

    def __init__(self) -> None:
        self.ended: bool = False
        """Whether the archive is complete; what follows is not looked at."""
        self._buffer = bytearray()
        self._content = 0
        self._padding = 0
        self._said: dict[str, str] = {}
        self._said_size = 0

    def feed(self, data: bytes) -> Iterator[Member | bytes]:
        """The members in these bytes, each followed by its content in pieces, of which none is empty.

        Raises:
            InvalidAnswer: this is no archive, or one that `tar` does not make.
        """
        self._buffer += data
        while not self.ended and self._buffer:
            if self._content:
                piece = bytes(self._buffer[: self._content])
                del self._buffer[: len(piece)]
                self._content -= len(piece)
                yield piece
            elif self._padding:
                dropped = min(self._padding, len(self._buffer))
                del self._buffer[:dropped]
                self._padding -= dropped
            else:
                taken, member = self._header()
                if not taken:
                    return
                del self._buffer[:taken]
                if member is not None:
                    self._content, self._padding = member.size, -member.size % BLOCK
                    yield member
        if self.ended:
            self._buffer.clear()

    @property
    def is_between(self) -> bool:
        """Whether the last member that came is complete."""
        return not self._content

    def _header(self) -> tuple[int, Member | None]:
        """How many bytes of a header there are, none when it is not all there, and its member, if any."""
        if len(self._buffer) < BLOCK:
            return 0, None
        block = bytes(self._buffer[:BLOCK])
        if block == END[:BLOCK]:
            self.ended = True
            return BLOCK, None
        try:
            info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except (tarfile.HeaderError, ValueError):
            raise InvalidAnswer("The container sent no tar archive.") from None
        if info.type not in (bytes([kind]) for kind in _EXTENSIONS):
            return BLOCK, self._member(info)
        if not 0 <= info.size <= _EXTENSION_LIMIT - self._said_size:
            raise InvalidAnswer("The container sent an archive with a header that is too large.")
        taken = BLOCK + info.size + -info.size % BLOCK
        if len(self._buffer) < taken:
            return 0, None
        self._said_size += info.size
        self._learn(info.type, bytes(self._buffer[BLOCK : BLOCK + info.size]))
        return taken, None

    def _learn(self, kind: bytes, data: bytes) -> None:
        match kind:
            case b"L" | b"K":
                name = "path" if kind == _LONG_NAME else "linkpath"
                self._said[name] = data.partition(b"\0")[0].decode("utf-8", "surrogateescape")
            case b"g":
                pass  # what is said of all members is never their name
            case _:
                self._said.update(_records(data))

    def _member(self, info: tarfile.TarInfo) -> Member:
        said, self._said, self._said_size = self._said, {}, 0
        if info.type == tarfile.GNUTYPE_SPARSE or any(key.startswith(_SPARSE) for key in said):
            raise InvalidAnswer("The container sent an archive with a sparse file, which was not asked for.")
        kind = _KINDS.get(info.type, Kind.OTHER)
        size = _number(said.get("size", info.size))
        if not 0 <= size < 1 << 63:
            raise InvalidAnswer("The container sent an archive with an impossible size.")
        # others may have a size that says nothing; what cannot be known is taken at its word (POSIX, ustar)
        has_content = kind is Kind.FILE or info.type not in tarfile.SUPPORTED_TYPES
        mtime = _number(said.get("mtime", info.mtime))
        return Member(
            name=said.get("path", info.name),
            kind=kind,
            mode=info.mode & 0o7777,
            mtime=min(max(mtime, 0.0), _LATEST),
            size=int(size) if has_content else 0,
            target=said.get("linkpath", info.linkname),
        )


_KINDS = {
    tarfile.REGTYPE: Kind.FILE,
    tarfile.AREGTYPE: Kind.FILE,
    tarfile.CONTTYPE: Kind.FILE,
    tarfile.DIRTYPE: Kind.FOLDER,
    tarfile.SYMTYPE: Kind.LINK,
    tarfile.LNKTYPE: Kind.HARD_LINK,
}


def _records(data: bytes) -> dict[str, str]:
    """The records of a pax header that matter here: `length key=value`, a newline at the end of each."""
    found = {}
    start = 0
    while start < len(data):
        digits, space, _ = data[start : start + 20].partition(b" ")
        end = start + int(digits) if space and digits.isdigit() else 0
        key, equals, value = data[start + len(digits) + 1 : end].partition(b"=")
        if end > len(data) or not equals or not value.endswith(b"\n"):
            raise InvalidAnswer("The container sent an archive with a broken header.")
        name = key.decode("utf-8", "replace")
        if name in _KNOWN or name.startswith(_SPARSE):
            found[name] = value[:-1].decode("utf-8", "surrogateescape")
        start = end
    return found


def _number(value: str | float) -> float:
    try:
        number = float(value)
    except ValueError:
        number = float("nan")
    if number != number:
        raise InvalidAnswer("The container sent an archive with a broken number.")
    return number


# names


def parts(name: str, forbidden: str = "") -> tuple[str, ...]:
    """The steps of a member's name below the folder that is copied, none for that folder itself.
    `forbidden` are characters that lead elsewhere on this system, such as a backslash.

    Raises:
        InvalidAnswer: the name leads elsewhere.
    """
    steps = tuple(step for step in name.split("/") if step not in ("", "."))
    if name.startswith("/") or ".." in steps or any(char in name for char in "\0" + forbidden):
        raise InvalidAnswer("The container sent a name that leads out of what is copied.")
    return steps


def stays_inside(link: tuple[str, ...], target: str, forbidden: str = "") -> bool:
    """Whether a symbolic link with these steps leads to something that is copied with it."""
    if target.startswith("/") or not target or any(char in target for char in "\0" + forbidden):
        return False
    steps = [step for step in target.split("/") if step not in ("", ".")]
    ups = next((number for number, step in enumerate(steps) if step != ".."), len(steps))
    # a step up behind others may begin somewhere else, when one of these is a link itself
    return ups < len(link) and ".." not in steps[ups:]
