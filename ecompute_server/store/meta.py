"""Facts about the installation itself, such as its id and the addresses that it drew."""

from __future__ import annotations

from collections.abc import Mapping

from sqlite_utils import Database

from .database import SqliteFile


class SqliteMeta:
    """A small table of texts."""

    def __init__(self, file: SqliteFile) -> None:
        self._file = file

    def get(self, key: str) -> str | None:
        """What was last set, or None."""
        row = self._file.reader.conn.execute("SELECT value FROM meta WHERE key = ?", [key]).fetchone()
        return row["value"] if row else None

    async def set(self, values: Mapping[str, str]) -> None:
        """Remember all of these from now on, or none."""

        def change(db: Database) -> None:
            db.conn.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", list(values.items()))

        await self._file.write(change)
