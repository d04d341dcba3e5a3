"""The async way to the network, on asyncio and trio. `transport` is its twin, and tells what both do."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import anyio
import anyio.to_thread
import httpcore
from anyio.lowlevel import RunVar

from .carrier import REFUSED, SWITCHING, Carrier, Shared, headers_of, is_plain, stream_below
from .credentials import Token
from .errors import ConnectError
from .exchange import HTTPAnswer, HTTPRequest
from .foreign import FOREIGN, Tracker, translate
from .late import flows, wire
from .network import end_if_more_came
from .pool import make_async_pool
from .settings import Settings

if TYPE_CHECKING:
    from .custom import AsyncCustomTransport

_AT_HAND = 1024 * 1024
"""Bytes that a stream may have left without waiting for the network."""


_run: RunVar[object] = RunVar("ecompute run")


class AsyncShared(Shared):
    """As `Shared`. A program may run one event loop after the other, each of which gets a pool of its own:
    what belongs to a loop that has ended can be neither used nor closed.
    """

    _of: object = None
    """What stands for the loop that the pool belongs to."""

    def check(self) -> None:
        """Notice a fork, or another loop."""
        super().check()
        here = _run.get(None)
        if here is None:
            _run.set(here := object())
        if self._of is not here:
            if self._of is not None:
                self._renew()
            self._of = here


class AsyncStream:
    """The bytes below a WebSocket, on asyncio or trio. One task may read while another writes."""

    def __init__(self, stream: Any, response: httpcore.Response, url: str) -> None:
        self._stream = stream
        self._response = response
        self._url = url

    async def read(self, limit: int) -> bytes:
        """What comes next, at most `limit` bytes; b"" at the end.

        Raises:
            ConnectError: the connection broke.
        """
        try:
            data: bytes = await self._stream.read(limit, None)
        except FOREIGN as error:
            raise translate(error, self._url) from error
        return data

    async def write(self, data: bytes) -> None:
        """Send all of it.

        Raises:
            ConnectError: the connection broke.
        """
        try:
            await self._stream.write(data, None)
        except FOREIGN as error:
            raise translate(error, self._url) from error

    async def aclose(self) -> None:
        """Give the connection back to where it came from, which closes it."""
        with suppress(*FOREIGN):
            await self._response.aclose()


class AsyncTransport(Carrier):
    """The async way. Tasks of one event loop may share it."""

    def __init__(self, settings: Settings, shared: Shared, *, derived: bool = False) -> None:
        super().__init__(settings, shared, derived=derived)
        # the whole is bounded by a scope, so that these only bound its steps
        self._limits = {
            "connect": settings.connect_timeout,
            "read": settings.read_timeout,
            "write": settings.write_timeout,
            "pool": None,
        }

    @classmethod
    def open(cls, settings: Settings, transport: AsyncCustomTransport | None = None) -> Self:
        """A way with connections of its own.

        Raises:
            InvalidArgument: certificates or proxy are of no use.
        """
        if transport is None:
            return cls(settings, AsyncShared(partial(make_async_pool, settings)))
        from .custom import AsyncCustomPool

        return cls(settings, AsyncShared(partial(AsyncCustomPool, transport)))

    async def exchange(
        self, request: HTTPRequest, timeout: float, track: bool, repeated: flows.Repeated | None = None
    ) -> HTTPAnswer:
        """Send one request and read its answer, whatever that says. `repeated` is told when it goes out again
        with a fresh token.

        Raises:
            ConnectError: there was no answer, or only a part of one.
            InvalidAnswer: the answer cannot be decoded, or is too large.
            InvalidArgument: the credential helper gives no token.
            Closed: the client is closed.
        """
        deadline = time.monotonic() + timeout
        self._check_open(timeout)
        token = await self._token(timeout)
        answer = await self._exchange(request, token, deadline, track)
        if answer.status == REFUSED and (again := await self._renewed(request, token, deadline)) is not None:
            if repeated is not None:
                repeated(answer)
            answer = await self._exchange(request, again, deadline, track)
        return answer

    async def _exchange(
        self, request: HTTPRequest, token: Token | None, deadline: float, track: bool
    ) -> HTTPAnswer:
        extensions: dict[str, Any] = {"timeout": self._limits}
        tracker = None
        if track:
            tracker = Tracker()
            extensions["trace"] = tracker.asee
        message = self._message(request, token, extensions)
        try:
            with anyio.fail_after(deadline - time.monotonic()) as scope:
                response = await self._shared.pool.handle_async_request(message)
                try:
                    return await self._answer(response, scope)
                finally:
                    await response.aclose()
            raise self._too_large()
        except FOREIGN as error:
            raise translate(error, self.settings.base_url, tracker) from error
        finally:
            await self._tidy()

    async def _token(self, timeout: float) -> Token | None:
        credential = self._credential
        if credential is None:
            return None
        return credential.ready() or await self._ask(partial(credential.get, timeout), timeout)

    async def _renewed(self, request: HTTPRequest, refused: Token | None, deadline: float) -> Token | None:
        """Another token than the refused one, if there is one in time."""
        credential, left = self._credential, deadline - time.monotonic()
        if credential is None or refused is None or not self._renewable(request):
            return None
        try:
            found = await self._ask(partial(credential.renew, refused, left), left)
        except ConnectError:
            return None
        return found if time.monotonic() < deadline else None

    @staticmethod
    async def _ask(ask: Callable[[], Token | None], within: float) -> Token | None:
        """Get a token in a thread: a command or a function takes its time."""
        try:
            with anyio.fail_after(within):
                return await anyio.to_thread.run_sync(ask, abandon_on_cancel=True)
        except TimeoutError as error:
            raise ConnectError("No time was left to get a token.", timed_out=True) from error

    async def _answer(self, response: httpcore.Response, scope: anyio.CancelScope) -> HTTPAnswer:
        headers = headers_of(response)
        body = await self._body(response.stream, scope) if is_plain(headers) else b""
        end_if_more_came(response)
        return HTTPAnswer(response.status, headers, body)

    async def _body(self, chunks: Any, scope: anyio.CancelScope) -> bytes:
        parts: list[bytes] = []
        size = 0
        try:
            async for part in chunks:
                parts.append(part)
                size += len(part)
                if self._is_too_large(size):
                    # the pool's generators end in order when they end from within; others may go on
                    scope.cancel()
                    if self._is_too_large(size - _AT_HAND):
                        raise self._too_large()
            return b"".join(parts)
        finally:
            parts, part = [], b""  # it may hold a new token, and a traceback may show it

    async def _tidy(self) -> None:
        # closed by another task meanwhile: a pool that is used after its close opens connections again
        if self._shared.closed:
            with anyio.CancelScope(shield=True), suppress(*FOREIGN):
                await self._shared.pool.aclose()

    async def connect(
        self,
        request: HTTPRequest,
        subprotocols: tuple[str, ...],
        timeout: float,
        repeated: flows.Repeated | None = None,
    ) -> tuple[AsyncStream, str | None]:
        """Open a WebSocket: its stream, and the subprotocol that the server chose. `repeated` is as for
        `exchange`.

        Raises:
            APIError: the server refuses.
            ConnectError, InvalidAnswer, InvalidArgument, Closed: as for `exchange`.
            Unsupported: the custom transport cannot carry WebSockets.
        """
        deadline = time.monotonic() + timeout
        self._check_open(timeout)
        token = await self._token(timeout)
        opened = await self._connect(request, token, subprotocols, deadline)
        if isinstance(opened, HTTPAnswer) and opened.status == REFUSED:
            again = await self._renewed(request, token, deadline)
            if again is not None:
                if repeated is not None:
                    repeated(opened)
                opened = await self._connect(request, again, subprotocols, deadline)
        if isinstance(opened, HTTPAnswer):
            raise wire.refusal(request, opened)
        return opened

    async def _connect(
        self, request: HTTPRequest, token: Token | None, subprotocols: tuple[str, ...], deadline: float
    ) -> tuple[AsyncStream, str | None] | HTTPAnswer:
        from .protocol.websocket import check_upgrade, upgrade_headers

        key = os.urandom(16)
        extensions = {"timeout": self._limits}
        message = self._message(request, token, extensions, upgrade_headers(key, subprotocols))
        try:
            with anyio.fail_after(deadline - time.monotonic()) as scope:
                async with AsyncExitStack() as undo:
                    response = await self._shared.pool.handle_async_request(message)
                    undo.push_async_callback(response.aclose)
                    if response.status != SWITCHING:
                        return await self._answer(response, scope)
                    stream = stream_below(response, request)
                    chosen = check_upgrade(headers_of(response), key, subprotocols)
                    undo.pop_all()
                    return AsyncStream(stream, response, self.settings.base_url), chosen
            raise self._too_large()
        except FOREIGN as error:
            raise translate(error, self.settings.base_url) from error
        finally:
            await self._tidy()

    async def perform(self, step: flows.Step) -> Any:
        """Do what a flow asks for, as far as it needs no open channel."""
        match step:
            case flows.Send():
                return await self.exchange(step.request, step.timeout, step.track, step.repeated)
            case flows.Pause():
                return await anyio.sleep(step.seconds)
            case _:
                raise TypeError(step)

    async def aclose(self) -> None:
        """Close all connections; closing twice is no fault."""
        self._closed = True
        if not self._derived:
            self._shared.closed = True
            self._shared.check()
            with suppress(*FOREIGN):
                await self._shared.pool.aclose()
