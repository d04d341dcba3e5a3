"""Temporary containers of the async client."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType

import anyio

from .async_bound import AsyncContainer
from .async_transport import AsyncTransport
from .errors import Closed
from .interrupts import watch_over
from .protocol import flows, temporary


class AsyncTemporary:
    """A container for the length of a block; made by `client.temporary()`.

    Entering gives it once it runs. Leaving deletes it and its key, whichever way: also after an exception, an
    interrupt, a cancellation or a boot that failed. What prevents a deletion is raised; where another
    exception is on its way, it is a note of that. Ctrl-C waits for the deletions, which take 30 seconds at
    most where the server is silent. What is left all the same, such as when a program's own handler of
    signals raises several times, is logged as a warning.
    """

    def __init__(
        self,
        transport: AsyncTransport,
        state: temporary.Temporary,
        timeout: float,
        wait: Callable[[list[str]], Awaitable[list[AsyncContainer]]],
    ) -> None:
        self._transport = transport
        self._state = state
        self._timeout = timeout
        self._wait = wait
        self._entered = False

    async def __aenter__(self) -> AsyncContainer:
        if self._entered:
            raise Closed("A temporary container can be entered once: call temporary() again.")
        self._entered = True
        self._watch = watch_over(self, self._state.left)
        try:
            return await self._make()
        except BaseException as error:
            await self._undo(error)
            raise

    async def keep(self) -> AsyncContainer:
        """As entering, and what runs then is not deleted again."""
        box = await self.__aenter__()
        self._watch.detach()
        return box

    async def _make(self) -> AsyncContainer:
        # a create that is cancelled on its way may come true after all
        with anyio.CancelScope(shield=True):
            id = await flows.adrive(self._state.make(self._timeout), self._transport.perform)
        return (await self._wait([id]))[0]

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._undo(error)

    async def _undo(self, cause: BaseException | None) -> None:
        with anyio.CancelScope(shield=True):
            try:
                left = await flows.adrive(self._state.undo(), self._transport.perform)
            except BaseException as interrupt:
                # Ctrl-C in the middle of it: what is left is deleted all the same
                temporary.tell(await flows.adrive(self._state.undo(), self._transport.perform), interrupt)
                self._watch.detach()
                raise
        self._watch.detach()
        temporary.tell(left, cause)
