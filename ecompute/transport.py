"""The way to the network: the only module that knows the HTTP library (httpx).

Both transports do the same two things: exchange one request for one answer, and open a WebSocket on the
stream that is left after a 101 answer, so that pool, proxies, certificates and custom transports serve both.
They neither repeat nor interpret. Every exception that can come from below is translated here, and only here.

Redirects are not followed, since the credential would travel with them.
"""

from __future__ import annotations

import os
import socket
import ssl
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager, suppress
from typing import Any

import anyio
import httpcore
import httpx

from .errors import Closed, ConnectError, Error, InvalidAnswer, InvalidArgument, Unsupported
from .protocol import flows, wire
from .protocol.websocket import check_upgrade, upgrade_headers
from .settings import Settings

Verify = bool | str | os.PathLike[str] | ssl.SSLContext
"""How servers are checked: by the usual authorities (True), not at all, by a file of them, by a context."""

CustomTransport = httpx.BaseTransport
AsyncCustomTransport = httpx.AsyncBaseTransport

MAX_ANSWER = 64 * 1024 * 1024
"""Bytes of one answer: far above a list of 10,000 containers, which has about five million."""

# a little less than the five seconds after which many servers close an idle connection: otherwise a request
# and the close cross on the wire
_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=20, keepalive_expiry=4.0)

_NOT_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpcore.ConnectError,
    httpcore.ConnectTimeout,
    httpcore.PoolTimeout,
    httpcore.ProxyError,
)
_TIMED_OUT = (httpx.TimeoutException, httpcore.TimeoutException, TimeoutError)
_UNREADABLE = (httpx.DecodingError, httpx.TooManyRedirects)
_NO_ADDRESS = (httpx.UnsupportedProtocol, httpx.InvalidURL, httpcore.UnsupportedProtocol)

FOREIGN: tuple[type[Exception], ...] = (
    httpx.HTTPError,
    httpx.InvalidURL,
    httpx.CookieConflict,
    httpx.StreamError,
    httpcore.ConnectionNotAvailable,
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.ProxyError,
    httpcore.TimeoutException,
    httpcore.UnsupportedProtocol,
    anyio.BrokenResourceError,
    anyio.BusyResourceError,
    anyio.ClosedResourceError,
    anyio.EndOfStream,
    EOFError,
    OSError,
)
"""All that the libraries below raise on purpose. What is in no such family is a bug, here or in a custom
transport, and passes as it is."""
_SET_UP_FAULTS: tuple[type[Exception], ...] = (*FOREIGN, ValueError, ImportError)


class _Tracker:
    """Watches a request's way, to tell for certain whether its first byte was sent (httpcore's trace)."""

    def __init__(self) -> None:
        self.told = False
        self.sent = False

    def see(self, name: str, info: Mapping[str, Any]) -> None:
        self.told = True
        # begun, not finished: a part may be enough for the server
        self.sent = self.sent or name.endswith(".send_request_headers.started")

    async def asee(self, name: str, info: Mapping[str, Any]) -> None:
        self.see(name, info)

    def maybe_sent(self, error: BaseException) -> bool:
        return self.sent if self.told else not isinstance(error, _NOT_SENT)


def translate(error: Exception, url: str, tracker: _Tracker | None = None) -> Error:
    """Our exception for a foreign one."""
    if isinstance(error, _UNREADABLE):
        return InvalidAnswer(f"The answer from {url} cannot be decoded.", status=200)
    if isinstance(error, _NO_ADDRESS):
        return InvalidArgument(f"{url} is no address that can be reached: check base_url and the proxy.")
    maybe_sent = (tracker or _Tracker()).maybe_sent(error)
    if isinstance(error, _TIMED_OUT):
        what = "did not answer" if maybe_sent else "could not be reached"
        return ConnectError(f"{url} {what} in time.", maybe_sent=maybe_sent, timed_out=True)
    if maybe_sent:
        return ConnectError(f"{url} broke off before its answer was complete.", maybe_sent=True)
    return ConnectError(f"{url} could not be reached{_reason(error)}.")


