"""A transport that fails on purpose, for tests of programs that use this library.

    from ecompute.testing import FaultyTransport, LoseAnswer, Nth

    transport = FaultyTransport(LoseAnswer("containers.create", after_bytes=17))
    client = ecompute.Client(token, url, transport=transport)

Each fault says which requests it meets: those of one operation or all, and of these the first, the n-th
(`Nth(3)`), all (`Always()`) or some (`Chance(0.1)`), by the seed. `transport.history` tells what came to
pass, and `repr(transport)` is the line of Python that does it again.

The other side of the wire, a whole server that fails on purpose, is `ecompute_server.testing`.
"""

from __future__ import annotations

import json
import secrets
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Any

import anyio
import httpcore
import httpx

from .contract.problems import PROBLEMS
from .protocol.faults import (
    Always,
    Chance,
    Cutter,
    Delay,
    DropSocket,
    Fault,
    Injected,
    LoseAnswer,
    LoseRequest,
    Nth,
    Occurrence,
    Plan,
    Refuse,
    RefuseConnection,
    TruncateBody,
    WebPage,
)

__all__ = [
    "Always",
    "AsyncFaultyTransport",
    "Chance",
    "Delay",
    "DropSocket",
    "Fault",
    "FaultyTransport",
    "Injected",
    "LoseAnswer",
    "LoseRequest",
    "Nth",
    "Occurrence",
    "Refuse",
    "RefuseConnection",
    "TruncateBody",
    "WebPage",
]

# as the library's own: an idle connection is closed before servers do
_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=20, keepalive_expiry=4.0)
_SWITCHING = httpx.codes.SWITCHING_PROTOCOLS


class _Faulty:
    """What both transports share: the plan, and the answers that it makes."""

    def __init__(self, inner: Any, faults: tuple[Fault, ...], seed: int | None) -> None:
        self._given = inner
        self._plan = Plan(faults, secrets.randbelow(1 << 32) if seed is None else seed)
        self._lock = threading.Lock()

    @property
    def faults(self) -> tuple[Fault, ...]:
        """The faults, in the order in which they are tried."""
        return self._plan.faults

    @property
    def seed(self) -> int:
        """What decides where there is a chance."""
        return self._plan.seed

    @property
    def history(self) -> tuple[Injected, ...]:
        """All that came to pass, in its order."""
        with self._lock:
            return tuple(self._plan.history)

    def __repr__(self) -> str:
        arguments = [*map(repr, self.faults), f"seed={self.seed}"]
        if self._given is not None:
            arguments.append(f"inner={self._given!r}")
        return f"{type(self).__name__}({', '.join(arguments)})"

    def _next(self, request: httpx.Request) -> Fault | None:
        with self._lock:
            return self._plan.next(request.method, request.url.path)


def _fail_before(fault: Fault | None, request: httpx.Request) -> None:
    match fault:
        case RefuseConnection():
            raise httpx.ConnectError("connection refused, by a fault of a test", request=request)
        case LoseRequest():
            raise httpx.WriteError("connection lost, by a fault of a test", request=request)


def _made_up(fault: Refuse | WebPage) -> httpx.Response:
    headers = {}
    if isinstance(fault, WebPage):
        start, end = b"<!DOCTYPE html><html><body><p>", b"</p></body></html>\n"
        body = start + b"x" * (fault.size - len(start) - len(end)) + end
        headers["Content-Type"] = "text/html; charset=utf-8"
    else:
        code = next((str(p.code) for p in PROBLEMS.values() if p.status == fault.status), "unknown")
        body = json.dumps({"error": "This refusal is a fault of a test.", "code": code}).encode()
        headers["Content-Type"] = "application/json"
        if fault.retry_after is not None:
            headers["Retry-After"] = f"{fault.retry_after:g}"
    return httpx.Response(fault.status, headers=headers, content=body)


def _head_size(response: httpx.Response) -> int:
    """Bytes of the answer's head, as HTTP/1.1 writes it."""
    first = f"HTTP/1.1 {response.status_code} {response.reason_phrase}\r\n"
    return len(first) + sum(len(name) + len(value) + 4 for name, value in response.headers.raw) + 2


