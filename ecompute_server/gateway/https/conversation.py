"""What a visitor and a guest say to each other over HTTP/1.1, once TLS stands.

One connection of a visitor has one into the guest at most, and one request at a time goes through, so that an
answer can only be to that request. Two tasks carry it: this one reads the visitor, the other the guest.
"""

from __future__ import annotations

import asyncio
import contextlib

import h11

from ecompute_server.gateway.limits import Limits
from ecompute_server.gateway.passage import OpenPassage
from ecompute_server.gateway.streams import Interrupted, Stream
from ecompute_server.gateway.watch import Watch

from .answers import late, page, unanswered
from .exchange import Exchange
from .guest import GuestSide
from .requests import Reader, Refused, Visit, for_guest, keeps_alive


class Conversation:
    """All requests of one visitor's connection."""

    def __init__(self, visitor: Stream, visit: Visit, open_passage: OpenPassage, limits: Limits) -> None:
        self._visitor = visitor
        self._visit = visit
        self._open_passage = open_passage
        self._limits = limits
        self._guest: GuestSide | None = None
        self._asked_before = False

    async def run(self) -> None:
        """Return when it ended in order.

        Raises:
            OSError: one side broke, or nothing moved for too long; the visitor must be reset, because what
                it has of an answer is not the whole.
        """
        watch = Watch(self, self._limits)
        try:
            left: bytes | None = b""
            while left is not None:
                left = await self._request(Reader(left))
            await self._visitor.end()
            await self._linger()
        except BaseException:
            await self._leave(broken=True)
            raise
        finally:
            watch.stop()
            await self._leave()

    async def _request(self, reader: Reader) -> bytes | None:
        """Serve one request; what came behind it, None when nothing more may come."""
        exchange: Exchange | None = None
        try:
            request = await self._head(reader)
            if request is None:
                return None
            for_the_guest = for_guest(request, self._visit)
            version = request.http_version
            exchange = await self._ask(for_the_guest, version)
            if not await self._serve(reader, exchange):
                # the guest had ended a connection that was used before, as servers do after some idle time
                await self._leave()
                exchange = await self._ask(for_the_guest, version)
                if not await self._serve(reader, exchange):
                    raise unanswered()
        except Refused as refused:
            await self._leave()
            if exchange is not None and exchange.passed:
                raise ConnectionResetError("The request broke off in the midst of its answer.") from refused
            await self._visitor.send(page(refused))
            return None
        if exchange.upgraded:
            if not exchange.sent:
                raise ConnectionResetError("The guest took up another protocol in the midst of the request.")
            await self._pass_through(reader.left)
            return None
        if not exchange.sent or not exchange.serves_on or not keeps_alive(request):
            return None
        return reader.left

    async def _head(self, reader: Reader) -> h11.Request | None:
        """The next request's head; None when the visitor wants nothing more."""
        patience = self._limits.keep_alive if self._asked_before else self._limits.head
        try:
            if not reader.begun:
                async with asyncio.timeout(patience):
                    while not reader.begun:
                        data = await self._hear()
                        if not data:
                            return None
                        reader.feed(data)
            # most heads come in one piece, and need no second timer
            request = reader.head() if reader.begun else None
            if reader.begun and request is None:
                async with asyncio.timeout(self._limits.head):
                    while request is None and (data := await self._hear()):
                        reader.feed(data)
                        request = reader.head()
        except TimeoutError:
            if reader.begun:
                raise late() from None
            return None
        if request is None:
            return None
        self._asked_before = True
        return request

    async def _hear(self) -> bytes:
        while True:
            # an interruption that came after the answer it was meant for
            with contextlib.suppress(Interrupted):
                return await self._visitor.receive()

    async def _ask(self, request: h11.Request, version: bytes) -> Exchange:
        exchange = Exchange(request, version=version)
        if self._guest is not None and self._guest.over:
            await self._leave()
        if self._guest is None:
            self._guest = await GuestSide.enter(self._open_passage, self._visitor)
        self._guest.begin(exchange)
        await self._guest.send(exchange.head)
        return exchange

    async def _serve(self, reader: Reader, exchange: Exchange) -> bool:
        """Carry a request whose head was sent, and its answer. False when it may be sent once more.

        Raises:
            Refused: the guest did not answer.
        """
        guest = self._guest
        assert guest is not None
        while not exchange.delivered and not guest.over:
            if not exchange.sent and not guest.deaf:
                piece, last = reader.piece()
                if piece or last:
                    await guest.send(exchange.body(piece, last=last))
                    if piece:
                        # also when nothing had to wait: a few bytes may be as many chunks
                        await asyncio.sleep(0)
                    continue
            try:
                if exchange.sent and reader.left:
                    # more was asked already: heard when its turn comes
                    await guest.settled.wait()
                    guest.settled.clear()
                    continue
                data = await self._visitor.receive()
            except Interrupted:
                continue
            if not data:
                raise ConnectionResetError("The visitor left before the answer was whole.")
            if not guest.deaf:
                reader.feed(data)
        return self._judge(guest, exchange)

    def _judge(self, guest: GuestSide, exchange: Exchange) -> bool:
        guest.exchange = None if exchange.complete else exchange
        if exchange.delivered:
            guest.used = True
            return True
        if exchange.passed:
            raise ConnectionResetError("The guest left before its answer was whole.")
        if guest.used and not guest.spoke and exchange.repeatable:
            return False
        raise unanswered()

    async def _pass_through(self, left: bytes) -> None:
        """Bytes both ways until both sides have ended; the guest's go on in the other task."""
        guest = self._guest
        assert guest is not None
        await guest.send(left)
        while not guest.deaf:
            try:
                data = await self._visitor.receive()
            except Interrupted:
                guest.check()
                continue
            if not data:
                await guest.stream.end()
                break
            await guest.send(data)
        await guest.ended()

    async def _leave(self, *, broken: bool = False) -> None:
        guest, self._guest = self._guest, None
        if guest is not None:
            await guest.leave(broken=broken)

    async def _linger(self) -> None:
        """Hear the visitor out for a moment: what is unread when a connection is closed makes the kernel
        reset it, and the visitor would lose what it has not read of the answer.
        """
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(self._limits.farewell):
                while await self._hear():
                    pass

    # What a watch asks

    @property
    def moved(self) -> int:
        """How many bytes were taken and given, by both sides."""
        return sum(stream.moved for stream in self._streams)

    def check(self) -> None:
        """See a reset of which the loop tells nothing."""
        for stream in self._streams:
            stream.check()

    def broken(self, sentence: str) -> None:
        """Have `run` end with an error that says so."""
        for stream in self._streams:
            stream.fail(sentence)

    @property
    def _streams(self) -> list[Stream]:
        return [self._visitor] if self._guest is None else [self._visitor, self._guest.stream]
