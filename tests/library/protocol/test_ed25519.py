"""Public keys against the vectors of RFC 8032 and against another implementation."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from ecompute.protocol import ed25519


@pytest.mark.parametrize(
    ("secret", "public"),
    [
        (
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        ),
        (
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        ),
    ],
)
def test_the_vectors_of_the_rfc(secret: str, public: str) -> None:
    """RFC 8032, 7.1."""
    assert ed25519.public_key(bytes.fromhex(secret)).hex() == public


@settings(max_examples=20, deadline=None)
@given(st.binary(min_size=32, max_size=32))
def test_keys_are_those_of_others(secret: bytes) -> None:
    """Any secret gives the key that a full implementation finds, in the form that OpenSSH writes."""
    other = Ed25519PrivateKey.from_private_bytes(secret).public_key()
    expected = other.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    assert ed25519.openssh(ed25519.public_key(secret)) == expected
