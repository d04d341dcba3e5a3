"""TLS handshakes in memory, and how they end."""

from __future__ import annotations

import contextlib
import ssl

from cryptography import x509


def trusting(root_pem: str) -> ssl.SSLContext:
    """A careful client: this root alone, names verified, RFC 5280 to the letter."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    context.load_verify_locations(cadata=root_pem)
    return context


def careless() -> ssl.SSLContext:
    """A client that verifies nothing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def shake(
    server: ssl.SSLContext, client: ssl.SSLContext, name: str, session: ssl.SSLSession | None = None
) -> ssl.SSLObject:
    """The client's side of a connection to `name`, a host name or an address, closed in order.

    Raises:
        ssl.SSLError: one side refuses.
    """
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server, server_hostname=name, session=session)
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    open_sides = [ours, theirs]
    while open_sides:
        for side in list(open_sides):
            try:
                side.do_handshake()
                open_sides.remove(side)
            except ssl.SSLWantReadError:
                pass
    for side in (ours, theirs):
        with contextlib.suppress(ssl.SSLWantReadError):
            side.unwrap()
    return ours


def shown(server: ssl.SSLContext, name: str = "box.compute.localhost") -> x509.Certificate:
    """The certificate that a client of that name is shown."""
    certificate = shake(server, careless(), name).getpeercert(binary_form=True)
    assert certificate is not None
    return x509.load_der_x509_certificate(certificate)
