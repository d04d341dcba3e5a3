"""Tells every watcher what changes, in order and without loss, at a price that a slow one cannot raise.

Each subscription has a bounded queue. One that overflows is emptied, and its reader gets the whole list again
instead of the changes that it missed.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence

from ecompute.contract import codec
from ecompute.contract.messages import FeedMessage

from .core.presentation import View, news, snapshot
from .core.record import ContainerRecord
from .http.frames import Prepared

QUEUE_LENGTH = 256
SNAPSHOT_SECONDS = 1.0
"""For so long one list serves all who ask: what it tells of usage changes without being published."""

Offer = Callable[[Prepared], bool]
"""Sends a message at once and without waiting, or returns False."""

Records = Callable[[str], Sequence[ContainerRecord]]
"""A user's containers, newest first, as of the last change that was published."""


class Subscription:
    """One watcher's view of one user's containers, as messages that are ready to be sent.

    `offer` is tried first with what comes while the watcher waits in `next`: it sends a message at once, or
    tells that it cannot.
    """

    def __init__(self, broadcast: Broadcast, user_id: str, offer: Offer) -> None:
        self.user_id = user_id
        self._broadcast = broadcast
        self._offer = offer
        self._queue: deque[Prepared] = deque()
        self._wants_snapshot = True
        self._waiting = False
        self._news = asyncio.Event()

    def __len__(self) -> int:
        """How many messages wait for the reader."""
        return len(self._queue)

    async def next(self) -> Prepared:
        """The next message that was not sent at once; waits for one."""
        while not self._wants_snapshot and not self._queue:
            self._news.clear()
            self._waiting = True
            await self._news.wait()
        if self._wants_snapshot:
            # taken only now, when it can be sent: all that was published before is in it
            self._wants_snapshot = False
            self._queue.clear()
            return self._broadcast.snapshot(self.user_id)
        return self._queue.popleft()

    def put(self, message: Prepared) -> None:
        """Send a message, queue it, or note that the reader is too slow for it."""
        if self._wants_snapshot:
            return
        if self._waiting and self._offer(message):
            return
        # what comes now has to wait its turn behind this one
        self._waiting = False
        if len(self._queue) >= QUEUE_LENGTH:
            self._queue.clear()
            self._wants_snapshot = True
        else:
            self._queue.append(message)
        self._news.set()


class Broadcast:
    """All subscriptions. Lives on the event loop; `publish` never waits."""

    def __init__(
        self, view: View, records: Records, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._view = view
        self._records = records
        self._monotonic = monotonic
        self._by_user: dict[str, set[Subscription]] = {}
        self._snapshots: dict[str, tuple[float, Prepared]] = {}

    def subscribe(self, user_id: str, offer: Offer = lambda message: False) -> Subscription:
        """A new subscription; its first message is the whole list."""
        subscription = Subscription(self, user_id, offer)
        self._by_user.setdefault(user_id, set()).add(subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Forget a subscription. Nothing happens when it is forgotten already."""
        watchers = self._by_user.get(subscription.user_id, set())
        watchers.discard(subscription)
        if not watchers:
            self._by_user.pop(subscription.user_id, None)
            self._snapshots.pop(subscription.user_id, None)

    def queue_depths(self) -> list[int]:
        """How many messages wait in each subscription."""
        return [len(each) for watchers in self._by_user.values() for each in watchers]

    def publish(self, before: ContainerRecord | None, after: ContainerRecord | None) -> None:
        """Tell a committed change to those who watch that user's containers."""
        record = after or before
        watchers = self._by_user.get(record.user_id) if record else None
        if record is None or not watchers:
            return
        self._snapshots.pop(record.user_id, None)
        message = news(before, after)
        if message is None:
            return
        prepared = _prepared(message)
        for subscription in watchers:
            subscription.put(prepared)

    def snapshot(self, user_id: str) -> Prepared:
        """The whole list as a message; made once for all who ask for it shortly after each other."""
        now = self._monotonic()
        known = self._snapshots.get(user_id)
        if known is not None and now - known[0] < SNAPSHOT_SECONDS:
            return known[1]
        made = _prepared(snapshot(self._view, list(self._records(user_id))))
        if user_id in self._by_user:
            self._snapshots[user_id] = (now, made)
        return made


def _prepared(message: FeedMessage) -> Prepared:
    return Prepared.of(codec.dump_json(codec.write_message(message)))
