"""The simulated machines on disk: one SQLite file, beside it a folder with the contents of the guests' files.

Every change is written when it is made, so that a killed server leaves what a server closed in order leaves.
Nothing is synced: the end of the process loses nothing, a power cut of the host may. Names that guests choose
are column values and never become paths of this host; a guest's file is stored under its node's number.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from attrs import asdict

from ecompute_server.hypervisor.interface import HypervisorError, Identity, MachineSpec

from .machine import Boot, Phase, Record

FORMAT = 1
CONSOLE_LIMIT = 64 * 1024

SCHEMA = """
CREATE TABLE host (boot_id TEXT NOT NULL) STRICT;
CREATE TABLE machine (
    container_id TEXT PRIMARY KEY, spec TEXT NOT NULL,
    phase TEXT NOT NULL, ends_at REAL NOT NULL, boot TEXT NOT NULL
) STRICT;
CREATE TABLE console (container_id TEXT PRIMARY KEY, text TEXT NOT NULL) STRICT;
CREATE TABLE node (
    id INTEGER PRIMARY KEY AUTOINCREMENT,  -- never used twice: it names the file with the content
    parent INTEGER REFERENCES node (id) ON DELETE CASCADE,
    name BLOB NOT NULL, kind TEXT NOT NULL, mode INTEGER NOT NULL, mtime REAL NOT NULL,
    text BLOB NOT NULL,  -- a link's target, or what a file holds until it is first opened
    UNIQUE (parent, name)
) STRICT;
CREATE TABLE tree (
    container_id TEXT NOT NULL, name TEXT NOT NULL, root INTEGER NOT NULL REFERENCES node (id),
    PRIMARY KEY (container_id, name)
) STRICT, WITHOUT ROWID;
"""

BELOW = """
WITH RECURSIVE below (id) AS (
    SELECT ? UNION ALL SELECT node.id FROM node JOIN below ON node.parent = below.id
)
"""

SYSTEM = "system"
"""The tree that is thrown away when the machine stops."""
VOLUME = "volume"
"""The tree with the mount paths; lives until the container is deleted."""


def _empty() -> bytes:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        db.executescript(f"{SCHEMA} PRAGMA user_version = {FORMAT};")
        return db.serialize()


# every test that takes a server begins with it, and a file is written faster than a schema
_EMPTY = _empty()


def _lay_out(path: Path) -> None:
    """Begin with an empty database, unless there is one."""
    if path.exists() and path.stat().st_size:
        return
    draft = path.with_suffix(".new")
    try:
        draft.write_bytes(_EMPTY)
        draft.replace(path)
    except OSError as error:
        raise HypervisorError(f"the state directory cannot be used: {error.strerror}") from error


class State:
    """The machines, consoles and file trees of one state directory, held by one process at a time.

    Raises:
        HypervisorError: another process holds the directory, or what lies there cannot be read.
    """

    def __init__(self, folder: Path, *, boot_id: str) -> None:
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            (folder / "files").mkdir(mode=0o700, exist_ok=True)
            self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise HypervisorError(f"the state directory cannot be used: {error.strerror}") from error
        self._contents = folder / "files"
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise HypervisorError("another process holds the machines of this state directory") from error
        try:
            _lay_out(folder / "machines.db")
            self.db = sqlite3.connect(folder / "machines.db", isolation_level=None)
            try:
                self._prepare(boot_id)
            except BaseException:
                self.db.close()
                raise
        except sqlite3.Error as error:
            os.close(self._lock)
            raise HypervisorError(f"the simulated machines cannot be read: {error}") from error
        except BaseException:
            os.close(self._lock)
            raise

    def close(self) -> None:
        self.db.close()
        os.close(self._lock)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of the block or nothing of it; may be nested."""
        if self.db.in_transaction:
            yield
            return
        try:
            self.db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self.db.execute("ROLLBACK")
                raise
            self.db.execute("COMMIT")
        except sqlite3.Error as error:
            raise HypervisorError(f"the simulated machines cannot be written: {error}") from error

    def records(self) -> Iterator[Record]:
        rows = self.db.execute("SELECT spec, phase, ends_at, boot FROM machine").fetchall()
        for spec, phase, ends_at, boot in rows:
            yield Record(_read_spec(spec), Phase(phase), ends_at, _read_boot(boot))

    def save(self, record: Record) -> None:
        """The machine exists from now on, or is changed."""
        row = (
            record.spec.container_id,
            json.dumps(asdict(record.spec)),
            record.phase,
            record.ends_at,
            json.dumps(asdict(record.boot)),
        )
        with self.transaction():
            self.db.execute("INSERT OR REPLACE INTO machine VALUES (?, ?, ?, ?, ?)", row)

    def forget(self, container_id: str) -> None:
        """The machine is gone, and its system tree with it; its volume and console stay."""
        with self.transaction():
            self.db.execute("DELETE FROM machine WHERE container_id = ?", (container_id,))
            dead = self._drop_tree(container_id, SYSTEM)
        self._drop_contents(dead)

    def erase(self, container_id: str) -> None:
        """Nothing of the container is left."""
        with self.transaction():
            self.db.execute("DELETE FROM machine WHERE container_id = ?", (container_id,))
            self.db.execute("DELETE FROM console WHERE container_id = ?", (container_id,))
            dead = self._drop_tree(container_id, SYSTEM) + self._drop_tree(container_id, VOLUME)
        self._drop_contents(dead)

    def begin_console(self, container_id: str, text: str) -> None:
        """Let the console hold this and nothing before it."""
        with self.transaction():
            self.db.execute(
                "INSERT OR REPLACE INTO console VALUES (?, ?)", (container_id, text[-CONSOLE_LIMIT:])
            )

    def print_console(self, container_id: str, text: str) -> None:
        """Append to the console, which loses its beginning when it gets long."""
        self.begin_console(container_id, self.console(container_id) + text)

    def console(self, container_id: str) -> str:
        row = self.db.execute("SELECT text FROM console WHERE container_id = ?", (container_id,)).fetchone()
        return str(row[0]) if row else ""

    def count_below(self, node: int) -> int:
        """How many nodes there are, from this one on."""
        (count,) = self.db.execute(BELOW + "SELECT count(*) FROM below", (node,)).fetchone()
        return int(count)

    def files_below(self, node: int) -> list[int]:
        """The regular files among them."""
        rows = self.db.execute(
            BELOW + "SELECT node.id FROM node JOIN below USING (id) WHERE kind = 'file'", (node,)
        )
        return [row[0] for row in rows]

    def content(self, node: int) -> Path:
        """Where the bytes of a guest's file are; absent until it is first opened."""
        return self._contents / str(node)

    def content_size(self, node: int) -> int:
        try:
            return self.content(node).stat().st_size
        except FileNotFoundError:
            return 0

    def tree_size(self, container_id: str, name: str) -> int:
        """Bytes in the regular files of one of the container's trees; 0 when it has no such tree."""
        row = self.db.execute(
            "SELECT root FROM tree WHERE container_id = ? AND name = ?", (container_id, name)
        ).fetchone()
        return sum(map(self.content_size, self.files_below(row[0]))) if row else 0

    def _drop_contents(self, nodes: Iterable[int]) -> None:
        for node in nodes:
            self.content(node).unlink(missing_ok=True)

    def _drop_tree(self, container_id: str, name: str) -> list[int]:
        found = self.db.execute(
            "DELETE FROM tree WHERE container_id = ? AND name = ? RETURNING root", (container_id, name)
        ).fetchall()
        dead = [node for (root,) in found for node in self.files_below(root)]
        self.db.executemany("DELETE FROM node WHERE id = ?", found)
        return dead

    def _prepare(self, boot_id: str) -> None:
        self.db.execute("PRAGMA synchronous = OFF")
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.execute("PRAGMA foreign_keys = ON")
        (found,) = self.db.execute("PRAGMA user_version").fetchone()
        if found != FORMAT:
            raise HypervisorError("the simulated machines were written by another version of ecompute")
        with self.transaction():
            # machines do not survive a restart of their host
            if self.db.execute("DELETE FROM host RETURNING boot_id").fetchall() not in ([], [(boot_id,)]):
                self.db.execute("DELETE FROM machine")
            self.db.execute("INSERT INTO host VALUES (?)", (boot_id,))
            # a `forget` that was cut short
            left = self.db.execute(
                "SELECT container_id FROM tree WHERE name = ? EXCEPT SELECT container_id FROM machine",
                (SYSTEM,),
            ).fetchall()
            for (container_id,) in left:
                self._drop_tree(container_id, SYSTEM)
        alive = {str(row[0]) for row in self.db.execute("SELECT id FROM node WHERE kind = 'file'")}
        for path in self._contents.iterdir():
            if path.name not in alive:
                path.unlink()


def host_boot_id() -> str:
    """Which boot of this host it is; empty where the host does not tell."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""


def _read_spec(text: str) -> MachineSpec:
    fields: dict[str, Any] = json.loads(text)
    identity: dict[str, Any] = fields.pop("identity")
    identity |= {name: tuple(identity[name]) for name in ("authorized_keys", "mount_paths")}
    return MachineSpec(**fields, identity=Identity(**identity))


def _read_boot(text: str) -> Boot:
    fields: dict[str, Any] = json.loads(text)
    return Boot(fields["seconds"], Phase(fields["outcome"]), fields["reason"])
