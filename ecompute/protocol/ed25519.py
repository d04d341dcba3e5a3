"""The public half of an Ed25519 key (RFC 8032), for keys that nobody will log in with.

Signing and checking are not here: whoever needs those brings a key of their own. Plain arithmetic of a few
milliseconds rather than a dependency of the base install or a program that may be missing. Python's integers
leak their size in time, which matters as little here: the private half is forgotten at once.
"""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha512

# RFC 8032, 5.1: the field, the curve's constant and its base point
_P = 2**255 - 19
_D = -121665 * pow(121666, -1, _P) % _P
_BASE = (
    15112221349535400772501151409588531511454012693041857206046113283949847762202,
    46316835694926478169428394003475163141307993866256225615783033603165251855960,
)

# x and y as x/z and y/z, and t = xy/z (5.1.4)
_Point = tuple[int, int, int, int]
_NEUTRAL: _Point = (0, 1, 1, 0)


def _add(p: _Point, q: _Point) -> _Point:
    a = (p[1] - p[0]) * (q[1] - q[0]) % _P
    b = (p[1] + p[0]) * (q[1] + q[0]) % _P
    c = 2 * p[3] * q[3] * _D % _P
    d = 2 * p[2] * q[2] % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return (e * f % _P, g * h % _P, f * g % _P, e * h % _P)


def public_key(secret: bytes) -> bytes:
    """The 32 bytes of the public key of 32 secret ones (5.1.5)."""
    scalar = int.from_bytes(sha512(secret).digest()[:32], "little")
    scalar = scalar & ~7 & ~(1 << 255) | 1 << 254
    x, y = _BASE
    power: _Point = (x, y, 1, x * y % _P)
    found = _NEUTRAL
    for bit in range(255):
        if scalar >> bit & 1:
            found = _add(found, power)
        power = _add(power, power)
    inverse = pow(found[2], -1, _P)
    x, y = found[0] * inverse % _P, found[1] * inverse % _P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def openssh(public: bytes) -> str:
    """A public key as OpenSSH writes it: type and base64 (RFC 8709, 4)."""
    name = b"ssh-ed25519"
    blob = b"".join(len(part).to_bytes(4, "big") + part for part in (name, public))
    return f"{name.decode()} {b64encode(blob).decode()}"
