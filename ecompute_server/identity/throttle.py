"""How often somebody may fail to log in.

A sliding window for each user name and for each address. Only failures count, so nobody is held up by
working; and nothing lasts longer than the window, so nobody can lock another one out for good. Tries that
are not decided yet take a place as well: one more waits for them rather than slipping past the limit.
"""

from __future__ import annotations

import asyncio
import ipaddress
import math
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from attrs import define, field

FAILURES = 10
WINDOW_SECONDS = 60.0
_MOST_REMEMBERED = 100_000


class TooManyTries(Exception):
    """There were too many failures; `seconds` is how long to wait, in whole seconds."""

    def __init__(self, seconds: int) -> None:
        super().__init__(seconds)
        self.seconds = seconds


@define
class _Record:
    failures: deque[float] = field(factory=deque)
    undecided: int = 0


class Throttle:
    """Counts failures under any number of keys. Lives on one event loop; `now` is a monotonic clock."""

    def __init__(
        self, now: Callable[[], float], *, failures: int = FAILURES, window: float = WINDOW_SECONDS
    ) -> None:
        self._now = now
        self._most = failures
        self._window = window
        self._records: OrderedDict[str, _Record] = OrderedDict()
        self._decided = asyncio.Condition()

    @asynccontextmanager
    async def attempt(self, *keys: str) -> AsyncIterator[Callable[[], None]]:
        """One try, for as long as the block lasts. Call what it gives when the try has failed.

        Raises:
            TooManyTries: under one of the keys no more failures are allowed now.
        """
        await self._begin(keys)
        failed = False

        def fail() -> None:
            nonlocal failed
            failed = True

        try:
            yield fail
        finally:
            self._end(keys, failed=failed)
            async with self._decided:
                self._decided.notify_all()

    async def _begin(self, keys: tuple[str, ...]) -> None:
        async with self._decided:
            while True:
                now = self._now()
                records = [self._record(key, now) for key in keys]
                waits = [
                    record.failures[0] + self._window - now
                    for record in records
                    if len(record.failures) >= self._most
                ]
                if waits:
                    raise TooManyTries(max(1, math.ceil(max(waits))))
                if all(len(record.failures) + record.undecided < self._most for record in records):
                    break
                await self._decided.wait()
            for record in records:
                record.undecided += 1

    def _end(self, keys: tuple[str, ...], *, failed: bool) -> None:
        now = self._now()
        for key in keys:
            record = self._record(key, now)
            record.undecided = max(0, record.undecided - 1)
            if failed:
                record.failures.append(now)
            elif not record.failures and not record.undecided:
                del self._records[key]

    def _record(self, key: str, now: float) -> _Record:
        record = self._records.setdefault(key, _Record())
        self._records.move_to_end(key)
        while record.failures and record.failures[0] <= now - self._window:
            record.failures.popleft()
        if len(self._records) > _MOST_REMEMBERED:
            self._records.popitem(last=False)
        return record


def address_key(address: str) -> str:
    """What counts as one address: an IPv6 network of 64 bits, since one host has all of it (RFC 6177)."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if parsed.version == 4:
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, 64), strict=False))
