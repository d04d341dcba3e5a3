"""The clients' sockets, below the pool.

Those of the sync client end each read and each write with the call's deadline. The pool hands one time limit
to every read of an answer, so that a server which sends a byte now and then could stretch an answer for ever.
A `Limit` is such a number that also knows the moment at which all is over; the stream looks at that.

The name of a host is resolved by the system, in its own time.

A connection on which more came than its answer must not be used again, since the rest would pass for the
answer to the next request. The pool asks a stream that is idle whether it can be read, which means to it that
the other side has ended it; one that holds such a rest says so too.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterable
from typing import Any

import anyio
import httpcore

# as much as asyncio reads at a time: of less, the rest would lie where nobody sees it
_WHOLE = 256 * 1024
# a system's buffer has room for as much once it says that it has any
_PIECE = 8 * 1024


class Limit(float):
    """Seconds for one step, within a whole that ends at the moment `until` of the monotonic clock."""

    __slots__ = ("until",)
    until: float


def limit(seconds: float, until: float) -> Limit:
    """At most so many seconds, and none after `until`."""
    made = Limit(seconds)
    made.until = until
    return made


def _left(timeout: float | None, late: type[Exception]) -> float | None:
    if type(timeout) is not Limit:
        return timeout
    left = timeout.until - time.monotonic()
    if left <= 0:
        raise late("The deadline has passed.")
    return left if left < timeout else timeout


class BoundedStream(httpcore.NetworkStream):
    """A stream that keeps `Limit`s. Plain numbers mean what they always do."""

    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream
        self._spoilt = False

    def spoil(self) -> None:
        """Have it closed rather than used again."""
        self._spoilt = True

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """What comes next."""
        return self._stream.read(max_bytes, _left(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send all of it."""
        try:
            for start in range(0, len(buffer), _PIECE):
                self._stream.write(buffer[start : start + _PIECE], _left(timeout, httpcore.WriteTimeout))
        finally:
            del buffer  # it holds credentials, and a traceback may show it

    def close(self) -> None:
        """End the connection."""
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        """The same with TLS on top."""
        left = _left(timeout, httpcore.ConnectTimeout)
        return BoundedStream(self._stream.start_tls(ssl_context, server_hostname, left))

    def get_extra_info(self, info: str) -> Any:
        """What the stream below knows."""
        return (info == "is_readable" and self._spoilt) or self._stream.get_extra_info(info)


class BoundedBackend(httpcore.SyncBackend):
    """Opens such streams."""

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """A connection to the first address of the host that answers."""
        failure: Exception | None = None
        for address in _addresses(host, port):
            try:
                left = _left(timeout, httpcore.ConnectTimeout)
                stream = super().connect_tcp(address, port, left, local_address, socket_options)
                return BoundedStream(stream)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure or httpcore.ConnectError("The name has no address.")


def _addresses(host: str, port: int) -> list[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise httpcore.ConnectError(str(error)) from error
    # a link-local address has its interface in the name already; the same one may come twice
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class ClosingStream(httpcore.AsyncNetworkStream):
    """A stream of the async client. One whose TLS is cancelled while it begins would be left open else."""

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream
        self._spoilt = False

    def spoil(self) -> None:
        """Have it closed rather than used again."""
        self._spoilt = True

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """What comes next, which may be more than asked for."""
        return await self._stream.read(max(max_bytes, _WHOLE), timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send all of it."""
        try:
            await self._stream.write(buffer, timeout)
        finally:
            del buffer  # it holds credentials, and a traceback may show it

    async def aclose(self) -> None:
        """End the connection."""
        await self._stream.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        """The same with TLS on top."""
        try:
            return ClosingStream(await self._stream.start_tls(ssl_context, server_hostname, timeout))
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self._stream.aclose()
            raise

    def get_extra_info(self, info: str) -> Any:
        """What the stream below knows."""
        return (info == "is_readable" and self._spoilt) or self._stream.get_extra_info(info)


class ClosingBackend(httpcore.AnyIOBackend):
    """Opens such streams, on asyncio and trio."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """A connection to the first address of the host that answers."""
        # the base has another face where anyio is missing
        connect = super().connect_tcp  # pyright: ignore[reportAttributeAccessIssue]
        return ClosingStream(await connect(host, port, timeout, local_address, socket_options))


def end_if_more_came(response: httpcore.Response) -> None:
    """Have the connection of an answer that was read closed, when there is more on it."""
    stream = response.extensions.get("network_stream")
    if isinstance(stream, BoundedStream | ClosingStream) and (_parser_has(response) or _tls_has(stream)):
        stream.spoil()


def _parser_has(response: httpcore.Response) -> bool:
    body: Any = response.stream
    try:
        rest, _ = body._stream._connection._h11_state.trailing_data
    except AttributeError:
        return True  # another make of pool, whose rest cannot be seen
    return bool(rest)


def _tls_has(stream: BoundedStream | ClosingStream) -> bool:
    tls = stream.get_extra_info("ssl_object")
    if not isinstance(tls, ssl.SSLObject):
        return False  # what the system's socket holds is seen by the pool
    try:
        # what is taken here is missed by nobody, since the connection ends
        tls.read(1)
    except ssl.SSLWantReadError:
        return False
    except ssl.SSLError:
        pass
    return True
