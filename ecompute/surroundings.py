"""Where the pure core gets its time and its chance from."""

from __future__ import annotations

import os
import random
import time
from typing import TYPE_CHECKING, Any

from .contract.catalog import IDEMPOTENCY_KEY_LENGTH
from .contract.resources import Container
from .errors import InvalidArgument
from .late import policy
from .protocol.context import SILENT, Context, Observer, Server

if TYPE_CHECKING:
    from .contract.endpoint import Endpoint


def context(
    base_url: str,
    observer: Observer = SILENT,
    retries: policy.Retries | None = None,
    container: type[Container] = Container,
) -> Context:
    """The surroundings of a client's flows: the real clocks, and what is known of its server."""
    server = Server(base_url)
    return Context(time.monotonic, random.random, time.time, observer, server, retries, container)


def key_for(endpoint: Endpoint[Any, Any], given: str | None) -> str | None:
    """The idempotency key of a request: the caller's, else a new one for a row that needs one.

    Raises:
        InvalidArgument: the caller's is none.
    """
    if given is not None:
        fits = isinstance(given, str) and len(given) in IDEMPOTENCY_KEY_LENGTH
        if not (fits and given.isascii() and given.isprintable() and given.strip() == given):
            raise InvalidArgument(
                f"An idempotency key is 1 to {IDEMPOTENCY_KEY_LENGTH[-1]} printable ASCII characters."
            )
        return given
    if endpoint.takes_idempotency_key and not policy.may_repeat(endpoint):
        return os.urandom(16).hex()
    return None
