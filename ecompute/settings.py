"""What a client is set to: arguments come first, then the environment, then a profile of the user's file.

A token never travels to a server that nobody named together with it: what a profile says holds only for the
profile's own server, and a token of the environment goes to a profile's server only where that profile was
named and has none itself. Nothing here opens a connection; the file is only read when it is needed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from attrs import evolve, field, frozen

from .credentials import (
    NO_TOKEN,
    Credential,
    Token,
    TokenSource,
    from_function,
    from_helper,
    shown_address,
    token_of,
)
from .errors import InvalidArgument, MissingServer, MissingToken, is_token

if TYPE_CHECKING:
    import ssl

    from .profiles import Profile

VERSION = "0.1.0.dev0"

TOKEN_VARIABLE = "ECOMPUTE_TOKEN"
URL_VARIABLE = "ECOMPUTE_URL"
PROFILE_VARIABLE = "ECOMPUTE_PROFILE"
CA_FILE_VARIABLE = "ECOMPUTE_CA_FILE"

_CLIENT_ORDER = "Client(token, base_url)"
_LOGIN_ORDER = "login(base_url, username, password)"

CALL_TIMEOUT = 30.0
CONNECT_TIMEOUT = 10.0
WAIT_TIMEOUT = 120.0
"""As long as a server gives a container to boot."""

File = str | os.PathLike[str]

if TYPE_CHECKING:
    Verify = bool | File | ssl.SSLContext
    """How servers are checked: by the usual authorities (True), not at all, by a file, by a context."""
    Cert = File | tuple[File, File]
    """A client certificate: one file with its key, or certificate and key."""


@frozen(kw_only=True)
class Given:
    """What the caller said; None is nothing. `verify` True is the usual, which a profile may extend. What may
    hold a secret, by mistake even, is not in `repr`.
    """

    token: Token | TokenSource | None = field(default=None, repr=False)
    base_url: str | None = field(default=None, repr=shown_address)
    profile: str | None = None
    timeout: float | None = None
    connect_timeout: float | None = None
    read_timeout: float | None = None
    write_timeout: float | None = None
    verify: Verify = True
    cert: Cert | None = field(default=None, repr=False)
    proxy: str | None = field(default=None, repr=False)


@frozen(kw_only=True)
class Settings:
    """Checked settings. `base_url` has no slash at its end; times are seconds, None is what is left of the
    call; a login has no credential.
    """

    base_url: str
    credential: Credential | None = None
    timeout: float = CALL_TIMEOUT
    connect_timeout: float = CONNECT_TIMEOUT
    read_timeout: float | None = None
    write_timeout: float | None = None
    verify: Verify = True
    cert: Cert | None = field(default=None, repr=False)
    proxy: str | None = field(default=None, repr=False)
    user_agent: str = f"ecompute/{VERSION}"


def hidden(token: object) -> Token | TokenSource | None:
    """A token as an argument or a variable, in a form that shows nothing; None when there is none. What can
    be no token is `NO_TOKEN`, so that this can be told where the text is out of sight.
    """
    if token is None or isinstance(token, Token):
        return token
    if callable(token):
        return cast("TokenSource", token)
    return token_of(token) or NO_TOKEN


class _Variables(dict[str, str]):
    """The variables that matter here, in a form that a traceback can show."""

    def __repr__(self) -> str:
        return f"<{len(self)} variables>"


_KNOWN = (
    TOKEN_VARIABLE,
    URL_VARIABLE,
    PROFILE_VARIABLE,
    CA_FILE_VARIABLE,
    "ECOMPUTE_CONFIG",
    "XDG_CONFIG_HOME",
    "APPDATA",
)


@frozen
class _Choice:
    """Where to go, with what; `profile` is of that server."""

    url: str
    token: Token | TokenSource | None = field(repr=False)
    profile: Profile | None


def resolve(given: Given, *, environ: Mapping[str, str] | None = None, needs_token: bool = True) -> Settings:
    """Settle what a client is set to; a login needs no token.

    Raises:
        MissingServer, MissingToken: nothing tells which.
        InvalidArgument: something is malformed, or a token would go to a server that it may not be meant for;
            the message holds no secret.
    """
    found = os.environ if environ is None else environ
    variables = _Variables((name, found[name]) for name in _KNOWN if found.get(name))
    del found, environ
    if given.profile is not None and not isinstance(given.profile, str):
        raise InvalidArgument("profile must be the name of a profile, a text.")
    url = None if given.base_url is None else checked_url(given.base_url, _order(needs_token))
    if given.profile is None:
        choice = _surrounding(given, url, variables, needs_token)
    else:
        profile = _profile(given.profile, variables)
        if url is not None and not same_server(url, profile.url):
            raise InvalidArgument(f"The profile {profile.name!r} is for {profile.url}, not for {url}.")
        choice = _Choice(profile.url, _completing(given, profile, variables), profile)
    if needs_token:
        return _settled(given, choice, _credential(choice), variables)
    return _settled(given, choice, None, variables)


def _order(needs_token: bool) -> str:
    return _CLIENT_ORDER if needs_token else _LOGIN_ORDER


def _completing(given: Given, profile: Profile, variables: _Variables) -> Token | TokenSource | None:
    """A token beside a profile that was named: the environment's only fills a gap."""
    if given.token is None and not profile.has_credential and TOKEN_VARIABLE in variables:
        url = variables.get(URL_VARIABLE)
        if url is not None and not same_server(url, profile.url):
            raise InvalidArgument(
                f"The token of {TOKEN_VARIABLE} is not sent to {profile.url}, the server of the profile "
                f"{profile.name!r}: {URL_VARIABLE} names another."
            )
        return hidden(variables[TOKEN_VARIABLE])
    return given.token


