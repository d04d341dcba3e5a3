"""Answers that are kept so that a repeated request gets them again, without a second effect."""

from __future__ import annotations

from typing import TypeVar

from sqlite_utils import Database

from ecompute.contract.catalog import IDEMPOTENCY_SECONDS

from .database import SqliteFile
from .interface import KeptAnswer, Receipt, ReceiptTaken, TooManyReceipts

T = TypeVar("T")

MAX_RECEIPTS_PER_USER = 50_000


def keep(db: Database, receipt: Receipt[T] | None, result: T) -> None:
    """Write a receipt in the transaction of the change that it belongs to.

    Raises:
        ReceiptTaken, TooManyReceipts: the transaction must not be committed.
    """
    if receipt is None:
        return
    since = receipt.created_at - IDEMPOTENCY_SECONDS
    key = [receipt.user_id, receipt.path, receipt.key]
    table = db.table("receipts")
    if table.count_where("user_id = ? AND path = ? AND key = ? AND created_at >= ?", [*key, since]):
        raise ReceiptTaken
    if (
        table.count_where("user_id = ? AND created_at >= ?", [receipt.user_id, since])
        >= MAX_RECEIPTS_PER_USER
    ):
        raise TooManyReceipts
    db.conn.execute(
        "INSERT OR REPLACE INTO receipts (user_id, path, key, asked, body, created_at)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        [*key, receipt.asked, receipt.answer(result), receipt.created_at],
    )


class SqliteReceipts:
    """`ReceiptStore` on SQLite."""

    def __init__(self, file: SqliteFile) -> None:
        self._file = file

    def find(self, user_id: str, path: str, key: str, *, since: int) -> KeptAnswer | None:
        row = self._file.reader.conn.execute(
            "SELECT asked, body FROM receipts WHERE user_id = ? AND path = ? AND key = ? AND created_at >= ?",
            [user_id, path, key, since],
        ).fetchone()
        return KeptAnswer(row["asked"], row["body"]) if row else None

    async def forget(self, *, before: int) -> None:
        await self._file.write(
            lambda db: db.conn.execute("DELETE FROM receipts WHERE created_at < ?", [before])
        )
