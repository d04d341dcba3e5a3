"""Public keys, down to their wire form."""

from __future__ import annotations

import base64
import struct

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ecompute.contract.public_key import PublicKey, PublicKeyError


def line(key: object) -> str:
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)  # type: ignore[attr-defined]
    return str(public.decode())


ED25519 = line(ed25519.Ed25519PrivateKey.generate())
RSA = line(rsa.generate_private_key(65537, 2048))
CURVES = {"256": ec.SECP256R1(), "384": ec.SECP384R1(), "521": ec.SECP521R1()}
ECDSA = {name: line(ec.generate_private_key(curve)) for name, curve in CURVES.items()}


def packed(*parts: bytes) -> str:
    blob = b"".join(struct.pack(">I", len(part)) + part for part in parts)
    return base64.b64encode(blob).decode()


@pytest.mark.parametrize("text", [ED25519, RSA, *ECDSA.values()], ids=lambda t: t.split()[0])
def test_a_real_key_passes_in_its_normal_form(text: str) -> None:
    """With its comment, and without the white space around it."""
    assert str(PublicKey.parse(text)) == text
    assert str(PublicKey.parse(f"  {text}   me@host two \r\n")) == f"{text} me@host two"


def test_the_comment_is_no_part_of_the_key() -> None:
    """The same key has the same fingerprint whatever its comment says."""
    assert PublicKey.parse(ED25519).fingerprint == PublicKey.parse(f"{ED25519} x").fingerprint


def corrupt(text: str, position: int) -> str:
    type_, encoded, *_ = text.split()
    blob = bytearray(base64.b64decode(encoded))
    blob[position] ^= 1
    return f"{type_} {base64.b64encode(bytes(blob)).decode()}"


BROKEN = {
    "empty": "",
    "type alone": "ssh-ed25519",
    "no base64": "ssh-ed25519 AAAA!",
    "options in front": f'command="id" {ED25519}',
    "private key": "-----BEGIN OPENSSH PRIVATE KEY-----",
    "two lines": f"{ED25519}\n{ED25519}",
    "control character": f"{ED25519} a\x1bb",
    "other type than it says": "ssh-rsa " + ED25519.split()[1],
    "dsa": "ssh-dss " + packed(b"ssh-dss", *[b"\x01"] * 4),
    "short rsa": line(rsa.generate_private_key(65537, 1024)),
    "cut short": "ssh-ed25519 " + packed(b"ssh-ed25519", b"x" * 31),
    "extra bytes": "ssh-ed25519 " + packed(b"ssh-ed25519", b"x" * 32, b""),
    "length beyond the end": "ssh-ed25519 " + base64.b64encode(b"\xff\xff\xff\xffssh").decode(),
    "point off its curve": corrupt(ECDSA["256"], -1),
    "point off its large curve": corrupt(ECDSA["521"], -1),
    "curve of another type": "ecdsa-sha2-nistp256 "
    + packed(b"ecdsa-sha2-nistp256", b"nistp384", b"\x04" + b"\0" * 64),
    "negative modulus": "ssh-rsa " + packed(b"ssh-rsa", b"\x01\x00\x01", b"\xff" * 256),
    "even modulus": "ssh-rsa " + packed(b"ssh-rsa", b"\x01\x00\x01", b"\0" + b"\xfe" * 256),
    "padded number": "ssh-rsa " + packed(b"ssh-rsa", b"\0\x01\x00\x01", b"\0" + b"\xff" * 256),
    "too long": "ssh-ed25519 " + "A" * 20_000,
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_what_is_no_such_key_is_refused(text: str) -> None:
    """With a reason that does not repeat the text."""
    with pytest.raises(PublicKeyError) as caught:
        PublicKey.parse(text)
    assert len(text) < 30 or text[20:40] not in str(caught.value)
