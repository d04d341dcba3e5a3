"""Things of the right form to give to a server."""

from __future__ import annotations

import base64


def ssh_string(value: bytes) -> bytes:
    """A string as RFC 4251, section 5 writes it."""
    return len(value).to_bytes(4, "big") + value


def key_line(kind: str, blob: bytes, comment: str = "") -> str:
    """A public key in OpenSSH's one-line form."""
    return f"{kind} {base64.b64encode(blob).decode()} {comment}".rstrip()


def public_key(content: bytes, comment: str = "") -> str:
    """An Ed25519 public key of these 32 bytes (RFC 8709, section 4)."""
    return key_line("ssh-ed25519", ssh_string(b"ssh-ed25519") + ssh_string(content), comment)
