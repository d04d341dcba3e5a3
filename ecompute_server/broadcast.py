"""Tells every watcher what changes, in order and without loss, at a price that a slow one cannot raise.

Each subscription has a bounded queue. One that overflows is emptied, and its reader gets the whole list again
instead of the changes that it missed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from ecompute.contract import codec
from ecompute.contract.messages import FeedMessage

from .core.presentation import View, news, snapshot
from .core.record import ContainerRecord

QUEUE_LENGTH = 256

Records = Callable[[str], Sequence[ContainerRecord]]
"""A user's containers, newest first, as of the last change that was published."""


class Subscription:
    """One watcher's view of one user's containers: iterate it for messages, ready to send as text."""

    def __init__(self, broadcast: Broadcast, user_id: str) -> None:
        self.user_id = user_id
        self._broadcast = broadcast
        self._queue: deque[str] = deque()
        self._wants_snapshot = True
        self._news = asyncio.Event()
        self._news.set()

    async def next(self) -> str:
        """The next message; waits for one."""
        while not self._wants_snapshot and not self._queue:
            self._news.clear()
            await self._news.wait()
        if self._wants_snapshot:
            # taken only now, when it can be sent: all that was published before is in it
            self._wants_snapshot = False
            self._queue.clear()
            return self._broadcast.snapshot(self.user_id)
        return self._queue.popleft()

    def put(self, message: str) -> None:
        """Queue a message, or note that the reader is too slow for it."""
        if self._wants_snapshot:
            return
        if len(self._queue) >= QUEUE_LENGTH:
            self._queue.clear()
            self._wants_snapshot = True
        else:
            self._queue.append(message)
        self._news.set()


class Broadcast:
    """All subscriptions. Lives on the event loop; `publish` never waits."""

    def __init__(self, view: View, records: Records) -> None:
        self._view = view
        self._records = records
        self._by_user: dict[str, set[Subscription]] = {}

    def subscribe(self, user_id: str) -> Subscription:
        """A new subscription; its first message is the whole list."""
        subscription = Subscription(self, user_id)
        self._by_user.setdefault(user_id, set()).add(subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Forget a subscription. Nothing happens when it is forgotten already."""
        watchers = self._by_user.get(subscription.user_id, set())
        watchers.discard(subscription)
        if not watchers:
            self._by_user.pop(subscription.user_id, None)

    def publish(self, before: ContainerRecord | None, after: ContainerRecord | None) -> None:
        """Tell a committed change to those who watch that user's containers."""
        record = after or before
        watchers = self._by_user.get(record.user_id) if record else None
        if not watchers:
            return
        message = news(before, after)
        if message is None:
            return
        text = _text(message)
        for subscription in watchers:
            subscription.put(text)

    def snapshot(self, user_id: str) -> str:
        """The whole list as a message."""
        return _text(snapshot(self._view, list(self._records(user_id))))


def _text(message: FeedMessage) -> str:
    return codec.dump_json(codec.write_message(message)).decode()
