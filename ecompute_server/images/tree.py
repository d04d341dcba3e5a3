"""The file tree of an image under construction, in memory.

Paths have no leading slash and are those of a merged /usr, whatever way a package names them.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator

from ecompute_server.images import elf
from ecompute_server.images.cpio import Entry
from ecompute_server.images.deb import Member
from ecompute_server.images.interface import ImageError

MERGED = {"bin": "bin", "sbin": "bin", "lib": "lib", "lib64": "lib64"}
"""Top directories that are links into /usr; the programs of both kinds share one directory."""


def merged(path: str) -> str:
    """The path in a tree where `/bin`, `/sbin`, `/lib` and `/lib64` are links into `/usr`."""
    parts = path.strip("/").split("/")
    if parts[0] in MERGED and len(parts) > 1:
        parts = ["usr", MERGED[parts[0]], *parts[1:]]
    elif parts[:2] == ["usr", "sbin"] and len(parts) > 2:
        parts[1] = "bin"
    return "/".join(parts)


class Tree:
    """Entries by path; adding one twice keeps the later."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        for top, real in MERGED.items():
            self._entries[top] = Entry(top, "link", 0o777, target=f"usr/{real}")
        self.directory("usr/bin")
        self._entries["usr/sbin"] = Entry("usr/sbin", "link", 0o777, target="bin")

    def __contains__(self, path: str) -> bool:
        return merged(path) in self._entries

    def add(self, entry: Entry) -> None:
        """Add an entry, with the directories above it (mode 0755) that are not there yet."""
        path = merged(entry.path)
        if parent := posixpath.dirname(path):
            self.directory(parent)
        self._entries[path] = Entry(path, entry.kind, entry.mode, entry.data, entry.target, entry.device)

    def file(self, path: str, data: bytes, mode: int = 0o644) -> None:
        self.add(Entry(path, "file", mode, data=data))

    def link(self, path: str, target: str) -> None:
        self.add(Entry(path, "link", 0o777, target=target))

    def directory(self, path: str, mode: int | None = None) -> None:
        """Make sure of a directory; without `mode` one that exists stays as it is."""
        path = merged(path)
        if mode is not None or path not in self._entries:
            self.add(Entry(path, "dir", 0o755 if mode is None else mode))

    def entries(self) -> Iterator[Entry]:
        """All entries in an order that depends on nothing else, directories before their contents."""
        yield Entry(".", "dir", 0o755)  # else the root directory is open to all, and sshd distrusts it
        yield from (self._entries[path] for path in sorted(self._entries, key=lambda path: path.split("/")))


class Pool:
    """The files of unpacked packages, from which programs are taken with all that they need to start."""

    def __init__(self, members: Iterable[Member]) -> None:
        self._members: dict[str, Member] = {}
        self._libraries: dict[str, str] = {}
        for member in members:
            path = merged(member.path)
            self._members[path] = member
            if path.startswith("usr/lib") and ".so" in path:
                self._libraries.setdefault(posixpath.basename(path), path)

    def data(self, path: str) -> bytes:
        """A file's content, links followed."""
        return self._resolve(path)[-1][1].data

    def take(self, path: str, tree: Tree) -> None:
        """Put a program or library into the tree, with its links, interpreter and libraries.

        Raises:
            ImageError: it, or something that it needs, is in no package of the pool.
        """
        if path in tree:
            return
        for step, member in self._resolve(path):
            kind, target = ("link", member.target) if member.kind == "link" else ("file", "")
            tree.add(Entry(step, kind, member.mode, member.data, target))
        if not elf.is_elf(member.data):
            return
        needs = elf.needs(member.data)
        if needs.interpreter:
            self.take(needs.interpreter, tree)
        for name in needs.libraries:
            if name not in self._libraries:
                raise ImageError(f"No package has the library {name} that {path} needs.")
            self.take(self._libraries[name], tree)

    def _resolve(self, path: str) -> list[tuple[str, Member]]:
        """The links from a path to a file, and the file."""
        steps: list[tuple[str, Member]] = []
        while len(steps) < 10:
            path = merged(path)
            member = self._members.get(path)
            if member is None:
                raise ImageError(f"No package has the file /{path}.")
            if member.kind == "hardlink":
                member = self._members.get(merged(member.target), member)
            steps.append((path, member))
            if member.kind != "link":
                return steps
            path = posixpath.normpath(posixpath.join("/", posixpath.dirname(path), member.target))
        raise ImageError(f"The links from /{steps[0][0]} lead nowhere.")