def _broken(request: httpx.Request) -> httpx.TransportError:
    return httpx.ReadError("connection lost, by a fault of a test", request=request)


class _Torn(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body that ends in a broken connection."""

    def __init__(self, beginning: bytes, error: Exception) -> None:
        self._beginning = beginning
        self._error = error

    def __iter__(self) -> Iterator[bytes]:
        yield self._beginning
        raise self._error

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self:
            yield part


def _cut(
    fault: LoseAnswer | TruncateBody, request: httpx.Request, response: httpx.Response, body: bytes
) -> httpx.Response:
    """The answer as far as the fault lets it come."""
    headers = [(name, value) for name, value in response.headers.raw]
    if isinstance(fault, TruncateBody):
        headers = [
            pair for pair in headers if pair[0].lower() not in (b"content-length", b"transfer-encoding")
        ]
        return httpx.Response(response.status_code, headers=headers, content=body[: fault.after_bytes])
    left = fault.after_bytes - _head_size(response)
    if left < 0:
        raise _broken(request)
    if left >= len(body):
        return httpx.Response(response.status_code, headers=headers, content=body)
    torn = _Torn(body[:left], _broken(request))
    return httpx.Response(response.status_code, headers=headers, stream=torn)


def _cutter(fault: Fault | None, request: httpx.Request, response: httpx.Response) -> Cutter | None:
    """What cuts the WebSocket that this answer opens, if anything does."""
    match fault:
        case DropSocket():
            return Cutter(fault.after_bytes, fault.after_frames)
        case LoseAnswer():
            left = fault.after_bytes - _head_size(response)
            if left < 0:
                raise _broken(request)
            return Cutter(left, None)
        case _:
            return None


def _patience(request: httpx.Request) -> float:
    """Seconds for which a request waits for its answer."""
    timeout = request.extensions.get("timeout", {}).get("read")
    return float("inf") if timeout is None else float(timeout)


def _too_late(request: httpx.Request) -> httpx.TransportError:
    return httpx.ReadTimeout("no answer in time, by a fault of a test", request=request)


def _lost() -> httpcore.ReadError:
    # as the streams below a connection say it
    return httpcore.ReadError("connection lost, by a fault of a test")


class _Stream:
    """The bytes of a WebSocket, which break off where the cutter says."""

    def __init__(self, inner: Any, cutter: Cutter) -> None:
        self._inner = inner
        self._cutter = cutter

    def get_extra_info(self, info: str) -> Any:
        """What the stream below tells of itself."""
        return self._inner.get_extra_info(info)

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """What has come, as far as it may."""
        if self._cutter.is_broken():
            raise _lost()
        data = self._cutter.pass_on(self._inner.read(max_bytes, timeout))
        if self._cutter.is_broken():
            # whoever waits for more is to wake up
            sock = self._inner.get_extra_info("socket")
            if isinstance(sock, socket.socket):
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send it, unless the connection is broken."""
        if self._cutter.is_broken():
            raise _lost()
        self._inner.write(buffer, timeout)

    def close(self) -> None:
        """Close the stream below."""
        self._inner.close()


class _AsyncStream:
    def __init__(self, inner: Any, cutter: Cutter) -> None:
        self._inner = inner
        self._cutter = cutter

    def get_extra_info(self, info: str) -> Any:
        """What the stream below tells of itself."""
        return self._inner.get_extra_info(info)

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """What has come, as far as it may."""
        if self._cutter.is_broken():
            raise _lost()
        return self._cutter.pass_on(await self._inner.read(max_bytes, timeout))

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send it, unless the connection is broken."""
        if self._cutter.is_broken():
            raise _lost()
        await self._inner.write(buffer, timeout)

    async def aclose(self) -> None:
        """Close the stream below."""
        await self._inner.aclose()


class FaultyTransport(_Faulty, httpx.BaseTransport):
    """A way to the network on which things go wrong, for `Client(transport=...)`; threads may share it.

    `inner` is the way below, a plain one over the network unless given; `sleep` is what a `Delay` waits with.
    Without a `seed` one is drawn.

    Raises:
        InvalidArgument: something that is no fault.
    """

    def __init__(
        self,
        *faults: Fault,
        seed: int | None = None,
        inner: httpx.BaseTransport | None = None,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        super().__init__(inner, faults, seed)
        self._inner = inner or httpx.HTTPTransport(limits=_LIMITS)
        self._sleep = sleep

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Answer a request, by the way below or by the fault that is its turn."""
        fault = self._next(request)
        _fail_before(fault, request)
        if isinstance(fault, Delay):
            patience = _patience(request)
            self._sleep(min(fault.seconds, patience))
            if fault.seconds >= patience:
                raise _too_late(request)
        if isinstance(fault, Refuse | WebPage):
            if fault.reached:
                self._take(self._inner.handle_request(request))
            return _made_up(fault)
        response = self._inner.handle_request(request)
        if response.status_code == _SWITCHING:
            return self._upgraded(fault, request, response)
        if isinstance(fault, LoseAnswer | TruncateBody):
            return _cut(fault, request, response, self._take(response))
        return response

    @staticmethod
    def _take(response: httpx.Response) -> bytes:
        assert isinstance(response.stream, httpx.SyncByteStream)
        try:
            return b"" if response.status_code == _SWITCHING else b"".join(response.stream)
        finally:
            response.close()

    @staticmethod
    def _upgraded(fault: Fault | None, request: httpx.Request, response: httpx.Response) -> httpx.Response:
        try:
            cutter = _cutter(fault, request, response)
        except httpx.TransportError:
            response.close()
            raise
        if cutter is not None:
            stream = response.extensions["network_stream"]
            response.extensions["network_stream"] = _Stream(stream, cutter)
        return response

    def close(self) -> None:
        """Close the way below."""
        self._inner.close()


class AsyncFaultyTransport(_Faulty, httpx.AsyncBaseTransport):
    """A way to the network on which things go wrong, for `AsyncClient(transport=...)`.

    `inner` is the way below, a plain one over the network unless given; `sleep` is what a `Delay` waits with.
    Without a `seed` one is drawn.

    Raises:
        InvalidArgument: something that is no fault.
    """

    def __init__(
        self,
        *faults: Fault,
        seed: int | None = None,
        inner: httpx.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[object]] = anyio.sleep,
    ) -> None:
        super().__init__(inner, faults, seed)
        self._inner = inner or httpx.AsyncHTTPTransport(limits=_LIMITS)
        self._sleep = sleep

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer a request, by the way below or by the fault that is its turn."""
        fault = self._next(request)
        _fail_before(fault, request)
        if isinstance(fault, Delay):
            patience = _patience(request)
            await self._sleep(min(fault.seconds, patience))
            if fault.seconds >= patience:
                raise _too_late(request)
        if isinstance(fault, Refuse | WebPage):
            if fault.reached:
                await self._take(await self._inner.handle_async_request(request))
            return _made_up(fault)
        response = await self._inner.handle_async_request(request)
        if response.status_code == _SWITCHING:
            return await self._upgraded(fault, request, response)
        if isinstance(fault, LoseAnswer | TruncateBody):
            return _cut(fault, request, response, await self._take(response))
        return response

    @staticmethod
    async def _take(response: httpx.Response) -> bytes:
        assert isinstance(response.stream, httpx.AsyncByteStream)
        try:
            if response.status_code == _SWITCHING:
                return b""
            return b"".join([part async for part in response.stream])
        finally:
            await response.aclose()

    @staticmethod
    async def _upgraded(
        fault: Fault | None, request: httpx.Request, response: httpx.Response
    ) -> httpx.Response:
        try:
            cutter = _cutter(fault, request, response)
        except httpx.TransportError:
            await response.aclose()
            raise
        if cutter is not None:
            stream = response.extensions["network_stream"]
            response.extensions["network_stream"] = _AsyncStream(stream, cutter)
        return response

    async def aclose(self) -> None:
        """Close the way below."""
        await self._inner.aclose()
