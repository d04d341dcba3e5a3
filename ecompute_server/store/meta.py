"""Facts about the installation itself, such as its id and the addresses that it drew."""

from __future__ import annotations

from .database import SqliteFile


class SqliteMeta:
    """A small table of texts."""

    def __init__(self, file: SqliteFile) -> None:
        self._file = file

    def get(self, key: str) -> str | None:
        """What was last set, or None."""
        row = self._file.reader.conn.execute("SELECT value FROM meta WHERE key = ?", [key]).fetchone()
        return row["value"] if row else None

    async def set(self, key: str, value: str) -> None:
        """Remember `value` from now on."""
        await self._file.write(lambda db: db.table("meta").upsert({"key": key, "value": value}, pk="key"))
