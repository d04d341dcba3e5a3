"""What one container's traffic may take of the server. Sizes in bytes, durations in seconds."""

from __future__ import annotations

from attrs import frozen

CHUNK = 128 * 1024
"""Most that is held of one direction of one connection. With 64 KiB a relay is a quarter slower, with 256 KiB
no faster."""


@frozen
class Limits:
    """The settings of a gateway."""

    connections: int = 1024
    """Open connections of one container, all its ports together; one more is reset."""
    entering: int = 4
    """Connections to one guest port that are made at the same time. QEMU's forward has a backlog of one: of
    50 at once to an SSH server most were lost without a limit, at 8 some in 7 of 24 tries, at 4 and at 2
    none, and at 4 it took no longer."""
    entering_time: float = 1.0
    """After this a connection counts as made, though the guest said nothing: the client may have to speak
    first."""
    patience: float = 60.0
    """Time that a client waits, after it was accepted, for its connection into the guest."""
    idle: float = 2 * 3600 + 4 * 60
    """A connection on which nothing moved for so long is reset. The least that RFC 5382 (REQ-5) asks of a
    NAT, which clients are therefore ready for."""
    look: float = 15.0
    """How often a connection is looked at for `idle`, and for an end that the loop was not told of."""
    accept_pause: float = 1.0
    """How long no connection is accepted when the process or the host ran out of files or memory."""

    handshake: float = 10.0
    """Time for a TLS handshake, from the connection's first moment."""
    head: float = 30.0
    """Time for a request's head: the first one from the end of the handshake, later ones from their first
    byte."""
    keep_alive: float = 75.0
    """Time that a visitor may keep an HTTPS connection open between two requests."""
    farewell: float = 2.0
    """How long a visitor is heard out after the last answer."""
    unnamed: int = 1024
    """Connections of the shared listener that have not yet said whom they visit; one more is reset."""
