"""One request and its answer as they are on the wire: what the sans-IO core makes and reads, what a transport
carries, and what an exception keeps of them.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen


@frozen
class HTTPRequest:
    """A request without address and credential. `target` is path and query, percent-encoded.

    `operation` is what messages call it, ids included; bodies and headers are never shown. `headers` are only
    those of the operation: what describes the body or the connection is the transport's.
    """

    operation: str
    method: str
    target: str
    body: bytes | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(factory=dict, repr=False)


@frozen
class HTTPAnswer:
    """An answer as it came. The names in `headers` are in lower case; like the body they are never shown."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