@contextmanager
def _translated(url: str, tracker: _Tracker | None = None) -> Iterator[None]:
    try:
        yield
    except Error:
        raise  # some of ours are OSErrors too
    except FOREIGN as error:
        raise translate(error, url, tracker) from error


def _reason(error: Exception) -> str:
    """What the system said: it knows addresses and causes, none of our secrets."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ssl.SSLCertVerificationError):
            return f": its certificate is not trusted ({seen.verify_message})"
        if isinstance(seen, OSError) and seen.strerror:
            return f": {seen.strerror}"
        seen = seen.__cause__ or seen.__context__
    return ""


def _options(settings: Settings, verify: Verify, proxy: str | None) -> dict[str, Any]:
    headers = {
        "User-Agent": settings.user_agent,
        "Accept": "application/json",
        # what arrives is bounded, and must not grow on this side
        "Accept-Encoding": "identity",
    }
    if settings.token is not None:
        headers["Authorization"] = f"Bearer {settings.token}"
    return {
        "headers": headers,
        "verify": _context(verify),
        "proxy": proxy,
        "limits": _LIMITS,
        "follow_redirects": False,
    }


def _context(verify: Verify) -> bool | ssl.SSLContext:
    if isinstance(verify, bool | ssl.SSLContext):
        return verify
    try:
        return ssl.create_default_context(cafile=os.fspath(verify))
    except (OSError, TypeError, ValueError) as error:
        raise InvalidArgument("verify names no readable file of certificates.") from error


def _unusable(error: Exception) -> InvalidArgument:
    return InvalidArgument(
        f"The HTTP client cannot be set up ({type(error).__name__}): check proxy and verify."
    )


def _closed() -> Closed:
    return Closed("This client is closed: make a new one.")


class _Base:
    """What both transports share: how a request of ours becomes one of httpx's."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def _prepare(
        self, request: wire.HTTPRequest, timeout: float, extra: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        if timeout <= 0:
            raise ConnectError(f"No time was left to ask {self.settings.base_url}.", timed_out=True)
        headers = {**request.headers, **(extra or {})}
        if request.body is not None:
            headers["Content-Type"] = "application/json"
        return {
            "method": request.method,
            "url": self.settings.base_url + request.target,
            "content": request.body,
            "headers": headers,
            "timeout": httpx.Timeout(timeout, connect=min(timeout, self.settings.connect_timeout)),
        }

    def _check_size(self, size: int) -> None:
        if size > MAX_ANSWER:
            raise InvalidAnswer(f"The answer from {self.settings.base_url} is too large to take.", status=200)


def _is_plain(response: httpx.Response) -> bool:
    """Whether the body can be read; a compressed one was not asked for, and counts as none."""
    encoding: str = response.headers.get("content-encoding", "identity")
    return encoding == "identity"


def _answer(response: httpx.Response, body: bytes) -> wire.HTTPAnswer:
    return wire.HTTPAnswer(response.status_code, response.headers, body)


def _accept(
    response: httpx.Response, request: wire.HTTPRequest, key: bytes, offered: tuple[str, ...]
) -> tuple[Any, str | None]:
    """The stream below a 101 answer, and the subprotocol chosen."""
    stream = response.extensions.get("network_stream")
    if stream is None:
        raise Unsupported(f"The custom transport gives no stream for {request.operation}.")
    return stream, check_upgrade(response.headers, key, offered)


