"""The live view of the async client."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from types import TracebackType
from typing import Self

import anyio
import anyio.lowlevel

from .async_connection import Background, Signal
from .async_subscription import AsyncSubscription
from .contract.endpoints import GET_CONTAINER
from .contract.requests import GetContainer
from .contract.resources import Container
from .errors import Closed, DeadlineExceeded, Error, within
from .protocol import flows
from .protocol.view import Reading, View
from .transport import AsyncTransport


class AsyncWatch(Reading):
    """All containers of the caller as they are now, by id, newest first; made by `client.watch()`.

    A mapping that the events feed keeps up to date: `view[id]`, `len(view)`, `view.values()`. Every reading
    sees one moment, and never waits for the network. Status, address and reason of failure follow the feed; a
    change of these brings the other fields up to date a moment later. A lost connection comes back by itself,
    as for `events()`; meanwhile reading shows what was known last. Once the view has ended, reading raises
    why: `Unauthenticated` for a revoked token, `ConnectError` when the server was away for too long,
    `Closed`. Tasks of one event loop may share it.
    """

    def __init__(self, transport: AsyncTransport, timing: flows.Timing, timeout: float) -> None:
        self._transport = transport
        self._timing = timing
        self._timeout = timeout
        self._view = View()
        self._changed = Signal()
        self._feed = AsyncSubscription(transport, timing, timeout, self._view, self._changed, "watch")
        self._undo = AsyncExitStack()

    async def __aenter__(self) -> Self:
        deadline = self._timing.now() + self._timeout
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
        self, ready: Callable[[Mapping[str, Container]], bool], timeout: float | None = None
    ) -> None:
        """Wait until `ready(view)` is true, for at most `timeout` seconds (None: as long as it takes).

        It is asked at once and after every change. States that pass quickly may be missed: `events()` tells
        each.

        Raises:
            DeadlineExceeded: it was not so in time.
            Error: the view has ended.
        """
        deadline = None if timeout is None else self._timing.now() + timeout
        await self._wait(
            lambda: ready(self), deadline, f"The containers were not as wanted {within(timeout)}"
        )

    async def _wait(self, ready: Callable[[], bool], deadline: float | None, late: str) -> None:
        await anyio.lowlevel.checkpoint()
        while True:
            seen = self._view.version
            self._check()
            if ready():
                return
            left = None if deadline is None else max(0.0, deadline - self._timing.now())
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
        flow = flows.call(GET_CONTAINER, GetContainer(id), self._timeout, self._timing)
        found: Container | Error
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
