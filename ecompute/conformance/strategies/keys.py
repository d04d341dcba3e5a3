"""SSH public keys in their real wire format, made in no time: no private key belongs to them.

Each is a true one of its type, down to the point on the curve. They follow from a number, so that small
numbers give always the same keys.
"""

from __future__ import annotations

import hashlib
from functools import cache

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from ecompute.conformance.materials import key_line, ssh_string
from ecompute.contract.public_key import PublicKey

from .parts import given_or

_SIMPLEST_FIRST = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-rsa",
)

# RFC 8032, 5.1: the prime, and d of -x² + y² = 1 + d·x²·y²
_P = 2**255 - 19
_D = -121665 * pow(121666, -1, _P) % _P

# FIPS 186-4, D.1.2: the prime, and b of y² = x³ - 3x + b; each prime is 3 modulo 4
_CURVES = {
    "nistp256": (
        2**256 - 2**224 + 2**192 + 2**96 - 1,
        0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B,
    ),
    "nistp384": (
        2**384 - 2**128 - 2**96 + 2**32 - 1,
        0xB3312FA7E23EE7E4988E056BE3F82D19181D9C6EFE8141120314088F5013875AC656398D8A2ED19D2A85C8EDD3EC2AEF,
    ),
    "nistp521": (
        2**521 - 1,
        int(
            "0051953eb9618e1c9a1f929a21a0b68540eea2da725b99b315f3b8b489918ef1"
            "09e156193951ec7e937b1652c0bd3bb1bf073573df883d2c34f1ef451fd46b503f00",
            16,
        ),
    ),
}

RSA_SIZES = (2048, 3072, 4096)
"""Bits of the RSA keys here; the first is the least that the contract takes."""


def key_types() -> SearchStrategy[str]:
    """The five types of keys. The simplest is `ssh-ed25519`."""
    return st.sampled_from(_SIMPLEST_FIRST)


def public_keys(types: SearchStrategy[str] | None = None) -> SearchStrategy[str]:
    """Public keys in OpenSSH's one-line form and in normal form, with a comment or without. The simplest is a
    short one of the type `ssh-ed25519`.

    Whether a server has one already is not known here: they are for servers of one's own. `public_key_of`
    makes a key from a number that nobody else has.
    """
    comments = st.sampled_from(("", "user@laptop", "two words", "müller"))
    # few numbers, since each key is made only once
    return st.builds(public_key_of, given_or(types, key_types), st.integers(0, 63), comments)


def parsed_public_keys() -> SearchStrategy[PublicKey]:
    """Public keys as `ecompute.contract` has them once they are read."""
    return public_keys().map(PublicKey.parse)


def public_key_of(type: str, number: int, comment: str = "") -> str:
    """The public key of a type that follows from a number."""
    return key_line(type, key_blob(type, number), comment)


@cache
def key_blob(type: str, number: int) -> bytes:
    """The binary form of such a key, as in RFC 4253, 6.6."""
    kind = ssh_string(type.encode())
    if type == "ssh-ed25519":
        return kind + ssh_string(_edwards_point(number))
    if type == "ssh-rsa":
        return kind + _rsa(number, RSA_SIZES[number % len(RSA_SIZES)])
    curve = type.removeprefix("ecdsa-sha2-")
    return kind + ssh_string(curve.encode()) + ssh_string(curve_point(curve, number))


def rsa_blob(number: int, bits: int, exponent: int = 65537) -> bytes:
    """The binary form of an RSA key with a modulus of so many bits."""
    return ssh_string(b"ssh-rsa") + _rsa(number, bits, exponent)


def _rsa(number: int, bits: int, exponent: int = 65537) -> bytes:
    modulus = _noise("rsa", number, bits) | 1 << (bits - 1) | 1
    return _integer(exponent) + _integer(modulus)


def _integer(value: int) -> bytes:
    """An mpint as RFC 4251, section 5 writes it."""
    return ssh_string(value.to_bytes(value.bit_length() // 8 + 1, "big"))


def curve_point(curve: str, number: int) -> bytes:
    """A point of a curve, uncompressed (SEC 1, 2.3.3)."""
    prime, b = _CURVES[curve]
    x = _noise(curve, number, prime.bit_length()) % prime
    while True:
        square = (x * x * x - 3 * x + b) % prime
        y = pow(square, (prime + 1) // 4, prime)
        if y * y % prime == square:
            size = (prime.bit_length() + 7) // 8
            return b"\x04" + x.to_bytes(size, "big") + y.to_bytes(size, "big")
        x += 1


def _edwards_point(number: int) -> bytes:
    y = _noise("ed25519", number, 255) % _P
    # of y alone half lead to no x (RFC 8032, 5.1.3)
    while pow((y * y - 1) * pow(_D * y * y + 1, -1, _P), (_P - 1) // 2, _P) != 1:
        y += 1
    return y.to_bytes(32, "little")


def _noise(purpose: str, number: int, bits: int) -> int:
    drawn = hashlib.shake_256(f"{purpose} {number}".encode()).digest((bits + 7) // 8)
    return int.from_bytes(drawn, "big") % (1 << bits)
