"""What both transports share: how a request of ours becomes one of the pool's, and its answer one of ours."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self
from urllib.parse import quote, urlsplit

import httpcore

from .credentials import Token
from .errors import Closed, ConnectError, InvalidAnswer, InvalidArgument, Unsupported
from .exchange import HTTPRequest
from .late import endpoints
from .secret import Secret
from .settings import Settings

REFUSED = 401
SWITCHING = 101

MAX_ANSWER = 64 * 1024 * 1024
"""Bytes of one answer: far above a list of 10,000 containers, which has about five million."""


class Shared:
    """What a client shares with those derived from it: the pool, and whether it is closed.

    A process that was forked off gets a pool of its own, since both would talk over the same sockets: each
    would read answers that are meant for the other.
    """

    def __init__(self, make: Callable[[], Any]) -> None:
        self.pool: Any = make()
        self.closed = False
        self._make = make
        self._process = os.getpid()

    def check(self) -> None:
        """Notice a fork."""
        if os.getpid() != self._process:
            # the old pool's sockets are closed here when it goes, and stay open over there
            self._renew()
            self._process = os.getpid()

    def _renew(self) -> None:
        self.pool = self._make()


class Carrier:
    """What both transports share: how a request of ours becomes one of the pool's."""

    def __init__(self, settings: Settings, shared: Shared, *, derived: bool = False) -> None:
        self.settings = settings
        self._shared = shared
        self._derived = derived
        self._closed = False
        self._credential = settings.credential
        url = urlsplit(settings.base_url)
        host = _ascii(url.hostname or "")
        self._scheme, self._host, self._port = url.scheme.encode(), host, url.port
        self._path = quote(url.path, safe="/%:@!$&'()*+,;=~-._").encode()
        shown = b"[%b]" % host if b":" in host else host
        self._headers = [
            (b"Host", shown if url.port is None else b"%b:%d" % (shown, url.port)),
            (b"User-Agent", settings.user_agent.encode()),
            (b"Accept", b"application/json"),
            # what arrives is bounded, and must not grow on this side
            (b"Accept-Encoding", b"identity"),
        ]

    def derive(self, settings: Settings) -> Self:
        """Another way over the same connections. Closing it leaves them to the others."""
        made = type(self)(settings, self._shared, derived=True)
        made._closed = self._closed
        return made

    def _message(
        self,
        request: HTTPRequest,
        token: Token | None,
        extensions: dict[str, Any],
        more: Mapping[str, str] | None = None,
    ) -> httpcore.Request:
        headers = self._headers.copy()
        if token is not None:
            headers.append((b"Authorization", Secret(token.bearer)))
        for name, value in (*request.headers.items(), *(more or {}).items()):
            headers.append((name.encode("ascii"), value.encode("ascii")))
        if request.body is not None:
            headers.append((b"Content-Type", b"application/json"))
        if request.body is not None or request.method in ("POST", "PUT"):
            headers.append((b"Content-Length", b"%d" % len(request.body or b"")))
        return httpcore.Request(
            request.method.encode("ascii"),
            httpcore.URL(
                scheme=self._scheme,
                host=self._host,
                port=self._port,
                target=self._path + request.target.encode("ascii"),
            ),
            headers=headers,
            content=_Body(request.body or b""),
            extensions=extensions,
        )

    def _check_open(self, timeout: float) -> None:
        if self._is_closed:
            raise Closed("This client is closed: make a new one.")
        if timeout <= 0:
            raise ConnectError(f"No time was left to ask {self.settings.base_url}.", timed_out=True)
        self._shared.check()

    @property
    def _is_closed(self) -> bool:
        return self._closed or self._shared.closed

    def _renewable(self, request: HTTPRequest) -> bool:
        # a session that is gone has logged out; a new one would be begun to be ended
        return (
            self._credential is not None
            and self._credential.renewable
            and request.target != endpoints.LOG_OUT.path
        )

    @staticmethod
    def _is_too_large(size: int) -> bool:
        return size > MAX_ANSWER

    def _too_large(self) -> InvalidAnswer:
        return InvalidAnswer(f"The answer from {self.settings.base_url} is too large to take.", status=200)


class _Body:
    """The bytes of a request, for both kinds of pools. No generators: a cancelled call would leave one that
    trio has to finish.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __iter__(self) -> Iterator[bytes]:
        return iter((self._data,))

    def __aiter__(self) -> _AsyncBody:
        return _AsyncBody(self._data)


class _AsyncBody:
    def __init__(self, data: bytes) -> None:
        self._left: bytes | None = data

    def __aiter__(self) -> _AsyncBody:
        return self

    async def __anext__(self) -> bytes:
        if self._left is None:
            raise StopAsyncIteration
        data, self._left = self._left, None
        return data


def _ascii(host: str) -> bytes:
    if host.isascii():
        return host.encode("ascii")
    import idna

    try:
        return idna.encode(host, uts46=True)
    except idna.IDNAError:
        raise InvalidArgument("base_url must be an address like https://compute.example.org.") from None


def headers_of(response: httpcore.Response) -> dict[str, str]:
    """The headers of an answer, names in lower case, repeated ones joined (RFC 9110, 5.3)."""
    found: dict[str, str] = {}
    for raw_name, raw_value in response.headers:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


def is_plain(headers: Mapping[str, str]) -> bool:
    """Whether the body can be read; a compressed one was not asked for, and counts as none."""
    return headers.get("content-encoding", "identity") == "identity"


def stream_below(response: httpcore.Response, request: HTTPRequest) -> Any:
    """The stream that is left after a 101 answer."""
    stream = response.extensions.get("network_stream")
    if stream is None:
        raise Unsupported(f"The custom transport gives no stream for {request.operation}.")
    return stream
