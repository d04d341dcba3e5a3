"""How the async client waits: all who wait share one feed, which is open only while somebody does.

The feed outlives the one who opened it, when others still wait; so it runs in a task of its own that belongs
to no caller. The last one to leave ends it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from copy import copy
from typing import Any

import anyio

from . import recording
from .async_connection import Signal
from .async_subscription import AsyncSubscription
from .async_transport import AsyncTransport
from .contract.endpoints import EVENTS
from .contract.resources import Container
from .errors import Closed, ConnectError, DeadlineExceeded, Error
from .protocol import flows, policy, waiting

_log = logging.getLogger("ecompute")
_tasks: set[asyncio.Task[None]] = set()


def _on_trio() -> bool:
    # every coroutine of asyncio runs in a task of its; trio's may run beside its loop
    try:
        return asyncio.current_task() is None
    except RuntimeError:
        return True


def _spawn(work: Callable[[], Awaitable[None]]) -> None:
    """Run something in the background that raises nothing."""
    if _on_trio():
        import trio

        trio.lowlevel.spawn_system_task(work, name="ecompute wait")
        return

    async def run() -> None:
        await work()

    task = asyncio.create_task(run(), name="ecompute wait")
    # the loop itself keeps weak references only
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)


class _Feed:
    """One feed, from the first who waits to the last, with a task that opens it and brings it back."""

    def __init__(
        self, transport: AsyncTransport, context: flows.Context, timeout: float, operation: str
    ) -> None:
        self.opens_until = context.now() + timeout
        self.changed = Signal()
        self.state = waiting.Waiters(context.container)
        self.users = 0
        self.error: Error | None = None
        """Why nothing will come any more."""
        self.opened = False
        self._subscription = AsyncSubscription(
            transport, context, timeout, self.state, self.changed, operation
        )
        self._scope = anyio.CancelScope()
        self._done = anyio.Event()

    def start(self) -> None:
        _spawn(self._run)

    def end(self) -> None:
        """Let the task close it; nobody waits for that."""
        self.state.leaving = True
        self.changed.notify()
        if not self.opened:
            self._scope.cancel()

    async def aclose(self) -> None:
        """End it, and all who wait."""
        self.end()
        await self._done.wait()

    @property
    def ended(self) -> bool:
        return self._done.is_set()

    async def _run(self) -> None:
        error: Error = Closed("The client was closed while waiting.")
        try:
            with self._scope:
                async with self._subscription as feed:
                    self.opened = True
                    await feed.receive()
        except Error as failure:
            error = failure
        except Exception:
            # of a task that is nobody's, an exception ends the whole program on trio
            _log.exception("The task that waits has failed.")
            error = ConnectError("The task that waits has failed.")
        finally:
            self.error = error
            self._done.set()
            self.changed.notify()


class AsyncHub:
    """All waits of one client. Tasks of one event loop may share it."""

    def __init__(self, transport: AsyncTransport, context: flows.Context) -> None:
        self._transport = transport
        self._context = context
        self._feed: _Feed | None = None
        self._left: list[_Feed] = []
        self._has_no_events = False

    async def wait(self, waits: Sequence[waiting.Wait], timeout: float, deadline: float) -> list[Container]:
        """Wait until all containers have had their status.

        Raises:
            Error: as for `waiting.follow`, and what ended the feed.
        """
        while not self._has_no_events:
            feed = self._join(waits, timeout)
            try:
                flow = waiting.follow(waits, timeout, deadline, self._context)
                return await flows.adrive(flow, lambda step: self._perform(step, feed))  # noqa: B023
            except Error as error:
                # it may be about a container, not about the feed
                if feed.opened or feed.error is None:
                    raise
                if policy.has_no_events(error):
                    self._has_no_events = True
                # who opened it may have had less time
                elif not isinstance(error, DeadlineExceeded) or feed.opens_until >= deadline:
                    raise
            finally:
                self._leave(feed, waits)
                # whoever opened it, and wherever
                if feed.opened:
                    recording.note(EVENTS)
        flow = waiting.poll(waits, timeout, deadline, self._context)
        return await flows.adrive(flow, self._transport.perform)

    def _join(self, waits: Sequence[waiting.Wait], timeout: float) -> _Feed:
        feed = self._feed
        if feed is None or feed.error is not None:
            feed = self._feed = _Feed(self._transport, self._context, timeout, waits[0].operation)
        for wait in waits:
            feed.state.join(wait)
        feed.users += 1
        if feed.users == 1:
            feed.start()
        return feed

    def _leave(self, feed: _Feed, waits: Sequence[waiting.Wait]) -> None:
        for wait in waits:
            feed.state.leave(wait)
        feed.users -= 1
        if feed.users == 0:
            feed.end()
            self._left = [feed, *(one for one in self._left if not one.ended)]
            if self._feed is feed:
                self._feed = None

    async def _perform(self, step: flows.Step, feed: _Feed) -> Any:
        if not isinstance(step, flows.Until):
            return await self._transport.perform(step)
        result: Any = None

        def over() -> bool:
            nonlocal result
            result = step.ready()
            return bool(result) or feed.error is not None

        with anyio.move_on_after(max(0.0, step.deadline - self._context.now())):
            await feed.changed.wait_for(over)
            if not result and feed.error is not None:
                raise copy(feed.error) from feed.error
            return result
        raise DeadlineExceeded(f"{step.late}.")

    async def aclose(self) -> None:
        """End the feed, and with it all who wait."""
        for feed in [*self._left, *([] if self._feed is None else [self._feed])]:
            await feed.aclose()
