"""The events feed of the async client."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from .async_bound import AsyncContainer
from .async_connection import Signal
from .async_subscription import AsyncSubscription
from .async_transport import AsyncTransport
from .contract.resources import Container as AnyContainer
from .errors import Closed
from .protocol import flows
from .protocol.feed import Event, Feed


class AsyncEvents(AsyncSubscription[Event[AsyncContainer]]):
    """What happens to the caller's containers, from a `Snapshot` on; made by `client.events()`.

    Iterating gives every change as it comes. When the connection is lost it comes back by itself, with
    growing pauses for up to five minutes; then the difference to what was told is given as events, so no net
    change is missed. The same happens to a caller that falls more than a thousand events behind. Pings are
    answered while the caller is busy elsewhere. One task at a time can wait for events, and waiting
    can be cancelled; any may close.
    """

    def __init__(
        self,
        transport: AsyncTransport,
        context: flows.Context,
        timeout: float,
        bind: Callable[[AnyContainer], AsyncContainer],
    ) -> None:
        super().__init__(
            transport, context, timeout, Feed(bind, container=AsyncContainer), Signal(), "events"
        )

    def __aiter__(self) -> AsyncIterator[Event[AsyncContainer]]:
        return self

    async def __anext__(self) -> Event[AsyncContainer]:
        try:
            return await self.receive()
        except Closed:
            if self._closed:
                raise StopAsyncIteration from None
            raise
