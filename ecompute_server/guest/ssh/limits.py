"""What the way into guests may take. Sizes in bytes, durations in seconds."""

from __future__ import annotations

from attrs import frozen

READ = 32 * 1024
"""Most that one read gives, and most that a guest is asked to send in one packet."""
WINDOW = 128 * 1024
"""What a guest may send of one process ahead of its reader (RFC 4254 §5.2); asyncssh lets up to twice that
come. More makes nothing faster: an emulated guest's encryption is the limit."""
HELD = 64 * 1024
"""Output that waits for its reader before the window is closed."""
WRITE = 32 * 1024
"""Input is given away in pieces of this size; `HELD` is what may wait for the guest."""


@frozen
class Limits:
    """The settings of `SSHGuests`."""

    banner: float = 5.0
    """Time in which an SSH server must say who it is."""
    login: float = 30.0
    """Time in which a guest must let the server in, and again in which it must start a process. A handshake
    takes an idle emulated guest a third of a second, twenty that boot at once much more."""
    idle: float = 60.0
    """A connection that carries no process is kept for so long."""
    keepalive: float = 20.0
    """A guest that sends nothing is asked this often whether it is there."""
    keepalive_count: int = 3
    """A guest that answers so many questions in a row with silence is lost."""
