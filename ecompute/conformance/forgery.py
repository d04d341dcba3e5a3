"""What is no credential: malformed, of another scheme, or signed by somebody else."""

from __future__ import annotations

import base64
import json

from .credential import Tenant
from .lab import Lab
from .wire import Answer


def malformed() -> list[str]:
    """Values of the header Authorization that are no credential."""
    return [
        "Bearer",
        "Bearer x",
        "Bearer null",
        "Bearer ecloud_x",
        "Bearer ecloud_",
        "Bearer a.b.c",
        "Bearer ..",
        "Bearer eyJhbGciOiJub25lIn0.e30.",
        "Basic Zmlyc3Q6c2VjcmV0",
        "x",
    ]


def forged(tenant: Tenant) -> list[str]:
    """What somebody without the key can make of a session token; empty when it is no JWT (RFC 7519)."""
    parts = tenant.credential.token.split(".")
    if len(parts) != 3:
        return []
    header, payload, signature = parts
    try:
        claims = json.loads(_decoded(header))
    except ValueError:
        return []
    if not isinstance(claims, dict):
        return []
    # none of these holds anything of the real signature, since reports print them
    other = _encoded(bytes(len(_decoded(signature))))
    unsigned = [_encoded(json.dumps({**claims, "alg": name}).encode()) for name in ("none", "None")]
    return [
        f"{header}.{payload}.{other}",
        f"{header}.{payload}.",
        f"{header}.{payload}",
        *(f"{start}.{payload}." for start in unsigned),
        *(f"{start}.{payload}.{other}" for start in unsigned),
    ]


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def challenged(lab: Lab, requirement: str, answer: Answer) -> None:
    """Judge that a 401 says what is wanted (RFC 9110, 11.6.1)."""
    challenge = answer.headers.get("www-authenticate", "")
    names_it = challenge.partition(" ")[0].lower() == "bearer"
    lab.holds(requirement, names_it, "WWW-Authenticate: Bearer", f"{challenge!r} with {answer}")