def _surrounding(given: Given, url: str | None, variables: _Variables, needs_token: bool) -> _Choice:
    """What is not said by arguments, from the environment and the profile that it names, or the default."""
    token = given.token
    if url is None and URL_VARIABLE in variables:
        url = checked_url(variables[URL_VARIABLE], _order(needs_token))
    if token is None and needs_token and TOKEN_VARIABLE in variables:
        token = hidden(variables[TOKEN_VARIABLE])
    name = variables.get(PROFILE_VARIABLE)
    by_arguments = given.base_url is not None and (given.token is not None or not needs_token)
    missing = url is None or (token is None and needs_token)
    profile = _named_or_default(name, variables) if missing or (name and not by_arguments) else None
    if url is not None:
        fits = profile is not None and same_server(url, profile.url)
        if profile is not None and not fits and token is None and needs_token:
            raise MissingToken(
                f"No token is known for {url}: the profile {profile.name!r} is for {profile.url}, and "
                f"neither token= nor {TOKEN_VARIABLE} is set."
            )
        return _Choice(url, token, profile if fits else None)
    if profile is None:
        raise MissingServer(
            f"No server is known: pass base_url=, set {URL_VARIABLE}, or make a profile the default."
        )
    of_environment = token is not None and given.token is None
    if of_environment and (name is None or profile.has_credential):
        raise InvalidArgument(
            f"The token of {TOKEN_VARIABLE} is not sent to {profile.url}, which only the profile "
            f"{profile.name!r} names: set {URL_VARIABLE} too, or unset {TOKEN_VARIABLE}."
        )
    return _Choice(profile.url, token, profile)


def _settled(given: Given, choice: _Choice, credential: Credential | None, variables: _Variables) -> Settings:
    profile = choice.profile
    verify = given.verify
    if verify is True:
        verify = variables.get(CA_FILE_VARIABLE) or (profile and profile.ca_file) or True
    return Settings(
        base_url=choice.url,
        credential=credential,
        timeout=_time(given, profile, "timeout") or CALL_TIMEOUT,
        connect_timeout=_time(given, profile, "connect_timeout") or CONNECT_TIMEOUT,
        read_timeout=_time(given, profile, "read_timeout"),
        write_timeout=_time(given, profile, "write_timeout"),
        verify=verify,
        # without local names, which a traceback would show
        cert=_cert(given, profile),
        proxy=profile.proxy if given.proxy is None and profile is not None else given.proxy,
    )


def _cert(given: Given, profile: Profile | None) -> Cert | None:
    if given.cert is not None:
        if not _is_cert(given.cert):
            raise InvalidArgument(
                "cert must be a file or a pair of files; an encrypted key must be loaded into an "
                "ssl.SSLContext, to be passed as verify."
            )
        return given.cert
    if profile is None or profile.client_cert is None:
        return None
    key = profile.client_key
    return profile.client_cert if key is None else (profile.client_cert, key)


def _is_cert(given: object) -> bool:
    files = given if isinstance(given, tuple) and len(given) == 2 else (given,)
    return all(isinstance(file, str | os.PathLike) for file in files)


def _time(given: Given, profile: Profile | None, name: str) -> float | None:
    seconds = getattr(given, name)
    if seconds is None:
        seconds = getattr(profile, name, None)
    return None if seconds is None else checked_timeout(seconds, name)


def _named_or_default(name: str | None, variables: _Variables) -> Profile | None:
    from .profiles import default_path, load

    path = default_path(variables)
    name = name or load(path).default
    return None if name is None else _profile(name, variables)


