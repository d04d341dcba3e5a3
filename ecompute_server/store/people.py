"""Accounts and public keys.

Read from the file each time: the operator's commands write them while a server runs, and what they revoke is
revoked at once.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

import attrs
from sqlite_utils import Database

from .database import SqliteFile, insert, must_exist
from .interface import Duplicate, KeyRecord, LimitReached, Receipt, User
from .receipts import keep


def _one(db: Database, sql: str, *arguments: Any) -> sqlite3.Row | None:
    found: sqlite3.Row | None = db.conn.execute(sql, arguments).fetchone()
    return found


class SqliteUsers:
    """`UserStore` on SQLite."""

    def __init__(self, file: SqliteFile) -> None:
        self._file = file

    def by_id(self, user_id: str) -> User | None:
        return _user(_one(self._file.reader, "SELECT * FROM users WHERE id = ?", user_id))

    def by_name(self, username: str) -> User | None:
        return _user(_one(self._file.reader, "SELECT * FROM users WHERE username = ?", username))

    def list(self) -> Sequence[User]:
        rows = self._file.reader.conn.execute("SELECT * FROM users ORDER BY username").fetchall()
        return [user for row in rows if (user := _user(row))]

    async def add(self, user: User) -> None:
        def change(db: Database) -> None:
            if _one(db, "SELECT 1 FROM users WHERE username = ? OR id = ?", user.username, user.id):
                raise Duplicate
            db.table("users").insert(attrs.asdict(user))

        await self._file.write(change)

    async def update(self, user_id: str, **columns: Any) -> None:
        await self._file.write(lambda db: db.table("users").update(user_id, columns))

    async def remove(self, user_id: str) -> int:
        def change(db: Database) -> int:
            left = db.table("containers").count_where("user_id = ? AND deleted = 0", [user_id])
            if left:
                return left
            for table in ("ssh_keys", "tokens", "receipts"):
                db.table(table).delete_where("user_id = ?", [user_id])
            db.table("users").delete_where("id = ?", [user_id])
            return 0

        return await self._file.write(change)


def _user(row: sqlite3.Row | None) -> User | None:
    if row is None:
        return None
    values = dict(row)
    return User(**{**values, "is_admin": bool(values["is_admin"])})


class SqliteKeys:
    """`KeyStore` on SQLite."""

    def __init__(self, file: SqliteFile) -> None:
        self._file = file

    def of_user(self, user_id: str) -> Sequence[KeyRecord]:
        rows: Iterable[sqlite3.Row] = self._file.reader.conn.execute(
            "SELECT id, user_id, name, public_key, created_at FROM ssh_keys WHERE user_id = ?"
            " ORDER BY created_at DESC, id DESC",
            [user_id],
        ).fetchall()
        return [KeyRecord(**dict(row)) for row in rows]

    async def add(
        self,
        *,
        user_id: str,
        name: str,
        public_key: str,
        fingerprint: str,
        created_at: int,
        limit: int,
        receipt: Receipt[KeyRecord] | None = None,
    ) -> KeyRecord:
        def change(db: Database) -> KeyRecord:
            must_exist(db, user_id)
            table = db.table("ssh_keys")
            if table.count_where("user_id = ? AND fingerprint = ?", [user_id, fingerprint]):
                raise Duplicate
            if table.count_where("user_id = ?", [user_id]) >= limit:
                raise LimitReached
            values = {"user_id": user_id, "name": name, "public_key": public_key, "created_at": created_at}
            id_ = insert(db, "ssh_keys", {**values, "fingerprint": fingerprint})
            key = KeyRecord(id=id_, user_id=user_id, name=name, public_key=public_key, created_at=created_at)
            keep(db, receipt, key)
            return key

        return await self._file.write(change)

    async def remove(self, user_id: str, key_id: int) -> bool:
        def change(db: Database) -> bool:
            done = db.conn.execute("DELETE FROM ssh_keys WHERE user_id = ? AND id = ?", [user_id, key_id])
            return done.rowcount > 0

        return await self._file.write(change)
