"""The way through a SOCKS proxy (RFC 1928), with user name and password (RFC 1929) if it wants these. Names
of hosts are the proxy's to resolve.

The conversation is a generator without I/O, for both backends: it yields what to say, or nothing to say that
it listens, and is sent what was heard then.
"""

from __future__ import annotations

import socket
from collections.abc import Generator, Iterable
from contextlib import suppress

import anyio
import httpcore
from attrs import frozen

from .network import BoundedBackend, ClosingBackend
from .secret import Secret

Conversation = Generator[bytes, bytes, None]

_VERSION = 5
_NO_LOGIN, _BY_PASSWORD = 0, 2
_REPLIES = {
    2: "its rules forbid it",
    3: "the network is unreachable",
    4: "the host is unreachable",
    5: "the connection was refused",
}
"""What a proxy may reply (RFC 1928, 6), as far as it says something about an address."""
_READ = 4096


@frozen
class SocksProxy:
    """Where a proxy is, and the message that logs in there, if there is one."""

    host: str
    port: int
    login: Secret | None


def login_message(user: bytes, password: bytes) -> Secret:
    """What logs in (RFC 1929, 2).

    Raises:
        ValueError: user or password is longer than 255 bytes.
    """
    return Secret(bytes([1, len(user)]) + user + bytes([len(password)]) + password)


def conversation(host: str, port: int, login: Secret | None) -> Conversation:
    """What is said until the proxy passes on all that follows to this host.

    Raises:
        httpcore.ProxyError: the proxy refuses, or talks nonsense.
    """
    heard = bytearray()
    yield bytes([_VERSION, 1, _NO_LOGIN] if login is None else [_VERSION, 2, _NO_LOGIN, _BY_PASSWORD])
    version, method = yield from _next(heard, 2)
    if version != _VERSION:
        raise _nonsense()
    if method == _BY_PASSWORD and login is not None:
        yield login
        _, status = yield from _next(heard, 2)
        method = _BY_PASSWORD if status else _NO_LOGIN
    if method != _NO_LOGIN:
        raise httpcore.ProxyError("SOCKS asks for a user name and password, which belong into its address")
    yield b"\x05\x01\x00" + _address(host) + port.to_bytes(2, "big")
    version, reply, _, kind = yield from _next(heard, 4)
    if version != _VERSION:
        raise _nonsense()
    if reply:
        raise httpcore.ProxyError(f"SOCKS refuses it: {_REPLIES.get(reply, f'its reply is {reply}')}")
    # what follows is the address that it connects from, and its port
    size = {1: 4, 4: 16}.get(kind) or (yield from _next(heard, 1))[0]
    yield from _next(heard, size + 2)
    # whoever is asked for speaks second
    if heard:
        raise _nonsense()


def _next(heard: bytearray, count: int) -> Generator[bytes, bytes, bytes]:
    while len(heard) < count:
        more = yield b""
        if not more:
            raise httpcore.ProxyError("SOCKS hung up")
        heard += more
    data = bytes(heard[:count])
    del heard[:count]
    return data


def _nonsense() -> httpcore.ProxyError:
    return httpcore.ProxyError("SOCKS does not speak SOCKS5")


def _address(host: str) -> bytes:
    for kind, family in ((b"\x01", socket.AF_INET), (b"\x04", socket.AF_INET6)):
        with suppress(OSError):
            return kind + socket.inet_pton(family, host)
    name = host.encode("ascii")
    if len(name) > 255:
        raise httpcore.ProxyError("SOCKS knows no name as long as this")
    return bytes([3, len(name)]) + name


class SocksBackend(BoundedBackend):
    """Connects through a proxy."""

    def __init__(self, proxy: SocksProxy) -> None:
        self._proxy = proxy

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """A connection to the host, which the proxy makes."""
        proxy = self._proxy
        talk = conversation(host, port, proxy.login)
        said = next(talk)
        stream = super().connect_tcp(proxy.host, proxy.port, timeout, local_address, socket_options)
        try:
            with suppress(StopIteration):
                while True:
                    if said:
                        stream.write(said, timeout)
                    said = talk.send(b"" if said else stream.read(_READ, timeout))
        except BaseException:
            stream.close()
            raise
        return stream


class AsyncSocksBackend(ClosingBackend):
    """Connects through a proxy."""

    def __init__(self, proxy: SocksProxy) -> None:
        self._proxy = proxy

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """A connection to the host, which the proxy makes."""
        proxy = self._proxy
        talk = conversation(host, port, proxy.login)
        said = next(talk)
        stream = await super().connect_tcp(proxy.host, proxy.port, timeout, local_address, socket_options)
        try:
            with suppress(StopIteration):
                while True:
                    if said:
                        await stream.write(said, timeout)
                    said = talk.send(b"" if said else await stream.read(_READ, timeout))
        except BaseException:
            with anyio.CancelScope(shield=True):
                await stream.aclose()
            raise
        return stream
