"""Plain HTTP to the tested server: everything goes through here, counted, paced and written down."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import httpx
from attrs import field, frozen

from ecompute.contract import codec
from ecompute.contract.problems import InvalidFields

from .connections import FAILURES, Connections, Sending
from .target import Target
from .verdict import CannotTest, Lost

NOTHING: Mapping[str, str] = {}

# what can be unpacked within bounds
_HEADERS = {"Accept-Encoding": "gzip, deflate"}


@frozen
class Answer:
    """What a server has answered; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    content: bytes = field(repr=False)
    all_headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    @cached_property
    def json(self) -> Any:
        """The decoded body; None where it is no JSON."""
        try:
            return codec.load_answer(self.content)
        except InvalidFields:
            return None

    @property
    def body(self) -> dict[str, Any]:
        """The JSON object in the body; empty where there is none."""
        return self.json if isinstance(self.json, dict) else {}

    @property
    def code(self) -> str:
        """The machine word of an error."""
        return str(self.body.get("code", ""))

    def __str__(self) -> str:
        shown = self.content[:300].decode("utf-8", "replace")
        return f"{self.status} {shown}" if shown else f"{self.status} without a body"


class Pace:
    """No more than so many requests in a second, evenly. Threads may share it."""

    def __init__(self, rate: float | None) -> None:
        self._interval = 0.0 if rate is None else 1.0 / rate
        self._lock = threading.Lock()
        self._next = 0.0

    def wait(self) -> None:
        """Wait for one's turn."""
        if not self._interval:
            return
        with self._lock:
            now = time.monotonic()
            turn = max(now, self._next)
            self._next = turn + self._interval
        if turn > now:
            time.sleep(turn - now)


class Wire:
    """Connections to one server. Threads may share it."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.pace: Pace = Pace(target.rate)
        self.count: int = 0
        try:
            base = httpx.URL(target.url)
        except (httpx.InvalidURL, UnicodeError):
            raise CannotTest(no_url(target)) from None
        if base.scheme not in ("http", "https") or not base.host:
            raise CannotTest(no_url(target))
        # it writes requests, and sends none: it would follow what the environment says, and keep cookies
        self._writer = httpx.Client(base_url=base, headers=_HEADERS, verify=False, trust_env=False)
        self._connections = Connections(self.context if base.scheme == "https" else None, target.timeout)

    @cached_property
    def context(self) -> ssl.SSLContext:
        """What certificates are checked against."""
        verify = self.target.verify
        try:
            context = ssl.create_default_context(cafile=verify if isinstance(verify, str) else None)
        except (OSError, ValueError) as error:
            raise CannotTest(f"The file of authorities {verify} cannot be used: {error}.") from None
        if verify is False:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    def turn(self) -> None:
        """Wait until a request may go out, and count it."""
        self.pace.wait()
        self.count += 1

    def close(self) -> None:
        """Close all connections."""
        self._connections.close()
        self._writer.close()

    def send(
        self,
        method: str,
        path: str,
        *,
        token: str | None = None,
        body: Any = None,
        content: bytes | None = None,
        headers: Mapping[str, str] = NOTHING,
    ) -> Answer:
        """One exchange. `body` is sent as JSON, `content` as it is.

        Raises:
            Lost: there was no answer.
        """
        self.turn()
        sent = dict(headers)
        if token is not None:
            sent.setdefault("Authorization", f"Bearer {token}")
        if body is not None:
            content = codec.dump_json(body)
            sent.setdefault("Content-Type", "application/json")
        try:
            request = self._writer.build_request(method, path, headers=sent, content=content)
        except (httpx.InvalidURL, UnicodeError):
            raise Lost(f"The request {method} {path[:200]!r} cannot be written.") from None
        try:
            status, raw, received = self._connections.exchange(
                Sending(
                    method.encode(),
                    request.url.raw_scheme,
                    request.url.raw_host,
                    request.url.port,
                    request.url.raw_path,
                    request.headers.raw,
                    content or b"",
                )
            )
        except FAILURES as error:
            raise Lost(_told(self.target.shown, error)) from error
        pairs = tuple((name.lower(), value) for name, value in httpx.Headers(raw).multi_items())
        return Answer(status, dict(pairs), received, pairs)


def no_url(target: Target) -> str:
    """What is said of a URL that leads nowhere."""
    return f"{target.shown!r} is no URL of a server, which begins with http:// or https://."


def _told(url: str, error: Exception) -> str:
    said = str(error) or type(error).__name__
    if isinstance(error, UnicodeError) or type(error).__name__ == "ConnectError":
        return f"Nothing answers at {url}: {said}. Is the server running, and the URL right?"
    if type(error).__name__.endswith("Timeout"):
        return f"The server at {url} did not answer in time; --timeout allows it more."
    return f"The server at {url} broke off: {said}."
