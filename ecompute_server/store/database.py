"""One SQLite file with one writer.

Writes run one after another in a thread of their own, each in a transaction that is on disk when the write
returns; reads run on the caller's thread with a connection of its own, which WAL keeps from waiting.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from sqlite_utils import Database

from .interface import NoSuchUser, StoreUnavailable
from .schema import migrations

T = TypeVar("T")

# the operator's commands write to the same file for a moment at a time
_BUSY_SECONDS = 10.0


class StoreError(Exception):
    """The database cannot be used; `str()` is one sentence for the operator."""


class SqliteFile:
    """The database of one state directory. Made on the event loop that will write.

    What was written outlives a crash of the host, unless it is not `durable`: a file that ends with its
    process is not worth a wait for the disk.

    Raises:
        StoreError: the file is no database of ours, is of a newer version, or cannot be read or written.
    """

    def __init__(self, path: Path, *, durable: bool = True) -> None:
        self._path = path
        try:
            if not durable:
                _lay_out(path)
            self.reader = _connect(path, durable)
            _migrate(self.reader)
            self.reader.conn.execute("PRAGMA query_only = ON")
            self._writing = _connect(path, durable)
        except (sqlite3.Error, OSError) as error:
            raise StoreError(f"The database {path} cannot be used: {error}.") from error
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")
        self._under_way = 0

    @property
    def version(self) -> int:
        """A number that changes with every commit, of this process or another: what was read under the same
        number is still so (SQLite's `PRAGMA data_version`).
        """
        found: int = self.reader.conn.execute("PRAGMA data_version").fetchone()[0]
        return found

    @property
    def queue_depth(self) -> int:
        """Writes that were begun and are not on disk yet."""
        return self._under_way

    async def ping(self) -> None:
        """Read from the file, and write to it once the writes that came before are done.

        Raises:
            StoreUnavailable: one of the two is not possible now.
        """
        try:
            self.reader.conn.execute("SELECT count(*) FROM sqlite_master").fetchone()
            await self.write(_leave_a_trace)
        except sqlite3.Error as error:
            raise StoreUnavailable(str(error)) from error

    async def write(self, change: Callable[[Database], T], committed: Callable[[T], None] | None = None) -> T:
        """Run `change` in a transaction of the writer's thread and wait until it is on disk.

        `committed` is called on the event loop with the result, in the order of the commits and before the
        write returns; also when the waiting task was cancelled meanwhile, since the change has happened.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()

        def succeed(result: T) -> None:
            self._under_way -= 1
            if committed is not None:
                committed(result)
            if not done.cancelled():
                done.set_result(result)

        def fail(error: BaseException) -> None:
            self._under_way -= 1
            if not done.cancelled():
                done.set_exception(error)

        def run() -> None:
            try:
                with _transaction(self._writing) as db:
                    result = change(db)
            except sqlite3.OperationalError as error:
                loop.call_soon_threadsafe(fail, StoreUnavailable(str(error)))
            except BaseException as error:
                loop.call_soon_threadsafe(fail, error)
            else:
                loop.call_soon_threadsafe(succeed, result)

        self._thread.submit(run)
        self._under_way += 1
        return await done

    def close(self) -> None:
        """Finish the writes under way and close the file."""
        self._thread.shutdown(wait=True)
        self._writing.close()
        self.reader.close()


def _leave_a_trace(db: Database) -> None:
    # an empty transaction would succeed on a full disk
    db.conn.execute("INSERT OR REPLACE INTO meta VALUES ('ping', ?)", [str(time.time())])


def must_exist(db: Database, user_id: str) -> None:
    """What a user gets must be written in the transaction that has seen the account.

    Raises:
        NoSuchUser: it is gone.
    """
    if not db.table("users").count_where("id = ?", [user_id]):
        raise NoSuchUser


def insert(db: Database, table: str, values: Mapping[str, Any]) -> int:
    """Insert a row into a table with an integer key and tell the key that it was given."""
    id_ = db.table(table).insert(dict(values)).last_pk
    assert isinstance(id_, int)
    return id_


@cache
def empty_database() -> bytes:
    """A database file after all migrations and before the first write; made once in a process."""
    with closing(sqlite3.connect(":memory:", check_same_thread=False)) as conn:
        conn.row_factory = sqlite3.Row
        _migrate(Database(conn, execute_plugins=False))
        return conn.serialize()


def _lay_out(path: Path) -> None:
    """Begin with what the migrations would make of a new file, unless there is one."""
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return
    with os.fdopen(descriptor, "wb") as file:
        file.write(empty_database())


def _connect(path: Path, durable: bool) -> Database:
    path.touch(mode=0o600)
    conn = sqlite3.connect(path, timeout=_BUSY_SECONDS, check_same_thread=False)
    conn.row_factory = sqlite3.Row
    # plugins are for the library's command; to look for them takes longer than all else here
    db = Database(conn, execute_plugins=False)
    conn.execute(f"PRAGMA synchronous = {'FULL' if durable else 'OFF'}")
    conn.execute("PRAGMA journal_mode = WAL")
    conn.execute("PRAGMA foreign_keys = ON")
    return db


def _migrate(db: Database) -> None:
    known = {migration.name for migration in migrations._migrations}
    strange = [m.name for m in migrations.applied(db) if m.name not in known]
    if strange:
        raise StoreError("The database was written by a newer version of ecompute-server; use that version.")
    if migrations.pending(db):
        migrations.apply(db)


@contextmanager
def _transaction(db: Database) -> Iterator[Database]:
    # IMMEDIATE: a transaction that reads first and writes then would fail when another process wrote in
    # between
    db.conn.execute("BEGIN IMMEDIATE")
    try:
        yield db
        db.conn.execute("COMMIT")
    except BaseException:
        if db.conn.in_transaction:
            db.conn.execute("ROLLBACK")
        raise
