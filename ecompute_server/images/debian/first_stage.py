"""The first stage: packages become one tar archive of a system in which all is unpacked, nothing configured.

No program of the packages runs and no rights are needed, so it is the same for every architecture. What the
maintainers' scripts do is left to the second stage.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from attrs import evolve

from ecompute_server.images import deb
from ecompute_server.images.deb import Member
from ecompute_server.images.debian import database
from ecompute_server.images.debian.database import Record
from ecompute_server.images.debian.filters import Filters
from ecompute_server.images.interface import ImageError

MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libo32", "libx32")
"""Top directories that are links into `/usr`; they exist where a package names them."""

KINDS = {
    "file": tarfile.REGTYPE, "dir": tarfile.DIRTYPE, "link": tarfile.SYMTYPE, "hardlink": tarfile.LNKTYPE,
}  # fmt: skip

WORTH_LINKING = 1 << 16
"""Bytes from which on equal files of one package become one file with several names, as those of git."""

FIRST = ("base-files", "base-passwd")
"""Unpacked before all others, so that their rights of the common directories count."""


def merged(path: str) -> str:
    """The path with `/bin`, `/sbin`, `/lib*` in `/usr`, where the links lead."""
    return f"usr/{path}" if path.partition("/")[0] in MERGED else path


class System:
    """The archive under construction; written as it comes, directories before what is in them."""

    def __init__(self, tar: tarfile.TarFile, filters: Filters) -> None:
        self._tar = tar
        self._filters = filters
        self._paths: dict[str, str] = {}  # path → who brought it
        self._alike: dict[tuple[int, tuple[int, int], bytes], str] = {}
        self.records: list[Record] = []
        self.newest = 0
        """The time of the youngest file, which is the image's."""

    def unpack(self, package: Path) -> None:
        """Add a package's files, and its record.

        Raises:
            ImageError: it is damaged, or has a file that another package has.
        """
        record = database.record(package)
        self._alike.clear()
        for member in deb.members(package):
            record.add(member)
            top = member.path.partition("/")[0]
            if top in MERGED and top not in self._paths:
                self._write(Member(top, "link", 0o777, target=f"usr/{top}"), record.name)
            self.newest = max(self.newest, member.modified)
            if member.kind == "dir" or self._filters.keeps(member.path):
                self._add(member, record.name)
        self.records.append(record)

    def file(self, path: str, data: bytes, mode: int = 0o644) -> None:
        """Add a file of our own, with the directories above it.

        Raises:
            ImageError: a package has a file there.
        """
        self._add(Member(path, "file", mode, data, modified=self.newest), "the image itself")

    def directory(self, path: str, mode: int = 0o755) -> None:
        self._add(Member(path, "dir", mode, modified=self.newest), "the image itself")

    def link(self, path: str, target: str) -> None:
        self._add(Member(path, "link", 0o777, target=target, modified=self.newest), "the image itself")

    def _add(self, member: Member, who: str) -> None:
        path = merged(member.path)
        if path in self._paths:
            if member.kind == "dir":
                return
            raise ImageError(f"The file /{path} of {who} is also one of {self._paths[path]}.")
        parent = path.rpartition("/")[0]
        if parent and parent not in self._paths:
            self._add(Member(parent, "dir", 0o755, modified=self.newest), who)
        if member.kind == "hardlink":
            member = evolve(member, target=merged(member.target))
        elif len(member.data) >= WORTH_LINKING:
            same = (member.mode, member.owner, hashlib.sha256(member.data).digest())
            first = self._alike.setdefault(same, path)
            if first != path:
                member = evolve(member, kind="hardlink", data=b"", target=first)
        self._write(evolve(member, path=path), who)

    def _write(self, member: Member, who: str) -> None:
        self._paths[member.path] = who
        info = tarfile.TarInfo(member.path)
        info.mode, info.mtime = member.mode, member.modified
        info.uid, info.gid = member.owner
        info.type = KINDS[member.kind]
        info.linkname = member.target
        info.size = len(member.data)
        self._tar.addfile(info, io.BytesIO(member.data))


def in_order(packages: Iterable[tuple[str, Path]]) -> Sequence[Path]:
    """Package files by name, those that come first in front."""
    return [path for _, path in sorted(packages, key=lambda pair: (pair[0] not in FIRST, pair[0]))]
