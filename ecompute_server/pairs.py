"""WebSockets of clients over a pair of connected sockets, for servers in the same process."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from typing import Any

import anyio
import anyio.lowlevel
import h11
import httpcore
import httpx

_PIECE = 64 * 1024


def handshake(request: httpx.Request, connection: socket.socket) -> httpx.Response:
    """Send an upgrade request and read its answer, behind which the stream goes on."""
    framing = h11.Connection(h11.CLIENT)
    headers = [(name, value) for name, value in request.headers.raw]
    asked = h11.Request(method=request.method, target=request.url.raw_path, headers=headers)
    connection.settimeout(request.extensions.get("timeout", {}).get("read"))
    connection.sendall((framing.send(asked) or b"") + (framing.send(h11.EndOfMessage()) or b""))
    body = b""
    answer: h11.InformationalResponse | h11.Response | None = None
    try:
        while True:
            event = framing.next_event()
            match event:
                case h11.NEED_DATA:
                    framing.receive_data(connection.recv(_PIECE))
                case h11.InformationalResponse(status_code=101):
                    stream = PairStream(connection, framing.trailing_data[0])
                    return upgraded(event.headers.raw_items(), stream)
                case h11.Response():
                    answer = event
                case h11.Data():
                    body += event.data
                case _:
                    break
    except TimeoutError:
        raise httpx.ReadTimeout("The answer takes too long.", request=request) from None
    except h11.RemoteProtocolError as error:
        raise httpx.RemoteProtocolError(str(error), request=request) from None
    connection.close()
    if answer is None:
        raise httpx.RemoteProtocolError("There was no answer.", request=request)
    return httpx.Response(answer.status_code, headers=answer.headers.raw_items(), content=body)


def upgraded(headers: Sequence[tuple[bytes, bytes]], stream: PairStream | AsyncPairStream) -> httpx.Response:
    return httpx.Response(101, headers=headers, stream=Nothing(stream), extensions={"network_stream": stream})


class Nothing(httpx.SyncByteStream, httpx.AsyncByteStream):
    """The body of an upgraded connection; closing it ends that."""

    def __init__(self, stream: PairStream | AsyncPairStream) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        return iter(())

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self:
            yield piece

    def close(self) -> None:
        """End the connection."""
        if isinstance(self._stream, PairStream):
            self._stream.close()

    async def aclose(self) -> None:
        """End the connection."""
        if isinstance(self._stream, AsyncPairStream):
            await self._stream.aclose()


class PairStream(httpcore.NetworkStream):
    """One end of a pair of sockets."""

    def __init__(self, connection: socket.socket, unread: bytes) -> None:
        self._connection = connection
        self._unread = unread

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """What comes next."""
        if self._unread:
            data, self._unread = self._unread[:max_bytes], self._unread[max_bytes:]
            return data
        self._connection.settimeout(timeout)
        try:
            return self._connection.recv(max_bytes)
        except TimeoutError as error:
            raise httpcore.ReadTimeout(str(error)) from None
        except OSError as error:
            raise httpcore.ReadError(str(error)) from None

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send all of it."""
        self._connection.settimeout(timeout)
        try:
            self._connection.sendall(buffer)
        except TimeoutError as error:
            raise httpcore.WriteTimeout(str(error)) from None
        except OSError as error:
            raise httpcore.WriteError(str(error)) from None

    def close(self) -> None:
        """End the connection."""
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()

    def taken(self) -> tuple[socket.socket, bytes]:
        """The socket, and what was read of it, for another stream."""
        return self._connection, self._unread

    def get_extra_info(self, info: str) -> Any:
        """The socket, so that it can be waited for."""
        return self._connection if info == "socket" else None


class AsyncPairStream(httpcore.AsyncNetworkStream):
    """Its twin for asyncio and trio."""

    def __init__(self, stream: PairStream) -> None:
        self._connection, self._unread = stream.taken()
        self._connection.setblocking(False)

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """What comes next."""
        if self._unread:
            data, self._unread = self._unread[:max_bytes], self._unread[max_bytes:]
            return data
        try:
            with anyio.fail_after(timeout):
                while True:
                    try:
                        received: bytes = self._connection.recv(max_bytes)
                        await anyio.lowlevel.checkpoint()
                        return received
                    except BlockingIOError:
                        await anyio.wait_readable(self._connection)
        except TimeoutError as error:
            raise httpcore.ReadTimeout(str(error)) from None
        except (OSError, anyio.ClosedResourceError, anyio.BusyResourceError) as error:
            raise httpcore.ReadError(str(error)) from None

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send all of it."""
        left = memoryview(buffer)
        try:
            with anyio.fail_after(timeout):
                await anyio.lowlevel.checkpoint()
                while left:
                    try:
                        left = left[self._connection.send(left) :]
                    except BlockingIOError:
                        await anyio.wait_writable(self._connection)
        except TimeoutError as error:
            raise httpcore.WriteTimeout(str(error)) from None
        except (OSError, anyio.ClosedResourceError, anyio.BusyResourceError) as error:
            raise httpcore.WriteError(str(error)) from None

    async def aclose(self) -> None:
        """End the connection."""
        with suppress(OSError):
            anyio.notify_closing(self._connection)
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()

    def get_extra_info(self, info: str) -> Any:
        """The socket."""
        return self._connection if info == "socket" else None
