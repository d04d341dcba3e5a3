"""Which web pages may use the API: cross-origin resource sharing (Fetch Standard §3.2), and WebSockets.

No cookie is ever a credential here, so nothing is allowed beyond reading and the headers of the API.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from starlette.responses import Response

from ecompute.contract import codec

REQUEST_HEADERS = ("Authorization", "Content-Type", "Idempotency-Key")
ANSWER_HEADERS = ("X-Request-Id", "Retry-After", "Idempotency-Supported")
_MAX_AGE_SECONDS = 600


class Origins:
    """The origins that may read answers and open WebSockets."""

    def __init__(self, allowed: Collection[str]) -> None:
        self._allowed = frozenset(allowed)
        exposed = ", ".join(ANSWER_HEADERS).encode()
        self._headers = {
            origin.encode(): [
                (b"access-control-allow-origin", origin.encode()),
                (b"access-control-expose-headers", exposed),
                (b"vary", b"Origin"),
            ]
            for origin in allowed
        }
        # caches must keep answers apart also where the origin is not allowed
        self._otherwise = [(b"vary", b"Origin")] if allowed else []

    def headers(self, request: Collection[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """What every answer to a request with these headers carries."""
        if not self._allowed:
            return self._otherwise
        origin = next((value for name, value in request if name == b"origin"), b"")
        return self._headers.get(origin, self._otherwise)

    def preflight(self, headers: Mapping[str, str], methods: Collection[str]) -> Response | None:
        """The answer to a browser's question, or None when this is none, or not from an allowed origin."""
        if headers.get("origin") not in self._allowed or "access-control-request-method" not in headers:
            return None
        return Response(
            codec.dump_json({"status": "ok"}),
            headers={
                "Access-Control-Allow-Methods": ", ".join(methods),
                "Access-Control-Allow-Headers": ", ".join(REQUEST_HEADERS),
                "Access-Control-Max-Age": str(_MAX_AGE_SECONDS),
            },
            media_type="application/json",
        )

    def may_open(self, origin: str | None, host: str | None) -> bool:
        """Whether a page may open a WebSocket; programs send no origin, and the server's own pages may."""
        if origin is None or origin in self._allowed:
            return True
        scheme, _, place = origin.partition("://")
        return scheme in ("http", "https") and place == host and bool(host)
