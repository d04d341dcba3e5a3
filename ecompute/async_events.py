"""The events feed of the async client."""

from __future__ import annotations

from collections.abc import AsyncIterator

from .async_connection import Signal
from .async_subscription import AsyncSubscription
from .errors import Closed
from .protocol import flows
from .protocol.feed import Event, Feed
from .transport import AsyncTransport


class AsyncEvents(AsyncSubscription[Event]):
    """What happens to the caller's containers, from a `Snapshot` on; made by `client.events()`.

    Iterating gives every change as it comes. When the connection is lost it comes back by itself, with
    growing pauses for up to five minutes; then the difference to what was told is given as events, so no net
    change is missed. The same happens to a caller that falls more than a thousand events behind. Pings are
    answered while the caller is busy elsewhere. One task at a time can wait for events, and waiting
    can be cancelled; any may close.
    """

    def __init__(
        self, transport: AsyncTransport, timing: flows.Timing, timeout: float, operation: str = "events"
    ) -> None:
        super().__init__(transport, timing, timeout, Feed(), Signal(), operation)

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        try:
            return await self.receive()
        except Closed:
            if self._closed:
                raise StopAsyncIteration from None
            raise
