"""HTTPS at the gateway: whom a visitor may reach by which name, and TLS towards the visitor."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import cast

from attrs import frozen

from ecompute_server.gateway.interface import GatewayError
from ecompute_server.gateway.limits import Limits
from ecompute_server.gateway.passage import OpenPassage
from ecompute_server.gateway.streams import TlsStream
from ecompute_server.gateway.tls.certificates import Certificates
from ecompute_server.gateway.tls.contexts import bare_context, is_full
from ecompute_server.gateway.tls.errors import CertificateError
from ecompute_server.logs import get_logger

from .conversation import Conversation
from .requests import Visit

_log = get_logger(__name__)


@frozen
class Site:
    """One container's site: its names."""

    hostname: str
    address: str


Find = Callable[[str | None], Site | None]
"""The site that a visitor asks for by SNI (RFC 6066, section 3); None for the name when none was told."""


class _Greeting(ssl.SSLObject):
    """Knows during its handshake who is asked which site is meant."""

    find: Find | None = None
    site: Site | None = None
    named = False


@frozen
class Greeted:
    """A visitor whose handshake is done."""

    stream: TlsStream
    site: Site
    visit: Visit
    """Under which names this visitor may ask for the site, and from where."""


class HttpsFront:
    """Ends TLS and passes HTTP on. Lives on one event loop."""

    def __init__(self, certificates: Certificates, limits: Limits) -> None:
        self._certificates = certificates
        self._limits = limits
        self._context = self._listening()

    async def prepare(self, site: Site) -> None:
        """Have the site's certificate at hand before the first visitor comes.

        Raises:
            GatewayError: there is none.
        """
        try:
            await asyncio.to_thread(self._certificates.context_for, site.hostname, site.address)
        except CertificateError as error:
            raise GatewayError(str(error)) from error

    async def greet(self, visitor: socket.socket, find: Find) -> Greeted:
        """Make the handshake. `visitor` stays the caller's, and open unless it was answered with an alert.

        Raises:
            OSError: it failed, also for a name that `find` does not know, or took too long.
        """
        peer = visitor.getpeername()[0]
        if is_full(self._context):
            self._context = self._listening()
        stream = TlsStream(visitor, self._context)
        greeting = cast(_Greeting, stream.tls)
        greeting.find = find
        try:
            async with asyncio.timeout(self._limits.handshake):
                await stream.handshake()
        except BaseException as error:
            stream.detach()
            if isinstance(error, ssl.SSLError):
                # the alert (RFC 8446, section 6.2) says more than a reset, which would overtake it
                visitor.close()
            raise
        greeting.find = None
        site = greeting.site
        assert site is not None
        hosts = {site.hostname} if greeting.named else {site.hostname, site.address}
        return Greeted(stream, site, Visit(frozenset(hosts), site.hostname, peer))

    async def converse(self, greeted: Greeted, open_passage: OpenPassage) -> None:
        """Serve a visitor to the end of the conversation. The socket stays open.

        Raises:
            OSError: it did not end in order; the visitor must see that something is missing.
        """
        try:
            await Conversation(greeted.stream, greeted.visit, open_passage, self._limits).run()
        finally:
            greeted.stream.detach()

    def _choose(self, greeting: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> int | None:
        asked = cast(_Greeting, greeting)
        site = asked.find(name.lower() if name else None) if asked.find is not None else None
        if site is None:
            return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
        asked.site, asked.named = site, name is not None
        try:
            asked.context = self._certificates.context_for(site.hostname, site.address)
        except CertificateError as error:
            _log.error("no certificate for a site", hostname=site.hostname, reason=str(error))
            return ssl.ALERT_DESCRIPTION_INTERNAL_ERROR
        return None

    def _listening(self) -> ssl.SSLContext:
        """A context without a certificate: it learns from the hello which one is to be shown."""
        context = bare_context()
        context.sslobject_class = _Greeting
        context.sni_callback = self._choose
        return context
