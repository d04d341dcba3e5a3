"""What proves who asks: a token, or a way to get one.

A token is held in a `Token`, which shows nothing of itself, so that no repr, log or traceback with local
variables can tell it. Nothing here knows HTTP, beyond the form of the header.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Callable
from datetime import datetime
from math import isfinite
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit

from .errors import ConnectError, Error, InvalidArgument, MissingToken, is_token, seconds

if TYPE_CHECKING:
    from .helper import Words

_log = logging.getLogger("ecompute")

HELPER_WITHIN = 30.0
"""Seconds that a credential helper has."""

_EXPIRES_EARLY = 10.0
"""Seconds before its end from which on a token is not sent any more: it must arrive while it is good."""

TokenSource = Callable[[], str]
"""A function that gives a token; it is called when one is first needed, and again when it is refused."""


class Token:
    """A bearer token (RFC 6750), which shows itself in no repr and does not pickle. `expires_at` is in
    seconds since the epoch, None where that is not known.
    """

    __slots__ = ("_bearer", "_text", "expires_at")

    def __init__(self, text: str, expires_at: float | None = None) -> None:
        self._text = text
        self._bearer = f"Bearer {text}".encode("ascii")
        self.expires_at: float | None = expires_at

    def reveal(self) -> str:
        """The token itself."""
        return self._text

    @property
    def bearer(self) -> bytes:
        """The value of the header `Authorization`."""
        return self._bearer

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Token) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return "Token(…)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("A token is not pickled.")


NO_TOKEN = Token("")
"""Stands for a text that can be no token, until that can be told without showing it."""


def token_of(text: object, expires_at: float | None = None) -> Token | None:
    """A token, or None when the text can be none: it would end up in the error of a header.

    Files and command substitutions leave a line end, which is cut.
    """
    stripped = text.strip() if isinstance(text, str) else ""
    if not stripped or not all("!" <= c <= "~" for c in stripped):
        return None
    return Token(stripped, expires_at)


def holds_secret(address: str) -> bool:
    """Whether a text that should be an address holds what may be a password, or looks like a token."""
    try:
        return is_token(address) or "@" in urlsplit(address).netloc
    except ValueError:
        return True


def shown_address(address: object) -> str:
    """The repr of an address that may be anything, without secrets."""
    return "'…'" if isinstance(address, str) and holds_secret(address) else repr(address)


class Credential:
    """The token of a client, and how to get a new one. Threads may share it.

    `source` is told how many seconds it has, and gives a token; without one, `token` is all there is.
    """

    def __init__(
        self,
        token: Token | None = None,
        source: Callable[[float], Token] | None = None,
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._token = token
        self._source = source
        self._now = now
        self._lock = threading.Lock()
        self._process = os.getpid()

    @property
    def renewable(self) -> bool:
        """Whether another token can be had when this one is refused."""
        return self._source is not None

    def ready(self) -> Token | None:
        """The token, if there is one at hand that is still good."""
        token = self._token
        if token is None or token.expires_at is None or self._source is None:
            return token
        return token if self._now() < token.expires_at - _EXPIRES_EARLY else None

    def get(self, within: float) -> Token:
        """A token, which may take `within` seconds.

        One that has expired is still given when no other can be had: what it is good for is the server's to
        say.

        Raises:
            InvalidArgument: the credential helper gives none.
            ConnectError: there was no time for it.
        """
        with _Held(self._own_lock(), within) as left:
            return self.ready() or self._ask(left)

    def renew(self, refused: Token, within: float) -> Token | None:
        """Another token than the one refused, or None when there is none."""
        if self._source is None:
            return None
        try:
            with _Held(self._own_lock(), within) as left:
                if self._token == refused:
                    self._ask(left)
                token = self._token
        except Error:
            return None
        return None if token == refused else token

    def _own_lock(self) -> threading.Lock:
        # who held it when this process was forked off is not here
        if self._process != os.getpid():
            self._lock, self._process = threading.Lock(), os.getpid()
        return self._lock

    def _ask(self, within: float) -> Token:
        if self._source is None:
            raise MissingToken("No token is known.")
        try:
            self._token = self._source(within)
        except Error as error:
            if self._token is None:
                raise
            # the server's word on the old one tells more of what has happened than this
            _log.warning("There is no new token: %s", error)
        return self._token


class _Held:
    """One asks, all others wait for what it gets, as long as they have time; entering gives what is left."""

    def __init__(self, lock: threading.Lock, within: float) -> None:
        self._lock = lock
        self._deadline = time.monotonic() + within

    def __enter__(self) -> float:
        left = self._deadline - time.monotonic()
        if not self._lock.acquire(timeout=max(0.0, min(left, threading.TIMEOUT_MAX))):
            raise _too_late()
        return self._deadline - time.monotonic()

    def __exit__(self, *exc_info: object) -> None:
        self._lock.release()


def from_function(function: TokenSource) -> Credential:
    """A credential whose tokens a function gives. What it raises, its caller gets."""

    def ask(within: float) -> Token:
        token = token_of(function())
        if token is None:
            raise InvalidArgument("The function given as token gave none: it must return a text.")
        return token

    return Credential(source=ask)


def from_helper(command: str) -> Credential:
    """A credential whose tokens a command prints, run without a shell and without a terminal of its own: the
    first line of its standard output, or JSON `{"token", "expires_at"}` with `expires_at` in seconds since
    the epoch or as ISO 8601. What it writes to standard error reaches the user. What it leaves behind in its
    session is ended with it.

    Raises:
        InvalidArgument: this is no command line.
    """
    words = _words(command)
    del command  # a traceback may show it
    if words is None:
        raise InvalidArgument("credential_helper must be a command line, with its quotes closed.")

    def ask(within: float) -> Token:
        from .helper import LATE, run

        output, problem = run(words, min(within, HELPER_WITHIN))
        token = None if problem is not None else _read(output.content)
        if token is not None:
            return token
        if problem == LATE and within < HELPER_WITHIN:
            raise _too_late()
        if problem == LATE:
            problem = f"gave no token within {seconds(HELPER_WITHIN)}"
        problem = problem or "printed no token: its first line must be one, of printable ASCII without spaces"
        # arguments may hold secrets, and the output does
        raise InvalidArgument(f"The credential helper {words.all[0]!r} {problem}.")

    return Credential(source=ask)


def _words(command: str) -> Words | None:
    import shlex

    from .helper import Words

    try:
        words = shlex.split(command)
    except ValueError:
        words = []
    return Words(words) if words else None


def _read(output: bytes) -> Token | None:
    text = output.decode("utf-8", "replace").strip()
    if not text.startswith("{"):
        return token_of(text.partition("\n")[0])
    try:
        told = json.loads(text)
        return token_of(told.get("token"), _moment(told.get("expires_at")))
    except (ValueError, OverflowError, RecursionError):
        return None


def _moment(value: Any) -> float | None:
    """Seconds since the epoch; None and 0 are never."""
    if isinstance(value, str):
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            raise ValueError
        return moment.timestamp()
    if value is None or value == 0:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise ValueError
    return float(value)


def _too_late() -> ConnectError:
    return ConnectError("No time was left to get a token from the credential helper.", timed_out=True)
