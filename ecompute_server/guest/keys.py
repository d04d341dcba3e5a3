"""SSH key pairs in the two texts that OpenSSH reads: for guests' host keys and for logging in."""

from __future__ import annotations

from attrs import field, frozen
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)


@frozen
class KeyPair:
    """An ed25519 key (RFC 8709): the private half as PEM text without passphrase, the public half as one line
    with its comment.
    """

    private: str = field(repr=False)
    public: str


def make_key_pair(comment: str) -> KeyPair:
    """A new key from the system's randomness. Takes well under a millisecond."""
    return _texts(Ed25519PrivateKey.generate(), comment)


def derive_key_pair(seed: bytes, comment: str) -> KeyPair:
    """The key that belongs to 32 secret bytes: always the same, though OpenSSH's private format has random
    bytes in it, so that two texts of it differ.
    """
    return _texts(Ed25519PrivateKey.from_private_bytes(seed), comment)


def _texts(key: Ed25519PrivateKey, comment: str) -> KeyPair:
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode("ascii")
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode("ascii")
    return KeyPair(private, f"{public} {' '.join(comment.split())}".rstrip())
