"""What a client is set to: arguments come first, then the environment.

Nothing here opens a file or a connection.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from urllib.parse import urlsplit

from attrs import field, frozen

from .errors import InvalidArgument, is_token

VERSION = "0.1.0.dev0"

TOKEN_VARIABLE = "ECOMPUTE_TOKEN"
URL_VARIABLE = "ECOMPUTE_URL"

_CLIENT_ORDER = "Client(token, base_url)"
_LOGIN_ORDER = "login(base_url, username, password)"

CALL_TIMEOUT = 30.0
CONNECT_TIMEOUT = 10.0
WAIT_TIMEOUT = 120.0
"""As long as a server gives a container to boot."""


@frozen
class Settings:
    """Checked settings. `base_url` has no slash at its end; times are seconds; the token is not in `repr`."""

    base_url: str
    token: str | None = field(repr=False)
    timeout: float = CALL_TIMEOUT
    connect_timeout: float = CONNECT_TIMEOUT
    user_agent: str = f"ecompute/{VERSION}"


def resolve(
    token: str | None,
    base_url: str | None,
    *,
    timeout: float = CALL_TIMEOUT,
    connect_timeout: float = CONNECT_TIMEOUT,
    environ: Mapping[str, str] | None = None,
    needs_token: bool = True,
) -> Settings:
    """Settle token and address from arguments and environment.

    Raises:
        InvalidArgument: one of them is missing or malformed; the message never holds the token.
    """
    environ = os.environ if environ is None else environ
    url = base_url if base_url is not None else environ.get(URL_VARIABLE)
    if not url:
        raise InvalidArgument(f"No server is known: pass base_url=, or set {URL_VARIABLE}.")
    if token is None and needs_token:
        token = environ.get(TOKEN_VARIABLE)
        if not token:
            raise InvalidArgument(
                f"No token is known: pass token=, or set {TOKEN_VARIABLE}; ecompute.login() gives one."
            )
    return Settings(
        base_url=_checked_url(url, _CLIENT_ORDER if needs_token else _LOGIN_ORDER),
        token=None if token is None else _checked_token(token),
        timeout=checked_timeout(timeout),
        connect_timeout=checked_timeout(connect_timeout),
    )


def checked_timeout(seconds: float) -> float:
    """A number of seconds above zero.

    Raises:
        InvalidArgument: it is none.
    """
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds > 0:
        raise InvalidArgument("timeout must be a number of seconds above zero.")
    return float(seconds)


def _checked_url(url: str, order: str) -> str:
    if not isinstance(url, str):
        raise InvalidArgument("base_url must be a text.")
    if is_token(url):
        raise InvalidArgument(f"base_url looks like a token: the order is {order}.")
    url = url.strip()
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        # whose text would repeat the address, and with it what may be a secret
        host = None
    if host is None or parts.scheme not in ("http", "https"):
        raise InvalidArgument("base_url must be an address like https://compute.example.org.")
    if parts.username is not None or parts.password is not None:
        raise InvalidArgument("base_url must not hold a user name or password: the token is the credential.")
    if "?" in url or "#" in url:
        raise InvalidArgument("base_url must not have a query or fragment.")
    return url.rstrip("/")


def _checked_token(token: str) -> str:
    # a file or a command substitution leaves a line end; anything else would end up in a header's error
    stripped = token.strip() if isinstance(token, str) else ""
    if not stripped or not all("!" <= c <= "~" for c in stripped):
        raise InvalidArgument("The token must be a non-empty text of printable ASCII without spaces.")
    return stripped
