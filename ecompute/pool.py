"""The connections of a client, sync or async: through which proxy, with which certificates.

Both kinds of pool are httpcore's. Settings that cannot work are told here, before anything is sent.
"""

from __future__ import annotations

import os
import ssl
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import SplitResult, unquote_to_bytes, urlsplit

import httpcore

from .errors import InvalidArgument
from .network import BoundedBackend, ClosingBackend
from .secret import Secret

if TYPE_CHECKING:
    from .settings import Cert, Settings, Verify
    from .socks import SocksProxy

_PROXY_PORTS = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}

# a little less than the five seconds after which many servers close an idle connection: otherwise a request
# and the close cross on the wire
_LIMITS = {"max_connections": None, "max_keepalive_connections": 20, "keepalive_expiry": 4.0}


class Pools(NamedTuple):
    """The two kinds of a pool, straight and through an HTTP proxy, and what they open their connections with,
    straight or through a SOCKS proxy.
    """

    direct: Callable[..., Any]
    http: Callable[..., Any]
    backend: Callable[[], Any]
    socks: Callable[[SocksProxy], Any]


def _socks(proxy: SocksProxy) -> Any:
    from .socks import SocksBackend

    return SocksBackend(proxy)


def _async_socks(proxy: SocksProxy) -> Any:
    from .socks import AsyncSocksBackend

    return AsyncSocksBackend(proxy)


_SYNC = Pools(httpcore.ConnectionPool, httpcore.HTTPProxy, BoundedBackend, _socks)
_ASYNC = Pools(httpcore.AsyncConnectionPool, httpcore.AsyncHTTPProxy, ClosingBackend, _async_socks)


def make_pool(settings: Settings) -> httpcore.ConnectionPool:
    """The sync pool, whose reads and writes keep the deadline.

    Raises:
        InvalidArgument: certificates or proxy are of no use.
    """
    pool: httpcore.ConnectionPool = _make(_SYNC, settings)
    return pool


def make_async_pool(settings: Settings) -> httpcore.AsyncConnectionPool:
    """The async pool, for asyncio and trio.

    Raises:
        InvalidArgument: certificates or proxy are of no use.
    """
    pool: httpcore.AsyncConnectionPool = _make(_ASYNC, settings)
    return pool


def _make(pools: Pools, settings: Settings) -> Any:
    server = urlsplit(settings.base_url)
    options: dict[str, Any] = {
        **_LIMITS,
        "ssl_context": _context(settings.verify, settings.cert, server.scheme),
    }
    proxy, known = _proxy(settings.proxy, server)
    if not known:
        name = "The proxy" if settings.proxy is not None else "The proxy of the environment"
        raise InvalidArgument(f"{name} must be an address like http://proxy.example.org:3128 (or socks5://).")
    if proxy is None:
        return pools.direct(**options, network_backend=pools.backend())
    if proxy.socks is not None:
        return pools.direct(**options, network_backend=pools.socks(proxy.socks))
    if proxy.scheme == "https":
        options["proxy_ssl_context"] = _usual()
    options |= {"proxy_url": proxy.url, "proxy_headers": proxy.headers}
    return pools.http(**options, network_backend=pools.backend())


def _context(verify: Verify, cert: Cert | None, scheme: str) -> ssl.SSLContext:
    if isinstance(verify, ssl.SSLContext):
        if cert is not None:
            raise InvalidArgument("An ssl.SSLContext as verify excludes cert: load the certificate into it.")
        return verify
    if isinstance(verify, bool):
        # the authorities are many, and read for nothing where no TLS is spoken
        context = _usual() if verify and scheme == "https" else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    else:
        context = _trusting(verify)
    if verify is False:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if cert is not None:
        _load(context, cert)
    return context


def _usual() -> ssl.SSLContext:
    """The authorities of `SSL_CERT_FILE` or `SSL_CERT_DIR`, else Mozilla's, as most programs do."""
    if file := os.environ.get("SSL_CERT_FILE"):
        return _trusting(file, "SSL_CERT_FILE")
    if folder := os.environ.get("SSL_CERT_DIR"):
        return ssl.create_default_context(capath=folder)
    import certifi

    return ssl.create_default_context(cafile=certifi.where())


def _trusting(file: str | os.PathLike[str], name: str = "verify (or ca_file)") -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=os.fspath(file))
    except (OSError, TypeError, ValueError) as error:
        raise InvalidArgument(f"{name} names no readable file of certificates.") from error


def _load(context: ssl.SSLContext, cert: Cert) -> None:
    try:
        file, key = cert if isinstance(cert, tuple) else (cert, None)
        # a password would be asked for on the terminal
        context.load_cert_chain(os.fspath(file), None if key is None else os.fspath(key), password=b"")
    except (OSError, TypeError, ValueError) as error:
        raise InvalidArgument(
            "cert names no readable certificate with its key; an encrypted key must be loaded into an "
            "ssl.SSLContext, to be passed as verify."
        ) from error


class _Proxy:
    """A proxy's address, taken apart. It may hold a password, so that nothing here shows it."""

    def __init__(self, address: SplitResult) -> None:
        port = address.port or _PROXY_PORTS[address.scheme]
        host = (address.hostname or "").encode("idna")
        self.scheme = address.scheme
        self.url = httpcore.URL(scheme=address.scheme.encode(), host=host, port=port, target=b"")
        self.headers: list[tuple[bytes, bytes]] = []
        self.socks: SocksProxy | None = None
        login: tuple[bytes, bytes] | None = None
        if address.username is not None:
            login = unquote_to_bytes(address.username), unquote_to_bytes(address.password or "")
        if address.scheme.startswith("socks"):
            from .socks import SocksProxy, login_message

            self.socks = SocksProxy(
                host.decode("ascii"), port, None if login is None else login_message(*login)
            )
        elif login is not None:
            from base64 import b64encode

            self.headers.append((b"Proxy-Authorization", Secret(b"Basic " + b64encode(b"%b:%b" % login))))


def _proxy(given: str | None, server: SplitResult) -> tuple[_Proxy | None, bool]:
    """The proxy to use, if any, and False when its address is none: raising here would show it in a
    traceback.
    """
    address = _of_environment(server) if given is None else given
    if address is None:
        return None, True
    try:
        parts = urlsplit(address)
        if parts.hostname and parts.scheme in _PROXY_PORTS:
            return _Proxy(parts), True
    except (ValueError, AttributeError, TypeError):
        pass
    return None, False


def _of_environment(server: SplitResult) -> str | None:
    """What `HTTP_PROXY`, `HTTPS_PROXY` and `ALL_PROXY` say (or the system's settings), unless `NO_PROXY`
    excludes the server.
    """
    if sys.platform not in ("darwin", "win32") and not any(
        name.lower().endswith("_proxy") for name in os.environ
    ):
        return None
    from urllib.request import getproxies, proxy_bypass

    known = getproxies()
    found = known.get(server.scheme) or known.get("all")
    if not found or proxy_bypass(server.netloc):
        return None
    return found if "://" in found else f"http://{found}"
