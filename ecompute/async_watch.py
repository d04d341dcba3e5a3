"""The live view of the async client."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from types import TracebackType
from typing import Self

import anyio
import anyio.lowlevel

from .async_bound import AsyncContainer
from .async_connection import Background, Signal
from .async_subscription import AsyncSubscription
from .async_transport import AsyncTransport
from .contract.endpoints import GET_CONTAINER
from .contract.requests import GetContainer
from .contract.resources import Container as AnyContainer
from .errors import Closed, DeadlineExceeded, Error, within
from .protocol import flows
from .protocol.ids import Ref
from .protocol.view import Reading, View
from .settings import checked_patience


class AsyncWatch(Reading[AsyncContainer]):
    """All containers of the caller as they are now, by id, newest first; made by `client.watch()`.

    A mapping that the events feed keeps up to date: `view[id]`, `len(view)`, `view.values()`. Every reading
    sees one moment, and never waits for the network. Status, address and reason of failure follow the feed; a
    change of these brings the other fields up to date a moment later. A lost connection comes back by itself,
    as for `events()`; meanwhile reading shows what was known last. Once the view has ended, reading raises
    why: `Unauthenticated` for a revoked token, `ConnectError` when the server was away for too long,
    `Closed`. Tasks of one event loop may share it.
    """

    def __init__(
        self,
        transport: AsyncTransport,
        context: flows.Context,
        timeout: float,
        bind: Callable[[AnyContainer], AsyncContainer],
    ) -> None:
        self._transport = transport
        self._context = context
        self._timeout = timeout
        self._view = View[AsyncContainer](bind, AsyncContainer)
        self._changed = Signal()
        self._feed = AsyncSubscription(transport, context, timeout, self._view, self._changed, "watch")
        self._undo = AsyncExitStack()

    async def __aenter__(self) -> Self:
        deadline = self._context.now() + self._timeout
        async with AsyncExitStack() as undo:
            await undo.enter_async_context(self._feed)
            tasks = await undo.enter_async_context(Background())
            undo.callback(self._end, Closed("The view is closed."))
            self._view.begin()
            tasks.start_soon(self._keep, name="ecompute watch")
            await self._wait(
                lambda: self._view.started, deadline, f"No list of containers came {within(self._timeout)}"
            )
            self._undo = undo.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._undo.__aexit__(kind, error, trace)

    async def wait(
        self, ready: Callable[[Mapping[str, AsyncContainer]], bool], timeout: float | None = None
    ) -> None:
        """Wait until `ready(view)` is true, for at most `timeout` seconds (None: as long as it takes).

        It is asked at once and after every change. States that pass quickly may be missed: `events()` tells
        each.

        Raises:
            DeadlineExceeded: it was not so in time.
            Error: the view has ended.
        """
        timeout = checked_patience(timeout)
        deadline = None if timeout is None else self._context.now() + timeout
        await self._wait(
            lambda: ready(self), deadline, f"The containers were not as wanted {within(timeout)}"
        )

    async def live(
        self,
        until: str | Callable[[Mapping[str, AsyncContainer]], bool] | None = None,
        *,
        only: Sequence[Ref] | None = None,
        timeout: float | None = None,
    ) -> None:
        """Show the containers, and keep the picture up to date until `until` is so.

        `until` is a status that all shown containers have, or a function as for `wait`; None goes on until
        the timeout, the view's end or Ctrl-C. `only` names the containers to show (None: all); one of them
        that is deleted is waited for no longer. In a notebook the table changes in place, on a terminal as
        well where rich is installed; elsewhere each change is a line.

        Raises:
            ContainerFailed: one of those shown is `failed`, and another status was waited for.
            DeadlineExceeded: it was not so within `timeout` seconds (None: as long as it takes).
            Error: the view has ended.
        """
        from .live import Live

        with Live(until, only) as live:
            await self.wait(live, timeout)

    async def _wait(self, ready: Callable[[], bool], deadline: float | None, late: str) -> None:
        await anyio.lowlevel.checkpoint()
        while True:
            seen = self._view.version
            self._check()
            if ready():
                return
            left = None if deadline is None else max(0.0, deadline - self._context.now())
            with anyio.move_on_after(left):
                await self._changed.wait_for(partial(self._view.is_newer, seen))
            if not self._view.is_newer(seen):
                raise DeadlineExceeded(f"{late}.")

    async def _keep(self) -> None:
        try:
            while True:
                await self._look_at(await self._feed.receive())
        except Error as error:
            self._end(error)

    async def _look_at(self, id: str) -> None:
        flow = flows.call(GET_CONTAINER, GetContainer(id), self._timeout, self._context)
        found: AnyContainer | Error
        try:
            found = await flows.adrive(flow, self._transport.perform)
        except Error as error:
            found = error
        self._view.looked_at(id, found)
        self._changed.notify()

    def _end(self, error: Error) -> None:
        self._view.end(error)
        self._changed.notify()

    async def aclose(self) -> None:
        """End the view; closing twice is no fault."""
        self._end(Closed("The view is closed."))
        await self._feed.aclose()
