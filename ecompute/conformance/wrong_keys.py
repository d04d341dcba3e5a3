"""Public keys that are almost right, each with one flaw: RFC 4253 6.6, RFC 5656 3.1, RFC 8709 4."""

from __future__ import annotations

import base64
from collections.abc import Iterator

from ecompute.contract.catalog import PUBLIC_KEY_TYPES

from .materials import key_line, ssh_string
from .strategies import public_key_of
from .strategies.keys import curve_point, rsa_blob

_RSA = "ssh-rsa"
_ED25519 = "ssh-ed25519"
_CURVES = ("nistp256", "nistp384", "nistp521")


def unknown_types() -> Iterator[tuple[str, str]]:
    """What is wrong, and a line whose type none takes."""
    blob = _blob(public_key_of(_ED25519, 1))
    yield "a type in capitals", f"SSH-ED25519 {base64.b64encode(blob).decode()}"
    for type_ in (
        "ssh-dss",
        "sk-ssh-ed25519@openssh.com",
        "ssh-ed448",
        "ecdsa-sha2-nistp192",
        "ssh-ed25519x",
    ):
        rest = blob[len(ssh_string(_ED25519.encode())) :]
        yield f"the type {type_}", key_line(type_, ssh_string(type_.encode()) + rest)
    yield "a certificate", key_line("ssh-ed25519-cert-v01@openssh.com", blob)


def not_lines() -> Iterator[tuple[str, str]]:
    """What is wrong, and a text that is no single line of a key alone."""
    good = public_key_of(_ED25519, 1)
    type_, encoded = good.split(" ")
    yield "nothing", ""
    yield "blanks", "   "
    yield "a type alone", type_
    yield "base64 alone", encoded
    yield "no base64", f"{type_} {encoded[:-2]}!!"
    yield "base64 cut short", f"{type_} {encoded[:-1]}"
    yield "options in front", f'command="/bin/true" {good}'
    yield "an option in front", f"no-pty {good}"
    yield "two keys", f"{good}\n{public_key_of(_ED25519, 2)}"
    yield "a line break in the comment", f"{good} me\nyou"
    yield "a line break behind the type", f"{type_}\n{encoded}"
    yield "a return in the comment", f"{good} me\ryou"
    yield "a NUL", f"{good} me\0"
    yield "a private key", "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----"


def malformed() -> Iterator[tuple[str, str]]:
    """What is wrong, and a line whose binary form is no key of its type."""
    for type_ in PUBLIC_KEY_TYPES:
        blob = _blob(public_key_of(type_, 3))
        kind = ssh_string(type_.encode())
        other = next(other for other in PUBLIC_KEY_TYPES if other != type_)
        yield f"{type_} said, {other} held", key_line(type_, _blob(public_key_of(other, 3)))
        yield f"{type_} cut short", key_line(type_, blob[:-1])
        yield f"{type_} with a byte more", key_line(type_, blob + b"\0")
        yield f"{type_} with a string more", key_line(type_, blob + ssh_string(b""))
        yield f"{type_} without a content", key_line(type_, kind)
        yield f"{type_} whose lengths lead too far", key_line(type_, kind + b"\xff\xff\xff\xff" + blob[-8:])
    for size in (0, 31, 33):
        blob = ssh_string(_ED25519.encode()) + ssh_string(b"k" * size)
        yield f"{_ED25519} of {size} bytes", key_line(_ED25519, blob)
    yield f"{_RSA} with an even exponent", key_line(_RSA, rsa_blob(1, 2048, 65536))
    yield f"{_RSA} with the exponent 1", key_line(_RSA, rsa_blob(1, 2048, 1))
    negative = ssh_string(_RSA.encode()) + ssh_string(b"\x01\x00\x01") + ssh_string(b"\xff" * 256)
    yield f"{_RSA} with a negative modulus", key_line(_RSA, negative)


def short() -> Iterator[tuple[str, str]]:
    """What is wrong, and an RSA key with too few bits."""
    for bits in (2047, 1536, 1024):
        yield f"{bits} bits", key_line(_RSA, rsa_blob(1, bits))


def beside_their_curves() -> Iterator[tuple[str, str]]:
    """What is wrong, and an ECDSA key whose point is not one of its curve."""
    for curve, other in zip(_CURVES, (*_CURVES[1:], _CURVES[0]), strict=True):
        point = curve_point(curve, 1)
        yield f"a point beside {curve}", _on(curve, curve, point[:-1] + bytes((point[-1] ^ 1,)))
        yield f"nothing but zeros on {curve}", _on(curve, curve, b"\x04" + bytes(len(point) - 1))
        size = (len(point) - 1) // 2
        yield f"a compressed point of {curve}", _on(curve, curve, b"\x02" + point[1 : 1 + size])
        yield f"a point of {other} for {curve}", _on(curve, curve, curve_point(other, 1))
        yield f"the curve {other} under the type of {curve}", _on(curve, other, curve_point(other, 1))


def _on(type_curve: str, curve: str, point: bytes) -> str:
    type_ = f"ecdsa-sha2-{type_curve}"
    return key_line(type_, ssh_string(type_.encode()) + ssh_string(curve.encode()) + ssh_string(point))


def _blob(line: str) -> bytes:
    return base64.b64decode(line.split(" ")[1])
