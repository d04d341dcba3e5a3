"""What is done now and then while a server runs: noticing what other processes revoked or time has ended,
storing when tokens were used, forgetting answers that nobody can ask for any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from ecompute.contract.catalog import IDEMPOTENCY_SECONDS

from .clock import Clock
from .identity.credentials import Credentials
from .logs import get_logger
from .store.interface import ReceiptStore, StoreUnavailable

_log = get_logger(__name__)

REVOCATION_SECONDS = 0.5
"""How soon a command's revocation, or the end of a credential's time, closes what is open."""
USES_SECONDS = 30.0
RECEIPTS_SECONDS = 600.0


class Housekeeping:
    """Runs from `start` to `stop` on the event loop."""

    def __init__(self, *, credentials: Credentials, receipts: ReceiptStore, clock: Clock) -> None:
        self._credentials = credentials
        self._receipts = receipts
        self._clock = clock
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks = [
            asyncio.create_task(_repeat(REVOCATION_SECONDS, self._tell_revoked)),
            asyncio.create_task(_repeat(USES_SECONDS, self._credentials.store_uses)),
            asyncio.create_task(_repeat(RECEIPTS_SECONDS, self._forget_receipts)),
        ]

    async def stop(self) -> None:
        """Stop, and store what would be lost."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with suppress(StoreUnavailable):
            await self._credentials.store_uses()

    async def _tell_revoked(self) -> None:
        self._credentials.tell_revoked()

    async def _forget_receipts(self) -> None:
        await self._receipts.forget(before=int(self._clock()) - IDEMPOTENCY_SECONDS)


async def _repeat(seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    while True:
        await asyncio.sleep(seconds)
        try:
            await work()
        except StoreUnavailable as error:
            _log.warning("housekeeping waits for the store", reason=str(error))
        except Exception:
            _log.exception("housekeeping failed")
