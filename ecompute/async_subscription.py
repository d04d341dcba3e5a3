"""What `AsyncEvents` and `AsyncWatch` share: the feed, over as many connections as it takes."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import anyio
from anyio.abc import TaskGroup

from .async_connection import AsyncConnection, Background, Signal
from .async_transport import AsyncTransport
from .contract.endpoints import EVENTS
from .contract.requests import OpenEvents
from .errors import Closed, within
from .protocol import flows, wire
from .protocol.feed import FeedState
from .settings import checked_patience

T = TypeVar("T")


class AsyncSubscription(Generic[T]):
    """One feed. One task at a time can wait for what it tells, and waiting can be cancelled; any may close.

    `operation` is what messages call it, `changed` tells when the state has changed.
    """

    def __init__(
        self,
        transport: AsyncTransport,
        context: flows.Context,
        timeout: float,
        state: FeedState[T],
        changed: Signal,
        operation: str,
    ) -> None:
        self._transport = transport
        self._context = context
        self._timeout = timeout
        self._request = wire.encode_channel(EVENTS, OpenEvents(), operation)
        self._feed = state
        self._changed = changed
        self._receiving = anyio.Lock()
        self._connection: AsyncConnection | None = None
        self._tasks: TaskGroup | None = None
        self._undo = AsyncExitStack()
        self._closed = False

    async def __aenter__(self) -> Self:
        if self._tasks is not None or self._closed:
            raise Closed("A feed can be entered once: call events() or watch() again.")
        flow = flows.connect(self._request, (), self._timeout, self._context)
        async with AsyncExitStack() as undo:
            self._tasks = await undo.enter_async_context(Background())
            await flows.adrive(flow, self._perform)
            self._undo = undo.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed = True
        async with self._undo:
            # one who is cancelled has no time for good manners
            if error is None or isinstance(error, Exception):
                await self.aclose()

    async def receive(self, timeout: float | None = None) -> T:
        """The next event, waited for at most `timeout` seconds (None: as long as it takes).

        Raises:
            DeadlineExceeded: none came in time; the feed is as good as before.
            APIError: the server refuses a new connection, such as `Unauthenticated` for a revoked token.
            ConnectError: the server was away for too long.
            InvalidAnswer: the server sent what is not of this API.
            Closed: the feed was closed, or not entered.
        """
        if self._tasks is None and not self._closed:
            raise Closed("A feed has to be entered first: `async with client.events() as events`.")
        timeout = checked_patience(timeout)
        deadline = None if timeout is None else time.monotonic() + timeout
        late = f"No event came {within(timeout)}"
        async with self._receiving:
            flow = flows.next_event(self._feed, self._take, self._request, self._context, deadline, late)
            return await flows.adrive(flow, self._perform)

    def __repr__(self) -> str:
        entered = self._tasks is not None
        state = "closed" if self._closed else "open" if entered else "not entered"
        return f"<{type(self).__name__}: {state}>"

    def _take(self) -> T | None:
        self._check_open()
        return self._feed.take()

    def _check_open(self) -> None:
        if self._closed:
            raise Closed("The feed is closed.")

    async def _perform(self, step: flows.Step) -> Any:
        match step:
            case flows.Connect():
                await self._connect(step)
            case flows.Await() if self._connection is not None:
                await self._connection.wait(lambda: self._feed.ready, step.deadline, step.late)
            case flows.Pause():
                with anyio.move_on_after(step.seconds):
                    await self._changed.wait_for(lambda: self._closed or self._feed.leaving)
                self._check_open()
            case _:
                raise TypeError(step)

    async def _connect(self, step: flows.Connect) -> None:
        if self._tasks is None:
            raise Closed("The feed is not entered.")
        if self._connection is not None:
            await self._connection.aclose()
        stream, _ = await self._transport.connect(
            step.request, step.subprotocols, step.timeout, step.repeated
        )
        self._feed.opened()
        self._connection = AsyncConnection(stream, self._feed, self._changed, self._tasks)
        if self._closed:
            await self._connection.aclose()
            self._check_open()

    async def aclose(self) -> None:
        """End the feed; closing twice is no fault."""
        self._closed = True
        self._changed.notify()
        if self._connection is not None:
            await self._connection.aclose()