class Stream:
    """The bytes below a WebSocket. All but `interrupt` belong to one thread.

    `readable_fd` can be waited on for reading, where that tells the truth: a TLS layer inside another, or the
    rest of the handshake's answer, holds data that the system does not know of.
    """

    def __init__(self, stream: Any, response: httpx.Response, url: str) -> None:
        self._stream = stream
        self._response = response
        self._url = url
        sock = stream.get_extra_info("socket")
        self.socket: socket.socket | None = sock if isinstance(sock, socket.socket) else None
        self.hides_data = self.socket is None or isinstance(
            stream.get_extra_info("ssl_object"), ssl.SSLObject
        )

    def read(self, limit: int, timeout: float) -> bytes | None:
        """What has come, at most `limit` bytes; b"" at the end; None when nothing came in time.

        Raises:
            ConnectError: the connection broke.
        """
        try:
            with _translated(self._url):
                data: bytes = self._stream.read(limit, timeout)
        except ConnectError as error:
            if error.timed_out:
                return None
            raise
        return data

    def write(self, data: bytes, timeout: float) -> None:
        """Send all of it.

        Raises:
            ConnectError: the connection broke, or took nothing for `timeout` seconds.
        """
        with _translated(self._url):
            self._stream.write(data, timeout)

    def interrupt(self) -> None:
        """Make a read or write of another thread fail at once."""
        if self.socket is not None:
            with suppress(OSError):
                self.socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Give the connection back to where it came from, which closes it."""
        with suppress(*FOREIGN):
            self._response.close()


class Transport(_Base):
    """The sync way. Threads may share it.

    The deadline of an answer is kept to the next piece of it: a server that sends a byte now and then within
    one header can stretch it.
    """

    def __init__(
        self, settings: Settings, *, verify: Verify, proxy: str | None, transport: CustomTransport | None
    ) -> None:
        super().__init__(settings)
        try:
            self._client = httpx.Client(transport=transport, **_options(settings, verify, proxy))
        except _SET_UP_FAULTS as error:
            raise _unusable(error) from error

    def exchange(self, request: wire.HTTPRequest, timeout: float, track: bool) -> wire.HTTPAnswer:
        """Send one request and read its answer, whatever that says.

        Raises:
            ConnectError: there was no answer, or only a part of one.
            InvalidAnswer: the answer cannot be decoded, or is too large.
            Closed: the client is closed.
        """
        deadline = time.monotonic() + timeout
        tracker = _Tracker()
        options = self._prepare(request, timeout)
        if track:
            options["extensions"] = {"trace": tracker.see}
        with self._open(), _translated(self.settings.base_url, tracker):
            response = self._client.send(self._client.build_request(**options), stream=True)
            try:
                return _answer(response, self._body(response, deadline))
            finally:
                response.close()

    def _body(self, response: httpx.Response, deadline: float) -> bytes:
        body = bytearray()
        if _is_plain(response):
            for chunk in response.iter_raw():
                body += chunk
                self._check_size(len(body))
                if time.monotonic() > deadline:
                    raise TimeoutError
        return bytes(body)

    @contextmanager
    def _open(self) -> Iterator[None]:
        if self._client_is_closed():
            raise _closed()
        try:
            yield
        except RuntimeError as error:
            if self._client_is_closed():  # by another thread, meanwhile
                raise _closed() from error
            raise

    def _client_is_closed(self) -> bool:
        return self._client.is_closed

    def connect(
        self, request: wire.HTTPRequest, subprotocols: tuple[str, ...], timeout: float
    ) -> tuple[Stream, str | None]:
        """Open a WebSocket: its stream, and the subprotocol that the server chose.

        Raises:
            APIError: the server refuses.
            ConnectError, InvalidAnswer, Closed: as for `exchange`.
            Unsupported: the custom transport cannot carry WebSockets.
        """
        deadline = time.monotonic() + timeout
        key = os.urandom(16)
        options = self._prepare(request, timeout, upgrade_headers(key, subprotocols))
        with self._open(), _translated(self.settings.base_url), ExitStack() as undo:
            response = self._client.send(self._client.build_request(**options), stream=True)
            undo.callback(response.close)
            if response.status_code != httpx.codes.SWITCHING_PROTOCOLS:
                raise wire.refusal(request, _answer(response, self._body(response, deadline)))
            stream, chosen = _accept(response, request, key, subprotocols)
            undo.pop_all()
            return Stream(stream, response, self.settings.base_url), chosen

    def perform(self, step: flows.Step) -> Any:
        """Do what a flow asks for, as far as it needs no open channel."""
        match step:
            case flows.Send():
                return self.exchange(step.request, step.timeout, step.track)
            case flows.Pause():
                return time.sleep(step.seconds)
            case _:
                raise TypeError(step)

    def close(self) -> None:
        """Close all connections; closing twice is no fault."""
        self._client.close()


class AsyncStream:
    """The bytes below a WebSocket, on asyncio or trio. One task may read while another writes."""

    def __init__(self, stream: Any, response: httpx.Response, url: str) -> None:
        self._stream = stream
        self._response = response
        self._url = url

    async def read(self, limit: int) -> bytes:
        """What comes next, at most `limit` bytes; b"" at the end.

        Raises:
            ConnectError: the connection broke.
        """
        with _translated(self._url):
            data: bytes = await self._stream.read(limit, None)
            return data

    async def write(self, data: bytes) -> None:
        """Send all of it.

        Raises:
            ConnectError: the connection broke.
        """
        with _translated(self._url):
            await self._stream.write(data, None)

    async def aclose(self) -> None:
        """Give the connection back to where it came from, which closes it."""
        with suppress(*FOREIGN):
            await self._response.aclose()


class AsyncTransport(_Base):
    """The async way, on asyncio or trio. Tasks of one event loop may share it."""

    def __init__(
        self,
        settings: Settings,
        *,
        verify: Verify,
        proxy: str | None,
        transport: AsyncCustomTransport | None,
    ) -> None:
        super().__init__(settings)
        try:
            self._client = httpx.AsyncClient(transport=transport, **_options(settings, verify, proxy))
        except _SET_UP_FAULTS as error:
            raise _unusable(error) from error

    async def exchange(self, request: wire.HTTPRequest, timeout: float, track: bool) -> wire.HTTPAnswer:
        """Send one request and read its answer, whatever that says.

        Raises:
            ConnectError: there was no answer, or only a part of one.
            InvalidAnswer: the answer cannot be decoded, or is too large.
            Closed: the client is closed.
        """
        tracker = _Tracker()
        options = self._prepare(request, timeout)
        if track:
            options["extensions"] = {"trace": tracker.asee}
        async with self._within(timeout, tracker):
            response = await self._client.send(self._client.build_request(**options), stream=True)
            try:
                return _answer(response, await self._body(response))
            finally:
                await response.aclose()

    async def _body(self, response: httpx.Response) -> bytes:
        body = bytearray()
        if _is_plain(response):
            async for chunk in response.aiter_raw():
                body += chunk
                self._check_size(len(body))
        return bytes(body)

    @asynccontextmanager
    async def _within(self, timeout: float, tracker: _Tracker) -> AsyncIterator[None]:
        if self._client_is_closed():
            raise _closed()
        try:
            with _translated(self.settings.base_url, tracker), anyio.fail_after(timeout):
                yield
        except RuntimeError as error:
            if self._client_is_closed():  # by another task, meanwhile
                raise _closed() from error
            raise

    def _client_is_closed(self) -> bool:
        return self._client.is_closed

    async def connect(
        self, request: wire.HTTPRequest, subprotocols: tuple[str, ...], timeout: float
    ) -> tuple[AsyncStream, str | None]:
        """Open a WebSocket: its stream, and the subprotocol that the server chose.

        Raises:
            APIError: the server refuses.
            ConnectError, InvalidAnswer, Closed: as for `exchange`.
            Unsupported: the custom transport cannot carry WebSockets.
        """
        key = os.urandom(16)
        options = self._prepare(request, timeout, upgrade_headers(key, subprotocols))
        async with self._within(timeout, _Tracker()), AsyncExitStack() as undo:
            response = await self._client.send(self._client.build_request(**options), stream=True)
            undo.push_async_callback(response.aclose)
            if response.status_code != httpx.codes.SWITCHING_PROTOCOLS:
                raise wire.refusal(request, _answer(response, await self._body(response)))
            stream, chosen = _accept(response, request, key, subprotocols)
            undo.pop_all()
            return AsyncStream(stream, response, self.settings.base_url), chosen

    async def perform(self, step: flows.Step) -> Any:
        """Do what a flow asks for, as far as it needs no open channel."""
        match step:
            case flows.Send():
                return await self.exchange(step.request, step.timeout, step.track)
            case flows.Pause():
                return await anyio.sleep(step.seconds)
            case _:
                raise TypeError(step)

    async def aclose(self) -> None:
        """Close all connections; closing twice is no fault."""
        await self._client.aclose()
