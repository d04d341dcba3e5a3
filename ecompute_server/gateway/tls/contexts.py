"""TLS contexts of a server: what is spoken, and how a certificate gets into one without touching the disk."""

from __future__ import annotations

import os
import ssl

CIPHERS = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
)
"""The cipher suites of TLS 1.2, best first: forward secrecy and AEAD only (RFC 9325 §4.2). Those of TLS 1.3
are all fit and stay as OpenSSL has them.
"""

CURVE = "prime256v1"
"""The only group for key exchange; every implementation of TLS 1.3 must have it (RFC 8446 §9.1). By default
OpenSSL 3.0 takes part in finite-field groups too, and one hello that asks for ffdhe8192 then costs the server
0.12 s of CPU time, four hundred times a handshake on this curve. Python can name one group or none.
"""

MOST_SESSIONS = 1000
"""Sessions that a context may store, about 1 KB each, before it counts as full."""


def bare_context() -> ssl.SSLContext:
    """A context without a certificate, for a listener whose `sni_callback` picks that of `server_context`:
    TLS 1.2 and 1.3, HTTP/1.1 as the only protocol of ALPN, no client certificates.

    All but the certificate is decided by the context with which a connection began.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(":".join(CIPHERS))
    context.set_ecdh_curve(CURVE)
    context.set_alpn_protocols(["http/1.1"])
    # the server's order counts, or a client could choose the worst that both know
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    # No resumption in TLS 1.3: it would save 0.3 ms, and behind a listener that picks the context by SNI the
    # listener's key seals the tickets of all containers. TLS 1.2 keeps its tickets, because without them
    # OpenSSL stores each session instead; one container's opens a session with another there. That gains
    # nobody anything: a session does not say who a client is, and a connection is led by the name in its own
    # hello.
    context.num_tickets = 0
    return context


def server_context(certificates: bytes, key: bytes) -> ssl.SSLContext:
    """A `bare_context` that shows these certificates (PEM, the server's own first) and has their key (PEM,
    without a password). Takes 1 ms and 19 KB.

    Raises:
        ssl.SSLError: OpenSSL does not take them: not PEM, they do not fit, or the key is too weak.
    """
    context = bare_context()
    # Python loads from a path only; a file without a name is in memory alone and gone with its descriptor
    file = os.memfd_create("certificate", os.MFD_CLOEXEC)
    try:
        with os.fdopen(file, "wb", closefd=False) as memory:
            memory.write(certificates + b"\n" + key)
        context.load_cert_chain(f"/proc/self/fd/{file}")
    finally:
        os.close(file)
    return context


def is_full(context: ssl.SSLContext) -> bool:
    """Whether the context has stored so many sessions that another one should take its place.

    A client of TLS 1.2 that takes no tickets has its session stored for two hours, in the context that the
    connection began with. OpenSSL stops at 20,480 for each, and Python can neither lower that nor empty it.
    """
    return context.session_stats()["number"] >= MOST_SESSIONS