def _profile(name: str, variables: _Variables) -> Profile:
    from .profiles import default_path, load

    profile = load(default_path(variables)).get(name)
    try:
        return evolve(profile, url=checked_url(profile.url))
    except InvalidArgument as error:
        raise InvalidArgument(f"In the profile {name!r}: {error}") from None


def _credential(choice: _Choice) -> Credential:
    token, profile = choice.token, choice.profile
    if token is None and profile is not None:
        token = profile.token
        if token is None and profile.credential_helper is not None:
            return from_helper(profile.credential_helper)
    if token is None:
        raise MissingToken(
            f"No token is known for {choice.url}: pass token=, set {TOKEN_VARIABLE}, or name a profile; "
            "ecompute.login() gives a token."
        )
    return credential_of(token)


def credential_of(token: Token | TokenSource) -> Credential:
    """The credential that an argument stands for.

    Raises:
        InvalidArgument: it can be no token.
    """
    if token is NO_TOKEN:
        raise InvalidArgument("The token must be a non-empty text of printable ASCII without spaces.")
    return Credential(token) if isinstance(token, Token) else from_function(token)


def changed(
    settings: Settings,
    *,
    token: Token | TokenSource | None,
    timeout: float | None,
    connect_timeout: float | None,
    read_timeout: float | None,
    write_timeout: float | None,
) -> Settings:
    """The same with other values where these are not None.

    Raises:
        InvalidArgument: one of them is malformed.
    """
    times = {
        "timeout": timeout,
        "connect_timeout": connect_timeout,
        "read_timeout": read_timeout,
        "write_timeout": write_timeout,
    }
    told: dict[str, Any] = {
        name: checked_timeout(seconds, name) for name, seconds in times.items() if seconds is not None
    }
    if token is not None:
        told["credential"] = credential_of(token)
    return evolve(settings, **told)


_LONGEST = 1e8
"""Seconds of the longest timeout, about three years: systems take no endless ones."""


def checked_timeout(seconds: float, name: str = "timeout") -> float:
    """A number of seconds above zero.

    Raises:
        InvalidArgument: it is none.
    """
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds > 0:
        raise InvalidArgument(f"{name} must be a number of seconds above zero.")
    return float(min(seconds, _LONGEST))


def checked_patience(seconds: float | None) -> float | None:
    """How long to wait for what comes by itself: None for ever, 0 not at all.

    Raises:
        InvalidArgument: it is no number of seconds.
    """
    if seconds is None or (type(seconds) in (int, float) and seconds == 0):
        return seconds
    return checked_timeout(seconds)


def checked_url(url: str, order: str = _CLIENT_ORDER) -> str:
    """An address without its last slash; `order` is that of the caller's arguments.

    Raises:
        InvalidArgument: it is none, or holds what may be a secret.
    """
    fault = _fault_of_url(url, order)
    if fault is not None:
        del url  # a traceback would show it
        raise InvalidArgument(fault)
    return url.strip().rstrip("/")


def _fault_of_url(url: Any, order: str) -> str | None:
    if not isinstance(url, str):
        return "base_url must be a text."
    if is_token(url):
        return f"base_url looks like a token: the order is {order}."
    url = url.strip()
    try:
        parts = urlsplit(url)
        known = _is_host(parts.hostname) and parts.port != 0
    except ValueError:
        # whose text would repeat the address, and with it what may be a secret
        known = False
    if not known or parts.scheme not in ("http", "https") or " " in url or not url.isprintable():
        return "base_url must be an address like https://compute.example.org."
    if "@" in parts.netloc:
        return "base_url must not hold a user name or password: the token is the credential."
    if "?" in url or "#" in url:
        return "base_url must not have a query or fragment."
    return None


def _is_host(name: str | None) -> bool:
    """Whether names are resolved by it: each of its labels has 1 to 63 bytes (RFC 1035, 2.3.4)."""
    if not name or not name.isascii():
        return bool(name and name.encode("idna"))
    return all(0 < len(label) < 64 for label in name.removesuffix(".").split("."))


_PORTS = {"http": 80, "https": 443}


def same_server(one: str, other: str) -> bool:
    """Whether two addresses are the same, however they are written."""

    def parts(url: str) -> tuple[str, str | None, int, str]:
        split = urlsplit(url.strip())
        port = split.port or _PORTS.get(split.scheme, 0)
        return split.scheme, split.hostname, port, split.path.rstrip("/")

    try:
        return parts(one) == parts(other)
    except ValueError:
        return False
