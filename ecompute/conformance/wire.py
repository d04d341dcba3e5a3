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

from .target import Target
from .verdict import CannotTest, Lost

NOTHING: Mapping[str, str] = {}


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
        except httpx.InvalidURL as error:
            raise CannotTest(_told(target.url, error)) from None
        self._http = httpx.Client(
            base_url=base,
            timeout=target.timeout,
            verify=self.context if target.url.startswith("https:") else False,
            # a restart or an attack must not be felt by who comes later
            limits=httpx.Limits(max_keepalive_connections=20, keepalive_expiry=2.0),
            follow_redirects=False,
            # what a variable of the environment names is not what was asked to be tested
            trust_env=False,
        )

    @cached_property
    def context(self) -> ssl.SSLContext:
        """What certificates are checked against."""
        verify = self.target.verify
        try:
            context = ssl.create_default_context(cafile=verify if isinstance(verify, str) else None)
        except (OSError, ssl.SSLError) as error:
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
        self._http.close()

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
            response = self._http.request(method, path, headers=sent, content=content)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Lost(_told(self.target.url, error)) from error
        pairs = tuple((name.lower(), value) for name, value in response.headers.multi_items())
        return Answer(response.status_code, dict(pairs), response.content, pairs)


def _told(url: str, error: Exception) -> str:
    if isinstance(error, httpx.ConnectError):
        return f"Nothing answers at {url}: {error}. Is the server running, and the URL right?"
    if isinstance(error, httpx.TimeoutException):
        return f"The server at {url} did not answer in time; --timeout allows it more."
    if isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol):
        return f"{url!r} is no URL of a server, which begins with http:// or https://."
    return f"The server at {url} broke off: {error or type(error).__name__}."
