"""Transports of the caller's own: httpx's, behind the face of a pool. The only module that knows httpx.

Such a transport keeps the time limits that it is given by itself, or not.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpcore
import httpx

from .errors import InvalidAnswer

_log = logging.getLogger("ecompute")

CustomTransport = httpx.BaseTransport
AsyncCustomTransport = httpx.AsyncBaseTransport

_UNREADABLE = (httpx.DecodingError, httpx.TooManyRedirects)
_NO_ADDRESS = (httpx.UnsupportedProtocol, httpx.InvalidURL)
_OF_HTTPX = (httpx.HTTPError, httpx.InvalidURL, httpx.CookieConflict, httpx.StreamError)


def _renamed(error: Exception) -> Exception:
    """The same as the pool's libraries name it; what has no name there is a broken connection."""
    if isinstance(error, _UNREADABLE):
        return InvalidAnswer("The answer cannot be decoded.", status=200)
    if isinstance(error, _NO_ADDRESS):
        return httpcore.UnsupportedProtocol()
    named = getattr(httpcore, type(error).__name__, httpcore.NetworkError)
    made: Exception = named()
    return made


def _tell(error: Exception) -> None:
    # nobody could do anything about it, and it would hide what the caller was raising
    _log.warning("The custom transport could not be closed: it raised %s.", type(error).__name__)


def _request(message: httpcore.Request) -> httpx.Request:
    url = message.url
    host = url.host.decode("ascii")
    return httpx.Request(
        message.method.decode("ascii"),
        httpx.URL(
            scheme=url.scheme.decode("ascii"),
            host=f"[{host}]" if ":" in host else host,
            port=url.port,
            raw_path=url.target,
        ),
        headers=message.headers,
        # its bytes are known, whatever kind of stream a transport expects
        content=b"".join(message.stream),  # type: ignore[arg-type]
        extensions=message.extensions,
    )


def _response(response: httpx.Response, stream: Any) -> httpcore.Response:
    return httpcore.Response(
        response.status_code, headers=response.headers.raw, content=stream, extensions=response.extensions
    )


class _Body:
    def __init__(self, stream: httpx.SyncByteStream) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._stream
        except _OF_HTTPX as error:
            raise _renamed(error) from error

    def close(self) -> None:
        self._stream.close()


class CustomPool:
    """A sync transport as a pool."""

    def __init__(self, transport: CustomTransport) -> None:
        self._transport = transport
        self._closed = False

    def handle_request(self, message: httpcore.Request) -> httpcore.Response:
        """Send a request; its answer is still to be read and closed."""
        try:
            response = self._transport.handle_request(_request(message))
        except _OF_HTTPX as error:
            raise _renamed(error) from error
        return _response(response, _Body(response.stream))  # type: ignore[arg-type]

    def close(self) -> None:
        """Close the transport, once."""
        if not self._closed:
            self._closed = True
            try:
                self._transport.close()
            except Exception as error:
                _tell(error)


class _AsyncBody:
    def __init__(self, stream: httpx.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._stream:
                yield chunk
        except _OF_HTTPX as error:
            raise _renamed(error) from error

    async def aclose(self) -> None:
        await self._stream.aclose()


class AsyncCustomPool:
    """An async transport as a pool."""

    def __init__(self, transport: AsyncCustomTransport) -> None:
        self._transport = transport
        self._closed = False

    async def handle_async_request(self, message: httpcore.Request) -> httpcore.Response:
        """Send a request; its answer is still to be read and closed."""
        try:
            response = await self._transport.handle_async_request(_request(message))
        except _OF_HTTPX as error:
            raise _renamed(error) from error
        return _response(response, _AsyncBody(response.stream))  # type: ignore[arg-type]

    async def aclose(self) -> None:
        """Close the transport, once."""
        if not self._closed:
            self._closed = True
            try:
                await self._transport.aclose()
            except Exception as error:
                _tell(error)
