"""API tokens, and what must be remembered of sessions.

Read from the file each time: the operator's commands write them while a server runs, and what they revoke is
revoked at once.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence

import attrs
from sqlite_utils import Database

from .database import SqliteFile, must_exist
from .interface import LimitReached, SigningKey, TokenRecord


class Revocations:
    """Counts everything by which a valid credential can have become worthless, in any process."""

    def __init__(self, file: SqliteFile) -> None:
        self._file = file
        self._version = -1
        self._count = 0

    def __call__(self) -> int:
        """The count. Costs next to nothing while nobody writes."""
        version = self._file.version
        if version != self._version:
            self._count = self._file.reader.conn.execute("SELECT count FROM revocations").fetchone()[0]
            self._version = version
        return self._count


class SqliteTokens:
    """`TokenStore` on SQLite."""

    def __init__(self, file: SqliteFile) -> None:
        self._file = file

    def by_hash(self, secret_hash: str) -> TokenRecord | None:
        rows = self._file.reader.conn.execute("SELECT * FROM tokens WHERE secret_hash = ?", [secret_hash])
        row = rows.fetchone()
        return None if row is None else _token(row)

    def of_user(self, user_id: str) -> Sequence[TokenRecord]:
        rows = self._file.reader.conn.execute(
            "SELECT * FROM tokens WHERE user_id = ? ORDER BY created_at DESC, id DESC", [user_id]
        )
        return [_token(row) for row in rows.fetchall()]

    async def add(self, token: TokenRecord, *, secret_hash: str, limit: int) -> None:
        def change(db: Database) -> None:
            must_exist(db, token.user_id)
            if db.table("tokens").count_where("user_id = ?", [token.user_id]) >= limit:
                raise LimitReached
            row = attrs.asdict(token, recurse=False)
            db.table("tokens").insert(
                {**row, "scopes": json.dumps(row["scopes"]), "secret_hash": secret_hash}
            )

        await self._file.write(change)

    async def remove(self, user_id: str, token_id: str) -> bool:
        def change(db: Database) -> bool:
            done = db.conn.execute("DELETE FROM tokens WHERE user_id = ? AND id = ?", [user_id, token_id])
            return done.rowcount > 0

        return await self._file.write(change)

    async def used(self, times: Mapping[str, int]) -> None:
        def change(db: Database) -> None:
            db.conn.executemany(
                "UPDATE tokens SET last_used_at = MAX(last_used_at, ?) WHERE id = ?",
                [(time, id_) for id_, time in times.items()],
            )

        await self._file.write(change)


def _token(row: sqlite3.Row) -> TokenRecord:
    values = {name: row[name] for name in row.keys() if name != "secret_hash"}  # noqa: SIM118
    return TokenRecord(**{**values, "scopes": json.loads(values["scopes"])})


class SqliteSessions:
    """`SessionStore` on SQLite."""

    def __init__(self, file: SqliteFile) -> None:
        self._file = file

    def is_ended(self, session_id: str) -> bool:
        found = self._file.reader.conn.execute("SELECT 1 FROM ended_sessions WHERE id = ?", [session_id])
        return found.fetchone() is not None

    async def end(self, session_id: str, *, expires_at: int, now: int) -> None:
        def change(db: Database) -> None:
            db.conn.execute("DELETE FROM ended_sessions WHERE expires_at <= ?", [now])
            db.conn.execute("INSERT OR IGNORE INTO ended_sessions VALUES (?, ?)", [session_id, expires_at])

        await self._file.write(change)

    def signing_keys(self) -> Sequence[SigningKey]:
        rows = self._file.reader.conn.execute(
            "SELECT * FROM signing_keys ORDER BY retired_at IS NOT NULL, created_at DESC, rowid DESC"
        )
        return [SigningKey(**dict(row)) for row in rows.fetchall()]

    async def rotate(self, new_id: str, *, now: int, keep_since: int) -> None:
        def change(db: Database) -> None:
            db.conn.execute("UPDATE signing_keys SET retired_at = ? WHERE retired_at IS NULL", [now])
            db.conn.execute("DELETE FROM signing_keys WHERE retired_at < ?", [keep_since])
            db.conn.execute("INSERT INTO signing_keys VALUES (?, ?, NULL)", [new_id, now])

        await self._file.write(change)
