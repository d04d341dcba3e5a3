"""The other end of a conversation: a connection into the guest, and what comes from there."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import h11

from ecompute_server.gateway.passage import OpenPassage, Passage, Unreachable
from ecompute_server.gateway.sockets import reset
from ecompute_server.gateway.streams import Stream
from ecompute_server.logs import get_logger

from .answers import unanswered
from .exchange import Exchange

_log = get_logger(__name__)


class GuestSide:
    """A connection into the guest, and the task that passes its answers on to the visitor."""

    def __init__(self, stack: AsyncExitStack, passage: Passage, visitor: Stream) -> None:
        self.stream = Stream(passage.socket)
        self.exchange: Exchange | None = None
        self.settled = asyncio.Event()
        """Set with each interruption of the visitor's reading."""
        self.used = False
        """Whether it has carried an exchange."""
        self.spoke = False
        """Whether a byte of the answer to the present exchange came."""
        self.over = False
        """Whether nothing more comes from it."""
        self.deaf = False
        """Whether it takes nothing more."""
        self._failure = ""
        """What ended it out of order. A sentence and no exception, whose traceback would hold all that is
        here, data included, until the collector of cycles comes by."""
        self._stack = stack
        self._passage = passage
        self._visitor = visitor
        self._task = asyncio.get_running_loop().create_task(self._answers())

    @classmethod
    async def enter(cls, open_passage: OpenPassage, visitor: Stream) -> GuestSide:
        """Raises:
        Refused: there is no way in.
        """
        stack = AsyncExitStack()
        try:
            passage = await stack.enter_async_context(open_passage())
        except Unreachable as error:
            raise unanswered() from error
        return cls(stack, passage, visitor)

    def begin(self, exchange: Exchange) -> None:
        """What comes from now on is the answer to this."""
        self.exchange = exchange
        self.spoke = False

    async def send(self, data: bytes) -> None:
        """Say something; what it no longer hears is dropped, and its answer may still be under way."""
        if self.deaf:
            return
        try:
            await self.stream.send(data)
        except OSError:
            self.deaf = True

    async def ended(self) -> None:
        """Wait until it has said everything.

        Raises:
            OSError: one side broke.
        """
        await asyncio.wait({self._task})
        self.check()

    def check(self) -> None:
        """Raises:
        OSError: one side broke.
        """
        if self._failure:
            raise ConnectionResetError(self._failure)

    async def leave(self, *, broken: bool = False) -> None:
        """End the connection; a `broken` one so that the guest sees that something is missing."""
        self._task.cancel()
        try:
            await asyncio.wait({self._task})
        finally:  # a second cancellation may come right here
            del self._task  # a cancelled one holds its frames, and they hold this
            self.stream.detach()
            if broken:
                reset(self._passage.socket)
            await self._stack.aclose()

    async def _answers(self) -> None:
        try:
            while await self._answer():
                pass
        except h11.RemoteProtocolError as error:
            self._failure = f"The guest's answer is not valid HTTP: {error}"
        except OSError as error:
            self._failure = str(error) or "One side broke the connection."
        except Exception:
            _log.exception("an answer could not be passed on")
            self._failure = "An answer could not be passed on."
        finally:
            self.over = True
            self._interrupt()

    async def _answer(self) -> bool:
        """Pass one piece on; False when nothing more is to come."""
        data = await self.stream.receive()
        self._passage.heard()
        exchange = self.exchange
        if exchange is None or exchange.complete:
            return False  # its end while nobody asked; anything else is an answer to nothing
        if exchange.upgraded:
            if not data:
                await self._visitor.end()
                return False
            await self._visitor.send(data)
            return True
        self.spoke = self.spoke or bool(data)
        await self._visitor.send(await exchange.answer(data))
        if exchange.settled:
            exchange.delivered = True
            self._interrupt()
        return bool(data)

    def _interrupt(self) -> None:
        self.settled.set()
        self._visitor.interrupt()
