"""What the libraries below raise, and what it is to us. Translated once, at the edge."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any

import anyio
import httpcore

from .errors import ConnectError, Error, InvalidArgument

_NOT_SENT = (
    httpcore.ConnectError,
    httpcore.ConnectTimeout,
    httpcore.PoolTimeout,
    httpcore.ProxyError,
)
_TIMED_OUT = (httpcore.TimeoutException, TimeoutError)

FOREIGN: tuple[type[Exception], ...] = (
    httpcore.ConnectionNotAvailable,
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.ProxyError,
    httpcore.TimeoutException,
    httpcore.UnsupportedProtocol,
    anyio.BrokenResourceError,
    anyio.BusyResourceError,
    anyio.ClosedResourceError,
    anyio.EndOfStream,
    EOFError,
    OSError,
)
"""All that the libraries below raise on purpose. What is in no such family is a bug, here or in a custom
transport, and passes as it is."""


class Tracker:
    """Watches a request's way, to tell for certain whether its first byte was sent (httpcore's trace)."""

    def __init__(self) -> None:
        self.told: bool = False
        self.sent: bool = False

    def see(self, name: str, info: Mapping[str, Any]) -> None:
        """Something has happened on the way."""
        self.told = True
        # begun, not finished: a part may be enough for the server; a proxy is asked for the way to it first
        if name.endswith(".send_request_headers.started") and info["request"].method != b"CONNECT":
            self.sent = True

    async def asee(self, name: str, info: Mapping[str, Any]) -> None:
        """As `see`."""
        self.see(name, info)

    def maybe_sent(self, error: BaseException) -> bool:
        """Whether the server may have received the request that ended so."""
        return self.sent if self.told else not isinstance(error, _NOT_SENT)


def translate(error: Exception, url: str, tracker: Tracker | None = None) -> Error:
    """Our exception for a foreign one, whose traceback is cut off: the frames below hold what was sent, with
    its credentials, and tools show the variables of frames.
    """
    if isinstance(error, Error):
        return error  # some of ours are OSErrors too
    reason = _reason(error)
    _cut(error)
    if isinstance(error, httpcore.UnsupportedProtocol):
        return InvalidArgument(f"{url} is no address that can be reached: check base_url and the proxy.")
    maybe_sent = (tracker or Tracker()).maybe_sent(error)
    if isinstance(error, _TIMED_OUT):
        what = "did not answer" if maybe_sent else "could not be reached"
        return ConnectError(f"{url} {what} in time.", maybe_sent=maybe_sent, timed_out=True)
    if maybe_sent:
        return ConnectError(f"{url} broke off before its answer was complete.", maybe_sent=True)
    return ConnectError(f"{url} could not be reached{reason}.")


_QUOTING = (httpcore.ProtocolError, httpcore.ProxyError)
_BELOW = "h11"
"""What frames HTTP below httpcore, and whose exceptions are the causes of its own."""


def _cut(error: BaseException) -> None:
    left: list[BaseException | None] = [error]
    cut: set[int] = set()
    while left:
        one = left.pop()
        if one is not None and id(one) not in cut:
            cut.add(id(one))
            one.__traceback__ = None
            if isinstance(one, _QUOTING) or type(one).__module__.partition(".")[0] == _BELOW:
                one.args = ("what the other side said is left out, since it may repeat what was sent to it",)
            left += [one.__cause__, one.__context__]


def _reason(error: Exception) -> str:
    """What the system said: it knows addresses and causes, none of our secrets."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ssl.SSLCertVerificationError):
            return f": its certificate is not trusted ({seen.verify_message})"
        if isinstance(seen, OSError) and seen.strerror:
            return f": {seen.strerror}"
        seen = seen.__cause__ or seen.__context__
    if isinstance(error, httpcore.ProxyError):
        return _refusal_of_proxy(str(error))
    return ""


def _refusal_of_proxy(text: str) -> str:
    # "407 Proxy Authentication Required": the words are the proxy's own, but for those about SOCKS
    status, _, words = text.partition(" ")
    if status == "SOCKS":
        return f": the proxy {words}"
    if status == "407":
        return ": the proxy asks for a user name and password, which belong into its address"
    return (
        f": the proxy refuses it with the status {status}" if status.isdecimal() else ": the proxy refuses it"
    )
