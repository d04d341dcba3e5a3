"""What `Events` and `Watch` of the sync client share: the feed, over as many connections as it takes."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Any, Generic, Self, TypeVar
from weakref import finalize

from .connection import Connection
from .contract.endpoints import EVENTS
from .contract.requests import OpenEvents
from .errors import Closed, within
from .protocol import flows, wire
from .protocol.feed import FeedState
from .settings import checked_patience
from .transport import Transport

T = TypeVar("T")


class Subscription(Generic[T]):
    """One feed. One thread at a time can wait for what it tells; any may close.

    `operation` is what messages call it, `changed` guards the state and tells when it has changed.
    """

    def __init__(
        self,
        transport: Transport,
        context: flows.Context,
        timeout: float,
        state: FeedState[T],
        changed: threading.Condition,
        operation: str,
    ) -> None:
        self._transport = transport
        self._context = context
        self._timeout = timeout
        self._request = wire.encode_channel(EVENTS, OpenEvents(), operation)
        self._feed = state
        self._changed = changed
        self._receiving = threading.Lock()
        self._connection: Connection | None = None
        self._dropped: finalize[..., Any] | None = None
        self._closed = False

    def __enter__(self) -> Self:
        if self._connection is not None or self._closed:
            raise Closed("A feed can be entered once: call events() or watch() again.")
        flow = flows.connect(self._request, (), self._timeout, self._context)
        flows.drive(flow, self._perform)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def receive(self, timeout: float | None = None) -> T:
        """The next event, waited for at most `timeout` seconds (None: as long as it takes).

        Raises:
            DeadlineExceeded: none came in time; the feed is as good as before.
            APIError: the server refuses a new connection, such as `Unauthenticated` for a revoked token.
            ConnectError: the server was away for too long.
            InvalidAnswer: the server sent what is not of this API.
            Closed: the feed was closed, or not entered.
        """
        if self._connection is None and not self._closed:
            raise Closed("A feed has to be entered first: `with client.events() as events`.")
        timeout = checked_patience(timeout)
        deadline = None if timeout is None else time.monotonic() + timeout
        late = f"No event came {within(timeout)}"
        with self._receiving:
            flow = flows.next_event(self._feed, self._take, self._request, self._context, deadline, late)
            return flows.drive(flow, self._perform)

    def __repr__(self) -> str:
        entered = self._connection is not None
        state = "closed" if self._closed else "open" if entered else "not entered"
        return f"<{type(self).__name__}: {state}>"

    def _take(self) -> T | None:
        with self._changed:
            self._check_open()
            return self._feed.take()

    def _check_open(self) -> None:
        if self._closed:
            raise Closed("The feed is closed.")

    def _perform(self, step: flows.Step) -> Any:
        match step:
            case flows.Connect():
                self._connect(step)
            case flows.Await() if self._connection is not None:
                self._connection.wait(lambda: self._feed.ready, step.deadline, step.late)
            case flows.Pause():
                with self._changed:
                    self._changed.wait_for(lambda: self._closed or self._feed.leaving, step.seconds)
                    self._check_open()
            case _:
                raise TypeError(step)

    def _connect(self, step: flows.Connect) -> None:
        if self._connection is not None:
            self._connection.close()
        stream, _ = self._transport.connect(step.request, step.subprotocols, step.timeout, step.repeated)
        with self._changed:
            self._feed.opened()
        self._connection = Connection(stream, self._feed, self._changed)
        # the connection knows the state, not this: what is dropped without a close ends
        if self._dropped is not None:
            self._dropped.detach()
        self._dropped = finalize(self, self._connection.abandon)
        self._dropped.atexit = False
        with self._changed:
            closed = self._closed
        if closed:
            self._connection.close()
            self._check_open()

    def _abandon(self) -> None:
        """End the feed without waiting for anything, as the garbage collector must."""
        self._closed = True
        if self._connection is not None:
            self._connection.abandon()

    def close(self) -> None:
        """End the feed; closing twice is no fault."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            connection = self._connection
        if connection is not None:
            connection.close()
