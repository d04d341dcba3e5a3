"""Files and folders of this machine on their way into an archive.

Everything here waits for the disk: the async client calls it in threads.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Generator, Iterator
from pathlib import Path

from attrs import frozen

from .errors import Error, InvalidArgument, one_line
from .protocol.archive import END, Kind, Member, Progress, header, padding
from .protocol.copying import LeftOut, path_text, unusable

BINARY = getattr(os, "O_BINARY", 0)
SEPARATORS = os.sep + (os.altsep or "")
_STEPS = f"[{re.escape(SEPARATORS)}]"
_BATCH = 128 * 1024


@frozen
class Source:
    """What is to be copied; it has no name where only what is in it is meant."""

    path: Path
    name: str
    is_folder: bool


def source_at(path: str | os.PathLike[str]) -> Source:
    """The file or folder at a path; a link is followed.

    Raises:
        InvalidArgument: there is none that could be copied.
    """
    text = path_text(path, "source")
    try:
        # also of `file/.`, which is nothing
        mode = os.stat(text).st_mode  # noqa: PTH116
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "no system has such a path"
        raise InvalidArgument(f"{one_line(text)} cannot be copied: {reason}.") from error
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise InvalidArgument(f"{one_line(text)} cannot be copied: it is neither a file nor a folder.")
    return Source(Path(text), "" if is_dotted(text) else Path(text).name, stat.S_ISDIR(mode))


def size_of(source: Source) -> int:
    """The bytes of content of all files in it.

    Raises:
        Error: a folder cannot be read.
    """
    if not source.is_folder:
        return source.path.stat().st_size
    return sum(found.st_size for _, _, found in _below(source.path, "") if stat.S_ISREG(found.st_mode))


def pack(source: Source, name: str, total: int, left_out: LeftOut) -> Generator[tuple[bytes, Progress]]:
    """The archive of a source that is to have this name, in pieces; without one only what is in it.

    Raises:
        Error: something cannot be read, or changed while it was.
    """
    batch = bytearray()
    done, path = 0, ""
    for path, data, content in _members(source, name, left_out):
        batch += data
        done += content
        if len(batch) >= _BATCH:
            yield bytes(batch), Progress(done, total, path)
            batch.clear()
    yield bytes(batch) + END, Progress(done, total, path)


def _members(source: Source, name: str, left_out: LeftOut) -> Iterator[tuple[str, bytes, int]]:
    """Each piece with the name that it belongs to, and how much content it has."""
    top = source.path.stat()
    if not source.is_folder:
        yield from _content(source.path, name, top)
        return
    if name:
        yield name, header(_member(Kind.FOLDER, name, top)), 0
    for path, member, found in _below(source.path, name):
        if stat.S_ISREG(found.st_mode):
            yield from _content(path, member, found)
        elif stat.S_ISDIR(found.st_mode):
            yield member, header(_member(Kind.FOLDER, member, found)), 0
        elif stat.S_ISLNK(found.st_mode):
            try:
                target = os.fspath(path.readlink())
            except OSError as error:
                raise unusable(path, "read", error) from error
            yield member, header(_member(Kind.LINK, member, found, target)), 0
        else:
            left_out.add(member, Kind.OTHER.value)


def _below(path: Path, name: str) -> Iterator[tuple[Path, str, os.stat_result]]:
    """All that lies below a folder, each folder before what is in it, in the order of the names."""
    try:
        for inner in sorted(path.iterdir()):
            member = f"{name}/{inner.name}" if name else inner.name
            found = inner.lstat()
            yield inner, member, found
            if stat.S_ISDIR(found.st_mode):
                yield from _below(inner, member)
    except OSError as error:
        raise unusable(error.filename or path, "read", error) from error


def _member(kind: Kind, name: str, found: os.stat_result, target: str = "") -> Member:
    size = found.st_size if kind is Kind.FILE else 0
    # set-id bits would mean root there, whoever they meant here
    return Member(name, kind, found.st_mode & 0o1777, found.st_mtime, size, target)


def _content(path: Path, name: str, expected: os.stat_result) -> Iterator[tuple[str, bytes, int]]:
    try:
        # should it have become a pipe meanwhile, nobody waits for its writer
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | BINARY
        with os.fdopen(os.open(path, flags), "rb", 0) as file:
            found = os.fstat(file.fileno())
            if not os.path.samestat(found, expected):
                raise Error(f"{one_line(str(path))} was replaced while it was copied.")
            yield name, header(_member(Kind.FILE, name, found)), 0
            left = found.st_size
            while left:
                data = file.read(min(left, _BATCH))
                if not data:
                    raise Error(f"{one_line(str(path))} became shorter while it was copied.")
                left -= len(data)
                yield name, data, len(data)
    except OSError as error:
        raise unusable(path, "read", error) from error
    yield name, padding(found.st_size), 0


def is_dotted(text: str) -> bool:
    """Whether a path ends with a step that is no name; `Path` forgets some of these."""
    return re.split(_STEPS, text.rstrip(SEPARATORS))[-1] in (".", "..")
