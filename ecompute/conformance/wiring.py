"""Requests as bytes on connections of their own, for checks of HTTP itself."""

from __future__ import annotations

from urllib.parse import urlsplit

from .history import Raw
from .lab import Lab
from .raw import Line

TOKEN = b"$ECOMPUTE_TOKEN"


def head_of(lab: Lab, method: str, path: str, *, known: bool = True) -> bytes:
    """The request line, the host, and with `known` the first tenant's credential; the end of the head is
    still to come. A whole address stays one, a path is below that of the server's URL.
    """
    parts = urlsplit(lab.target.url)
    target = path if "://" in path else parts.path + path
    lines = [f"{method} {target} HTTP/1.1", f"Host: {parts.netloc.rpartition('@')[2]}"]
    if known:
        lines.append(f"Authorization: Bearer {lab.first.credential.token}")
    return "".join(f"{line}\r\n" for line in lines).encode("latin-1")


def spoken(lab: Lab, data: bytes) -> Line:
    """A connection on which this was said. Reports have it without the token.

    Raises:
        Lost: it broke.
    """
    line = lab.line()
    if data:
        lab.history.add(Raw(data.replace(lab.first.credential.token.encode(), TOKEN)))
        line.send(data)
    return line


def keys_named(lab: Lab, name: str) -> list[int]:
    """The ids of the tenant's SSH keys of this name, which are deleted."""
    listed = lab.get("/compute/ssh-keys").body["ssh_keys"]
    found = [int(item["id"]) for item in listed if item["name"] == name]
    for id_ in found:
        lab.delete(f"/compute/ssh-keys/{id_}")
    return found
