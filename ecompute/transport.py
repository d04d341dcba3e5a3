"""The way to the network, from the core's requests to the pool's (httpcore) and back. `async_transport` is
its twin.

Both do the same two things: exchange one request for one answer, and open a WebSocket on the stream that is
left after a 101 answer, so that pool, proxies, certificates and custom transports serve both. They neither
repeat nor interpret, but for one case: a 401 means that nothing has happened, so that a credential which can
be renewed is, once, and the request sent again. Every exception that can come from below is translated here.

Redirects are not followed, since the credential would travel with them.
"""

from __future__ import annotations

import os
import socket
import ssl
import time
from contextlib import ExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import httpcore

from .carrier import REFUSED, SWITCHING, Carrier, Shared, headers_of, is_plain, stream_below
from .credentials import Token
from .exchange import HTTPAnswer, HTTPRequest
from .foreign import FOREIGN, Tracker, translate
from .late import flows, wire
from .network import end_if_more_came, limit
from .pool import make_pool
from .settings import Settings

if TYPE_CHECKING:
    from .custom import CustomTransport


class Stream:
    """The bytes below a WebSocket. All but `interrupt` belong to one thread.

    `readable_fd` can be waited on for reading, where that tells the truth: a TLS layer inside another, or the
    rest of the handshake's answer, holds data that the system does not know of.
    """

    def __init__(self, stream: Any, response: httpcore.Response, url: str) -> None:
        self._stream = stream
        self._response = response
        self._url = url
        sock = stream.get_extra_info("socket")
        self.socket: socket.socket | None = sock if isinstance(sock, socket.socket) else None
        self.hides_data: bool = self.socket is None or isinstance(
            stream.get_extra_info("ssl_object"), ssl.SSLObject
        )

    def read(self, limit: int, timeout: float) -> bytes | None:
        """What has come, at most `limit` bytes; b"" at the end; None when nothing came in time.

        Raises:
            ConnectError: the connection broke.
        """
        try:
            data: bytes = self._stream.read(limit, timeout)
        except httpcore.TimeoutException:
            return None
        except FOREIGN as error:
            raise translate(error, self._url) from error
        return data

    def write(self, data: bytes, timeout: float) -> None:
        """Send all of it.

        Raises:
            ConnectError: the connection broke, or took nothing for `timeout` seconds.
        """
        try:
            self._stream.write(data, timeout)
        except FOREIGN as error:
            raise translate(error, self._url) from error

    def interrupt(self) -> None:
        """Make a read or write of another thread fail at once."""
        if self.socket is not None:
            with suppress(OSError):
                self.socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Give the connection back to where it came from, which closes it."""
        with suppress(*FOREIGN):
            self._response.close()


class Transport(Carrier):
    """The sync way. Threads may share it."""

    @classmethod
    def open(cls, settings: Settings, transport: CustomTransport | None = None) -> Self:
        """A way with connections of its own.

        Raises:
            InvalidArgument: certificates or proxy are of no use.
        """
        if transport is None:
            return cls(settings, Shared(partial(make_pool, settings)))
        from .custom import CustomPool

        return cls(settings, Shared(partial(CustomPool, transport)))

    def exchange(
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
        token = self._token(timeout)
        answer = self._exchange(request, token, deadline, track)
        if answer.status == REFUSED and (again := self._renewed(request, token, deadline)) is not None:
            if repeated is not None:
                repeated(answer)
            answer = self._exchange(request, again, deadline, track)
        return answer

    def _exchange(
        self, request: HTTPRequest, token: Token | None, deadline: float, track: bool
    ) -> HTTPAnswer:
        extensions = self._limits(deadline)
        tracker = None
        if track:
            tracker = Tracker()
            extensions["trace"] = tracker.see
        message = self._message(request, token, extensions)
        try:
            response = self._shared.pool.handle_request(message)
            try:
                return self._answer(response, deadline)
            finally:
                response.close()
        except FOREIGN as error:
            raise translate(error, self.settings.base_url, tracker) from error
        finally:
            self._tidy()

    def _limits(self, deadline: float) -> dict[str, Any]:
        settings = self.settings
        left = deadline - time.monotonic()
        whole = limit(left, deadline)
        read, write = settings.read_timeout, settings.write_timeout
        return {
            "timeout": {
                "connect": limit(min(left, settings.connect_timeout), deadline),
                "read": whole if read is None else limit(min(left, read), deadline),
                "write": whole if write is None else limit(min(left, write), deadline),
                "pool": whole,
            }
        }

    def _token(self, timeout: float) -> Token | None:
        credential = self._credential
        return None if credential is None else credential.ready() or credential.get(timeout)

    def _renewed(self, request: HTTPRequest, refused: Token | None, deadline: float) -> Token | None:
        """Another token than the refused one, if there is one in time."""
        credential = self._credential
        if credential is None or refused is None or not self._renewable(request):
            return None
        found = credential.renew(refused, deadline - time.monotonic())
        return found if time.monotonic() < deadline else None

    def _answer(self, response: httpcore.Response, deadline: float) -> HTTPAnswer:
        headers = headers_of(response)
        body = self._body(response.stream, deadline) if is_plain(headers) else b""
        end_if_more_came(response)
        return HTTPAnswer(response.status, headers, body)

    def _body(self, chunks: Any, deadline: float) -> bytes:
        parts: list[bytes] = []
        size = 0
        try:
            for part in chunks:
                parts.append(part)
                size += len(part)
                if self._is_too_large(size):
                    raise self._too_large()
                # custom transports may know no deadline
                if time.monotonic() > deadline:
                    raise TimeoutError
            return b"".join(parts)
        finally:
            parts, part = [], b""  # it may hold a new token, and a traceback may show it

    def _tidy(self) -> None:
        # closed by another thread meanwhile: a pool that is used after its close opens connections again
        if self._shared.closed:
            with suppress(*FOREIGN):
                self._shared.pool.close()

    def connect(
        self,
        request: HTTPRequest,
        subprotocols: tuple[str, ...],
        timeout: float,
        repeated: flows.Repeated | None = None,
    ) -> tuple[Stream, str | None]:
        """Open a WebSocket: its stream, and the subprotocol that the server chose. `repeated` is as for
        `exchange`.

        Raises:
            APIError: the server refuses.
            ConnectError, InvalidAnswer, InvalidArgument, Closed: as for `exchange`.
            Unsupported: the custom transport cannot carry WebSockets.
        """
        deadline = time.monotonic() + timeout
        self._check_open(timeout)
        token = self._token(timeout)
        opened = self._connect(request, token, subprotocols, deadline)
        if isinstance(opened, HTTPAnswer) and opened.status == REFUSED:
            again = self._renewed(request, token, deadline)
            if again is not None:
                if repeated is not None:
                    repeated(opened)
                opened = self._connect(request, again, subprotocols, deadline)
        if isinstance(opened, HTTPAnswer):
            raise wire.refusal(request, opened)
        return opened

    def _connect(
        self, request: HTTPRequest, token: Token | None, subprotocols: tuple[str, ...], deadline: float
    ) -> tuple[Stream, str | None] | HTTPAnswer:
        from .protocol.websocket import check_upgrade, upgrade_headers

        key = os.urandom(16)
        message = self._message(request, token, self._limits(deadline), upgrade_headers(key, subprotocols))
        try:
            with ExitStack() as undo:
                response = self._shared.pool.handle_request(message)
                undo.callback(response.close)
                if response.status != SWITCHING:
                    return self._answer(response, deadline)
                stream = stream_below(response, request)
                chosen = check_upgrade(headers_of(response), key, subprotocols)
                undo.pop_all()
                return Stream(stream, response, self.settings.base_url), chosen
        except FOREIGN as error:
            raise translate(error, self.settings.base_url) from error
        finally:
            self._tidy()

    def perform(self, step: flows.Step) -> Any:
        """Do what a flow asks for, as far as it needs no open channel."""
        match step:
            case flows.Send():
                return self.exchange(step.request, step.timeout, step.track, step.repeated)
            case flows.Pause():
                return time.sleep(step.seconds)
            case _:
                raise TypeError(step)

    def close(self) -> None:
        """Close all connections; closing twice is no fault."""
        self._closed = True
        if not self._derived:
            self._shared.closed = True
            with suppress(*FOREIGN):
                self._shared.pool.close()
