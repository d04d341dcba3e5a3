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
from ecompute_server.gateway.sockets import reset
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


class _Socket(ssl.SSLSocket):
    """Knows during its handshake who is asked which site is meant."""

    find: Find | None = None
    site: Site | None = None
    named = False


class Greeted:
    """A visitor whose handshake is done. `close` or `reset` it."""

    def __init__(self, connection: _Socket, stream: TlsStream, peer: str) -> None:
        assert connection.site is not None
        self.site = connection.site
        self.stream = stream
        self._named = connection.named
        self._connection = connection
        self._peer = peer

    def visit(self) -> Visit:
        """Under which names this visitor may ask for the site."""
        hosts = {self.site.hostname} if self._named else {self.site.hostname, self.site.address}
        return Visit(frozenset(hosts), self.site.hostname, self._peer)

    def close(self) -> None:
        """End the connection in order."""
        self.stream.detach()
        self._connection.close()

    def reset(self) -> None:
        """End the connection so that the visitor sees that something is missing."""
        self.stream.detach()
        reset(self._connection)


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
        """Make the handshake; `visitor` is taken over.

        Raises:
            OSError: it failed, also for a name that `find` does not know, or took too long.
        """
        peer = visitor.getpeername()[0]
        if is_full(self._context):
            self._context = self._listening()
        connection = cast(
            _Socket, self._context.wrap_socket(visitor, server_side=True, do_handshake_on_connect=False)
        )
        connection.find = find
        stream = TlsStream(connection)
        try:
            async with asyncio.timeout(self._limits.handshake):
                await stream.handshake()
            connection.find = None
            return Greeted(connection, stream, peer)
        except BaseException as error:
            stream.detach()
            if isinstance(error, ssl.SSLError):
                # the alert (RFC 8446, section 6.2) says more than a reset would
                connection.close()
            else:
                reset(connection)
            raise

    async def converse(self, greeted: Greeted, open_passage: OpenPassage) -> None:
        """Serve a visitor to the end of the conversation.

        Raises:
            OSError: it did not end in order.
        """
        try:
            await Conversation(greeted.stream, greeted.visit(), open_passage, self._limits).run()
        except BaseException:
            greeted.reset()
            raise
        greeted.close()

    def _choose(self, connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> int | None:
        asked = cast(_Socket, connection)
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
        context.sslsocket_class = _Socket
        context.sni_callback = self._choose
        return context
