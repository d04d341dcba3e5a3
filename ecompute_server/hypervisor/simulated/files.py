"""The file system of a simulated guest.

Two trees of nodes: the system, which a new machine begins with and which ends with it, and the volume, which
holds each mount path in a directory of its own. A path is walked node by node; where it meets a mount path,
the walk goes on in the volume. Failures are `OSError` with the numbers and words of Linux.

Permissions are kept and shown but not checked: everything in a guest runs as root.
"""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

from attrs import frozen

from ecompute_server.hypervisor.interface import MachineSpec

from .nodes import Kind, Node, OpenFile
from .skeleton import DIRECTORIES, DIRECTORY_MODES, LINKS, texts
from .state import SYSTEM, VOLUME, State

NAME_BYTES = 255
PATH_BYTES = 4096
LINKS_FOLLOWED = 40
OPEN_FILES = 256
NODE_COST = 512
"""Bytes of the machine's space that a name takes, so that empty files cannot fill the host."""


@frozen
class _Place:
    """A node and the nodes on the way to it, the root first; `names` are the steps between them."""

    nodes: tuple[Node, ...]
    names: tuple[str, ...] = ()

    @property
    def node(self) -> Node:
        return self.nodes[-1]

    def down(self, name: str, node: Node) -> _Place:
        return _Place((*self.nodes, node), (*self.names, name))

    def up(self) -> _Place:
        return _Place(self.nodes[:-1], self.names[:-1]) if self.names else self


@frozen
class _Found:
    """Where a path leads: the directory, the name in it, and the node when there is one."""

    parent: _Place
    name: str
    node: Node | None

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.parent.names, self.name) if self.name else ()


