"""SSH public keys in OpenSSH's one-line form, checked down to the wire format.

Sources: RFC 4253 §6.6 (ssh-rsa), RFC 8709 §4 (ssh-ed25519), RFC 5656 §3.1 (ecdsa-sha2-*), curve parameters
from FIPS 186-4 D.1.2. A key that passes will be accepted by an SSH server's authorized_keys file.
"""

from __future__ import annotations

import base64
import binascii
import hashlib

from attrs import frozen

from .catalog import MIN_RSA_BITS, PUBLIC_KEY_TYPES

_MAX_RSA_BITS = 16384  # OpenSSH refuses larger ones (SSHBUF_MAX_BIGNUM)
_MAX_LINE = 16 * 1024


class PublicKeyError(ValueError):
    """A text is no acceptable public key; `str()` says why, without repeating the text."""


@frozen
class PublicKey:
    """One checked key: its type, its wire form and the comment that came with it."""

    type: str
    blob: bytes
    comment: str = ""

    @classmethod
    def parse(cls, text: str) -> PublicKey:
        """Read one line of an `id_*.pub` file.

        Raises:
            PublicKeyError: several lines, options in front, an unknown type, or a blob that is no such key.
        """
        line = text.strip(" \t\r\n")
        if "PRIVATE KEY-----" in line:
            raise PublicKeyError("is a private key; give the public one, from the .pub file")
        if any((ord(c) < 32 and c != "\t") or ord(c) in (0x7F, 0x85, 0x2028, 0x2029) for c in line):
            raise PublicKeyError("must be a single line without control characters")
        if len(line) > _MAX_LINE:
            raise PublicKeyError("is too long for a public key")
        type_, _, rest = line.replace("\t", " ").partition(" ")
        if type_ not in PUBLIC_KEY_TYPES:
            raise PublicKeyError(f"must start with one of the key types {', '.join(PUBLIC_KEY_TYPES)}")
        encoded, _, comment = rest.strip().partition(" ")
        try:
            blob = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            raise PublicKeyError("has a middle part that is not base64") from None
        _check(type_, blob)
        return cls(type_, blob, comment.strip())

    def __str__(self) -> str:
        encoded = base64.b64encode(self.blob).decode()
        return f"{self.type} {encoded} {self.comment}".rstrip()

    @property
    def fingerprint(self) -> str:
        """What `ssh-keygen -l` prints: `SHA256:` and the hash without padding."""
        return "SHA256:" + base64.b64encode(hashlib.sha256(self.blob).digest()).decode().rstrip("=")


class _Reader:
    def __init__(self, blob: bytes) -> None:
        self._rest = blob

    def string(self) -> bytes:
        size = int.from_bytes(self._rest[:4], "big")
        if len(self._rest) < 4 + size:
            raise PublicKeyError("is cut short")
        value, self._rest = self._rest[4 : 4 + size], self._rest[4 + size :]
        return value

    def positive(self) -> int:
        raw = self.string()
        if not raw or raw[0] & 0x80 or (raw[0] == 0 and (len(raw) == 1 or not raw[1] & 0x80)):
            raise PublicKeyError("holds a number that is not in its shortest form")
        return int.from_bytes(raw, "big")

    def end(self) -> None:
        if self._rest:
            raise PublicKeyError("has extra bytes at its end")


def _check(type_: str, blob: bytes) -> None:
    reader = _Reader(blob)
    if reader.string() != type_.encode():
        raise PublicKeyError("is a key of another type than it says")
    if type_ == "ssh-ed25519":
        _ed25519(reader)
    elif type_ == "ssh-rsa":
        _rsa(reader)
    else:
        _ecdsa(type_.removeprefix("ecdsa-sha2-"), reader)
    reader.end()


def _ed25519(reader: _Reader) -> None:
    if len(reader.string()) != 32:
        raise PublicKeyError("must hold 32 bytes")


def _rsa(reader: _Reader) -> None:
    exponent, modulus = reader.positive(), reader.positive()
    if modulus.bit_length() < MIN_RSA_BITS:
        raise PublicKeyError(f"must have at least {MIN_RSA_BITS} bits")
    if modulus.bit_length() > _MAX_RSA_BITS:
        raise PublicKeyError(f"must have at most {_MAX_RSA_BITS} bits")
    if exponent < 3 or not exponent & 1 or not modulus & 1 or exponent >= modulus:
        raise PublicKeyError("is no valid RSA key")


# prime, coefficient b of y² = x³ - 3x + b
_CURVES = {
    "nistp256": (
        2**256 - 2**224 + 2**192 + 2**96 - 1,
        0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B,
    ),
    "nistp384": (
        2**384 - 2**128 - 2**96 + 2**32 - 1,
        int(
            "b3312fa7e23ee7e4988e056be3f82d19181d9c6efe8141120314088f5013875a"
            "c656398d8a2ed19d2a85c8edd3ec2aef",
            16,
        ),
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


def _ecdsa(curve: str, reader: _Reader) -> None:
    if reader.string() != curve.encode():
        raise PublicKeyError("names another curve than its type")
    prime, b = _CURVES[curve]
    size = (prime.bit_length() + 7) // 8
    point = reader.string()
    if len(point) != 1 + 2 * size or point[0] != 4:
        raise PublicKeyError("must hold an uncompressed point of its curve")
    x, y = int.from_bytes(point[1 : 1 + size], "big"), int.from_bytes(point[1 + size :], "big")
    if x >= prime or y >= prime or (y * y - (x * x * x - 3 * x + b)) % prime:
        raise PublicKeyError("holds a point that is not on its curve")
