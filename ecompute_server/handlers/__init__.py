"""What each row of the contract does: one function per row, found by the row's name.

By the time a handler runs, the caller is known, has the row's scope, owns the container in the path, and
the request is checked.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from . import containers, feed, ingress, mounts, sessions, ssh_access, ssh_keys, terminal, tokens
from .call import Call

Handler = Callable[[Call[Any]], Awaitable[Any]]

HANDLERS: Mapping[str, Handler] = {
    "containers.list": containers.list_,
    "containers.create": containers.create,
    "containers.get": containers.get,
    "containers.delete": containers.delete,
    "containers.start": containers.start,
    "containers.stop": containers.stop,
    "ssh_keys.list": ssh_keys.list_,
    "ssh_keys.add": ssh_keys.add,
    "ssh_keys.delete": ssh_keys.delete,
    "ssh_access.get": ssh_access.get,
    "ssh_access.set": ssh_access.set_,
    "ingress.list": ingress.list_,
    "ingress.add": ingress.add,
    "ingress.remove": ingress.remove,
    "mounts.get": mounts.get,
    "mounts.set": mounts.set_,
    "login": sessions.log_in,
    "session": sessions.get,
    "logout": sessions.log_out,
    "tokens.list": tokens.list_,
    "tokens.create": tokens.create,
    "tokens.delete": tokens.delete,
}

CHANNEL_HANDLERS: Mapping[str, Callable[[Call[Any]], Awaitable[Any]]] = {
    "events": feed.open_,
    "terminal": terminal.open_,
}
"""What opens a WebSocket: each gives a conversation, which runs once the connection is upgraded."""
