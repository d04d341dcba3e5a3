"""What the HTTPS gateway asks for: a TLS context for a container's name."""

from __future__ import annotations

import ssl
from collections import OrderedDict
from pathlib import Path
from threading import Lock
from typing import Protocol

from attrs import frozen

from ecompute_server.clock import Clock, system_clock
from ecompute_server.gateway.tls.authority import Authority, Leaf
from ecompute_server.gateway.tls.contexts import is_full, server_context
from ecompute_server.gateway.tls.own import OwnCertificate, OwnFiles

MOST_CONTEXTS = 1024
"""Contexts that are remembered, 19 KB each; one more takes the place of the one used longest ago."""


class Certificates(Protocol):
    """Contexts by name. May be asked in any thread."""

    def context_for(self, hostname: str, address: str) -> ssl.SSLContext:
        """A context whose certificate is good for the container of this name and external address.

        Ask for each connection anew: certificates are renewed, and a context that stores too much is
        replaced. One that is remembered takes microseconds, a new one 1 ms.

        Raises:
            CertificateError: none can be made.
        """


def open_certificates(
    directory: Path, domain: str, *, own: OwnFiles | None = None, clock: Clock = system_clock
) -> Certificates:
    """The user's own certificate where there is one, else the authority below the directory, which is not
    touched before the first question.

    Raises:
        CertificateError: the user's own files cannot be used.
    """
    if own is not None:
        return OwnCertificate(own, domain, clock)
    return MadeCertificates(directory, domain, clock)


@frozen
class _Made:
    leaf: Leaf
    context: ssl.SSLContext


class MadeCertificates:
    """A `Certificates` of the installation's own authority."""

    def __init__(
        self, directory: Path, domain: str, clock: Clock = system_clock, *, most: int = MOST_CONTEXTS
    ) -> None:
        self._directory = directory
        self._domain = domain
        self._clock = clock
        self._most = most
        self._authority: Authority | None = None
        self._made: OrderedDict[tuple[str, str], _Made] = OrderedDict()
        self._lock = Lock()

    def context_for(self, hostname: str, address: str) -> ssl.SSLContext:
        name = (hostname, address)
        with self._lock:
            made = self._made.get(name)
            if made is None or not made.leaf.is_fresh(self._clock()) or is_full(made.context):
                made = self._made[name] = self._make(hostname, address)
                if len(self._made) > self._most:
                    self._made.popitem(last=False)
            self._made.move_to_end(name)
            return made.context

    def _make(self, hostname: str, address: str) -> _Made:
        if self._authority is None:
            self._authority = Authority.open(self._directory, self._domain, self._clock)
        leaf = self._authority.leaf(hostname, address)
        return _Made(leaf, server_context(leaf.certificate, leaf.key))
