"""What the errors of asyncssh and of the network mean to whoever wanted into a guest."""

from __future__ import annotations

import asyncssh

FOREIGN = (asyncssh.Error, OSError, TimeoutError)
"""All that a connection attempt can raise, cancellation and bugs apart."""

_SENTENCES: tuple[tuple[type[BaseException], str], ...] = (
    (asyncssh.HostKeyNotVerifiable, "The guest shows another host key than the one that it was given."),
    (asyncssh.PermissionDenied, "The guest refuses the server's key."),
    (asyncssh.KeyExchangeFailed, "The guest's SSH server offers no algorithm that is good enough."),
    (asyncssh.ChannelOpenError, "The guest did not start the process."),
    (asyncssh.ConnectionLost, "The guest broke the connection."),
    (asyncssh.Error, "The guest's SSH server does not keep to the protocol."),
    (TimeoutError, "The guest did not answer in time."),
    (OSError, "The connection to the guest broke."),
)
"""The first that fits. Never the error's own text: much of it is written by the guest."""


def sentence(error: BaseException) -> str:
    """The same for every kind of error, without secrets."""
    return next(sentence for kind, sentence in _SENTENCES if isinstance(error, kind))
