"""The events feed of the sync client."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

from .bound import Container
from .contract.resources import Container as AnyContainer
from .errors import Closed
from .protocol import flows
from .protocol.feed import Event, Feed
from .subscription import Subscription
from .transport import Transport


class Events(Subscription[Event[Container]]):
    """What happens to the caller's containers, from a `Snapshot` on; made by `client.events()`.

    Iterating gives every change as it comes. When the connection is lost it comes back by itself, with
    growing pauses for up to five minutes; then the difference to what was told is given as events, so no net
    change is missed. The same happens to a caller that falls more than a thousand events behind. Pings are
    answered while the caller is busy elsewhere. One thread at a time can wait for events; any may close.
    """

    def __init__(
        self,
        transport: Transport,
        context: flows.Context,
        timeout: float,
        bind: Callable[[AnyContainer], Container],
    ) -> None:
        super().__init__(
            transport, context, timeout, Feed(bind, container=Container), threading.Condition(), "events"
        )

    def __iter__(self) -> Iterator[Event[Container]]:
        return self

    def __next__(self) -> Event[Container]:
        try:
            return self.receive()
        except Closed:
            if self._closed:
                raise StopIteration from None
            raise
