"""Reading of Debian packages: an `ar` archive that holds a compressed `tar` with the files.

Only reading, and only what an image builder needs: the control fields and the file members. Nothing is
unpacked to disk, so ownership and device nodes need no rights.
"""

from __future__ import annotations

import io
import lzma
import posixpath
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO

from attrs import frozen

from ecompute_server.images.interface import ImageError

AR_MAGIC = b"!<arch>\n"
AR_HEADER_SIZE = 60


@frozen
class Member:
    """One path of a package as it is stored: `path` has no leading `./` or `/`. `target` is set for
    symbolic and hard links (for the latter it is a path of the same package), `data` for regular files.
    `owner` is user and group by number, `modified` a time in seconds since the epoch.
    """

    path: str
    kind: str
    mode: int
    data: bytes = b""
    target: str = ""
    owner: tuple[int, int] = (0, 0)
    modified: int = 0


class _Section(io.RawIOBase):
    """A window of a file, so that a decompressor cannot read into the next `ar` member."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file = file
        self._left = size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        data = self._file.read(min(len(buffer), self._left))
        if not data and self._left:
            raise EOFError
        buffer[: len(data)] = data
        self._left -= len(data)
        return len(data)


def _find(file: IO[bytes], prefix: str) -> tuple[str, int]:
    """Seek to the first `ar` member whose name starts with `prefix`; its name and size."""
    if file.read(len(AR_MAGIC)) != AR_MAGIC:
        raise ImageError("it does not begin like an ar archive")
    while header := file.read(AR_HEADER_SIZE):
        if len(header) != AR_HEADER_SIZE or header[58:] != b"`\n":
            raise ImageError("an ar member has no proper header")
        name = header[:16].decode("ascii", "replace").rstrip().rstrip("/")
        try:
            size = int(header[48:58])
        except ValueError:
            raise ImageError("an ar member has no proper size") from None
        if name.startswith(prefix):
            return name, size
        file.seek(size + size % 2, io.SEEK_CUR)  # members begin at even offsets
    raise ImageError(f"it has no member {prefix}*")


@contextmanager
def _tar(package: Path, prefix: str) -> Iterator[tarfile.TarFile]:
    """The tar archive in the member that starts with `prefix`; every fault becomes an `ImageError` that
    names the package.
    """
    try:
        with package.open("rb") as file:
            name, size = _find(file, prefix)
            match name.rpartition("tar")[2]:
                case "" | ".gz" | ".xz" as suffix:
                    section = io.BufferedReader(_Section(file, size), 1 << 20)
                    mode = f"r|{suffix[1:]}"
                case other:
                    raise ImageError(f"its {name} is compressed in a way that is not read here ({other[1:]})")
            with tarfile.open(fileobj=section, mode=mode) as tar:  # type: ignore[call-overload]
                yield tar
    except (tarfile.TarError, lzma.LZMAError, zlib.error, EOFError) as error:
        raise ImageError(f"The package {package.name} is damaged: {error or 'it ends too early'}.") from error
    except ImageError as error:
        raise ImageError(f"The package {package.name} cannot be read: {error}.") from None


def members(package: Path, wanted: Callable[[str], bool] = lambda path: True) -> Iterator[Member]:
    """The package's files, directories and links whose path is `wanted`, in the package's order.

    Raises:
        ImageError: the file is no package, is damaged, or uses a compression other than none, gzip, xz.
    """
    with _tar(package, "data.tar") as tar:
        for entry in tar:
            path = posixpath.normpath(entry.name).strip("/")
            if path == "." or ".." in path.split("/") or not wanted(path):
                continue
            member = partial(
                Member,
                path,
                mode=entry.mode & 0o7777,
                owner=(entry.uid, entry.gid),
                modified=int(entry.mtime),
            )
            if entry.isdir():
                yield member("dir")
            elif entry.issym():
                yield member("link", mode=0o777, target=entry.linkname)
            elif entry.islnk():
                yield member("hardlink", target=entry.linkname.removeprefix("./").strip("/"))
            elif entry.isreg():
                content = tar.extractfile(entry)
                assert content is not None
                yield member("file", data=content.read())


def control_files(package: Path) -> dict[str, tuple[int, bytes]]:
    """What the package tells its manager, `control` and scripts included: name → (mode, content)."""
    files: dict[str, tuple[int, bytes]] = {}
    with _tar(package, "control.tar") as tar:
        for entry in tar:
            name = entry.name.removeprefix("./")
            if entry.isreg() and name and "/" not in name:
                content = tar.extractfile(entry)
                assert content is not None
                files[name] = (entry.mode & 0o7777, content.read())
    return files


def control(package: Path) -> dict[str, str]:
    """The package's control fields (`Package`, `Version`, `Architecture`, …), continuation lines joined."""
    files = control_files(package)
    if "control" not in files:
        raise ImageError(f"The package {package.name} has no control file.")
    return next(stanzas(files["control"][1].decode("utf-8", "replace")), {})


def stanzas(text: str) -> Iterator[dict[str, str]]:
    """The blocks of Debian's control format; lines that begin with a blank continue the field before."""
    fields: dict[str, str] = {}
    name = ""
    for line in [*text.splitlines(), ""]:
        if not line.strip():
            if fields:
                yield fields
            fields, name = {}, ""
        elif line[0] in " \t":
            if name:
                fields[name] += "\n" + line
        elif not line.startswith("#"):
            name, _, value = line.partition(":")
            fields[name] = value.strip()