class Files:
    """The files of one running machine. Paths are absolute; bytes that are no UTF-8 come as surrogates, as
    `os.fsdecode` makes them.
    """

    def __init__(self, state: State, spec: MachineSpec, *, capacity: int) -> None:
        self._state = state
        self._container_id = spec.container_id
        self._capacity = capacity
        self._open: set[OpenFile] = set()
        self._mounts: dict[tuple[str, ...], int] = {}
        self._used = 0
        with state.transaction():
            fresh = self._tree(SYSTEM) is None
            self._root = self._tree(SYSTEM) or self._plant(SYSTEM)
            self._volume = self._tree(VOLUME) or self._plant(VOLUME)
            if fresh:
                self._furnish(spec)
            for path in spec.identity.mount_paths:
                self._mount(path)
        self._used = self._measure()

    # looking

    def stat(self, path: str) -> Node:
        """What the path leads to, symbolic links followed."""
        return self._existing(path, self._find(path))

    def lstat(self, path: str) -> Node:
        """What the path names, be it a symbolic link."""
        return self._existing(path, self._find(path, follow=False))

    def exists(self, path: str) -> bool:
        try:
            return self._find(path).node is not None
        except OSError:
            return False

    def real_path(self, path: str) -> str:
        """The same place by a path without links, `.` and `..`; the last step need not exist."""
        return "/" + "/".join(self._find(path).names)

    def list_directory(self, path: str) -> list[tuple[str, Node]]:
        """Names and nodes in a directory, sorted by name."""
        found = self._find(path)
        place = found.parent.down(found.name, self._existing(path, found)) if found.name else found.parent
        if place.node.kind is not Kind.DIRECTORY:
            raise _error(errno.ENOTDIR, path)
        rows = self._state.db.execute(
            "SELECT name, id, kind, mode, mtime, text FROM node WHERE parent = ? ORDER BY name",
            (place.node.id,),
        ).fetchall()
        names = ((os.fsdecode(name), row) for name, *row in rows)
        return [(name, self._mounted((*place.names, name)) or self._node(*row)) for name, row in names]

    # contents

    def open(self, path: str, flags: int, mode: int = 0o644) -> OpenFile:
        """Open a regular file, as `os.open` does with the same flags."""
        found = self._find(path)
        node = found.node
        if node is None:
            if not flags & os.O_CREAT:
                raise _error(errno.ENOENT, path)
            node = self._create(path, found, Kind.FILE, mode)
        elif flags & os.O_EXCL:
            raise _error(errno.EEXIST, path)
        if node.kind is Kind.DIRECTORY:
            raise _error(errno.EISDIR, path)
        if len(self._open) >= OPEN_FILES:
            raise _error(errno.EMFILE, path)
        if flags & os.O_TRUNC:
            self._used -= node.size
        content = self._content(node) if not flags & os.O_TRUNC else self._state.content(node.id)
        opened = OpenFile(self, node, content, flags & ~os.O_EXCL)
        self._open.add(opened)
        return opened

    def take(self, size: int) -> None:
        """Use up space of the machine, or raise ENOSPC."""
        if self._used + size > self._capacity:
            self._used = self._measure()
        if self._used + size > self._capacity:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._used += size

    def closed(self, opened: OpenFile) -> None:
        self._open.discard(opened)

    @property
    def capacity(self) -> int:
        """The machine's space in bytes."""
        return self._capacity

    # names

    def make_directory(self, path: str, mode: int = 0o755) -> None:
        path = path.rstrip("/") or "/"
        found = self._find(path, follow=False)
        if found.node is not None:
            raise _error(errno.EEXIST, path)
        self._create(path, found, Kind.DIRECTORY, mode)

    def make_directories(self, path: str) -> None:
        """Make the directory and those on the way to it, where they are missing."""
        done = ""
        for name in path.split("/"):
            done += f"/{name}" if name else ""
            if name and not self.exists(done):
                self.make_directory(done)
        if self.stat(done or "/").kind is not Kind.DIRECTORY:
            raise _error(errno.EEXIST, path)

    def make_link(self, target: str, path: str) -> None:
        """Make a symbolic link at `path`."""
        found = self._find(path, follow=False)
        if found.node is not None:
            raise _error(errno.EEXIST, path)
        self._create(path, found, Kind.LINK, 0o777, target)

    def unlink(self, path: str) -> None:
        """Remove a file or a link."""
        node = self._removable(path)
        if node.kind is Kind.DIRECTORY:
            raise _error(errno.EISDIR, path)
        self._remove(path)

    def remove_directory(self, path: str) -> None:
        """Remove an empty directory."""
        if self._removable(path).kind is not Kind.DIRECTORY:
            raise _error(errno.ENOTDIR, path)
        if self.list_directory(path):
            raise _error(errno.ENOTEMPTY, path)
        self._remove(path)

    def rename(self, source: str, target: str) -> None:
        """Give a node another name and place; a file there is replaced."""
        node = self._removable(source)
        there = self._find(target, follow=False)
        if node.id in {on_the_way.id for on_the_way in there.parent.nodes}:
            raise _error(errno.EINVAL, target)
        if there.node is not None:
            if there.node.id == node.id:
                return
            if there.node.kind is Kind.DIRECTORY:
                raise _error(errno.EISDIR if node.kind is not Kind.DIRECTORY else errno.EEXIST, target)
            self.unlink(target)
        if not there.name:
            raise _error(errno.EBUSY, target)
        self._state.db.execute(
            "UPDATE node SET parent = ?, name = ? WHERE id = ?",
            (there.parent.node.id, _name(target, there.name), node.id),
        )

    def change_mode(self, path: str, mode: int) -> None:
        node = self.stat(path)
        self._state.db.execute("UPDATE node SET mode = ? WHERE id = ?", (mode & 0o7777, node.id))

    def change_time(self, path: str, mtime: float) -> None:
        node = self.lstat(path)
        self._state.db.execute("UPDATE node SET mtime = ? WHERE id = ?", (mtime, node.id))
        if node.kind is Kind.FILE:
            content = self._content(node)
            content.touch(mode=0o600)
            os.utime(content, (mtime, mtime))

    # within

    def _find(self, path: str, *, follow: bool = True) -> _Found:
        if not path:
            raise _error(errno.ENOENT, path)
        if len(os.fsencode(path)) >= PATH_BYTES:
            raise _error(errno.ENAMETOOLONG, path)
        place = _Place((self._root,))
        ahead = _steps(path)
        links = 0
        while ahead:
            name = ahead.pop()
            if place.node.kind is not Kind.DIRECTORY:
                raise _error(errno.ENOTDIR, path)
            if name == ".":
                continue
            if name == "..":
                place = place.up()
                continue
            child = self._child(place, name)
            if child is None:
                if ahead:
                    raise _error(errno.ENOENT, path)
                return _Found(place, name, None)
            if child.kind is Kind.LINK and (follow or ahead):
                links += 1
                if links > LINKS_FOLLOWED:
                    raise _error(errno.ELOOP, path)
                if child.target.startswith("/"):
                    place = _Place((self._root,))
                ahead += _steps(child.target)
                continue
            place = place.down(name, child)
        return _Found(place.up(), place.names[-1] if place.names else "", place.node)

    def _existing(self, path: str, found: _Found) -> Node:
        if found.node is None:
            raise _error(errno.ENOENT, path)
        return found.node

    def _child(self, place: _Place, name: str) -> Node | None:
        mounted = self._mounted((*place.names, name))
        if mounted is not None:
            return mounted
        row = self._state.db.execute(
            "SELECT id, kind, mode, mtime, text FROM node WHERE parent = ? AND name = ?",
            (place.node.id, os.fsencode(name)),
        ).fetchone()
        return self._node(*row) if row else None

    def _mounted(self, names: tuple[str, ...]) -> Node | None:
        if names not in self._mounts:
            return None
        row = self._state.db.execute(
            "SELECT id, kind, mode, mtime, text FROM node WHERE id = ?", (self._mounts[names],)
        ).fetchone()
        return self._node(*row)

    def _node(self, id: int, kind: str, mode: int, mtime: float, text: bytes) -> Node:
        if kind == Kind.FILE:
            try:
                content = self._state.content(id).stat()
            except FileNotFoundError:
                return Node(id, Kind.FILE, mode, mtime, len(text))
            return Node(id, Kind.FILE, mode, content.st_mtime, content.st_size)
        target = os.fsdecode(text) if kind == Kind.LINK else ""
        return Node(id, Kind(kind), mode, mtime, len(text), target)

    def _content(self, node: Node) -> Path:
        """Where a file's bytes are; those that came with the image are put there now."""
        content = self._state.content(node.id)
        if node.size and not content.exists():
            (text,) = self._state.db.execute("SELECT text FROM node WHERE id = ?", (node.id,)).fetchone()
            content.write_bytes(text)
        return content

    def _create(self, path: str, found: _Found, kind: Kind, mode: int, text: str = "") -> Node:
        name = _name(path, found.name)
        parent = found.parent.node
        self.take(NODE_COST)
        now = time.time()
        with self._state.transaction():
            cursor = self._state.db.execute(
                "INSERT INTO node (parent, name, kind, mode, mtime, text) VALUES (?, ?, ?, ?, ?, ?)",
                (parent.id, name, kind, mode & 0o7777, now, os.fsencode(text)),
            )
            self._state.db.execute("UPDATE node SET mtime = ? WHERE id = ?", (now, parent.id))
        assert cursor.lastrowid is not None
        return Node(cursor.lastrowid, kind, mode & 0o7777, now, len(text), text if kind is Kind.LINK else "")

    def _removable(self, path: str) -> Node:
        found = self._find(path, follow=False)
        node = self._existing(path, found)
        depth = len(found.names)
        if not depth or any(mount[:depth] == found.names for mount in self._mounts):
            raise _error(errno.EBUSY, path)
        return node

    def _remove(self, path: str) -> None:
        node = self._removable(path)
        self._state.db.execute("DELETE FROM node WHERE id = ?", (node.id,))
        if node.kind is Kind.FILE:
            self._state.content(node.id).unlink(missing_ok=True)
            self._used -= node.size
        self._used -= NODE_COST

    def _measure(self) -> int:
        names, files = 0, set[int]()
        for tree in (self._root, self._volume):
            names += self._state.count_below(tree.id)
            files.update(self._state.files_below(tree.id))
        nameless = sum(opened.size for opened in self._open if opened.node.id not in files)
        return names * NODE_COST + nameless + sum(self._state.content_size(file) for file in files)

    def _tree(self, name: str) -> Node | None:
        row = self._state.db.execute(
            "SELECT id, kind, mode, mtime, text FROM tree JOIN node ON root = id "
            "WHERE container_id = ? AND tree.name = ?",
            (self._container_id, name),
        ).fetchone()
        return self._node(*row) if row else None

    def _plant(self, name: str) -> Node:
        cursor = self._state.db.execute(
            "INSERT INTO node (parent, name, kind, mode, mtime, text) VALUES (NULL, ?, ?, ?, ?, ?)",
            (b"", Kind.DIRECTORY, 0o755, time.time(), b""),
        )
        self._state.db.execute(
            "INSERT INTO tree VALUES (?, ?, ?)", (self._container_id, name, cursor.lastrowid)
        )
        root = self._tree(name)
        assert root is not None
        return root

    def _furnish(self, spec: MachineSpec) -> None:
        for path in DIRECTORIES:
            self.make_directory(path, DIRECTORY_MODES.get(path, 0o755))
        for path, target in LINKS.items():
            self.make_link(target, path)
        for path, text in texts(spec).items():
            self._create(path, self._find(path), Kind.FILE, 0o644, text)

    def _mount(self, path: str) -> None:
        """Let the volume's directory for the path stand there; a new one begins with what the image has."""
        self.make_directories(path)
        found = self._find(path)
        image = self._existing(path, found)
        carried = self._child(_Place((self._volume,)), path)
        if carried is None:
            carried = self._create(
                path, _Found(_Place((self._volume,)), path, None), Kind.DIRECTORY, image.mode
            )
            self._state.db.execute("UPDATE node SET parent = ? WHERE parent = ?", (carried.id, image.id))
        self._mounts[found.names] = carried.id


def _steps(path: str) -> list[str]:
    """The names of a path, the first one last."""
    names = [name for name in path.split("/") if name]
    return ["."] * path.endswith("/") + names[::-1]


def _name(path: str, name: str) -> bytes:
    encoded = os.fsencode(name)
    if not encoded:
        raise _error(errno.EEXIST, path)
    if len(encoded) > NAME_BYTES:
        raise _error(errno.ENAMETOOLONG, path)
    if b"\0" in encoded:
        raise _error(errno.EINVAL, path)
    return encoded


def _error(number: int, path: str) -> OSError:
    return OSError(number, os.strerror(number), path)
