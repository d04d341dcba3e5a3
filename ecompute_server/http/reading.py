"""Reading requests: the credential and the body, both within bounds."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from starlette.requests import HTTPConnection, Request

from ecompute.contract import codec
from ecompute.contract.catalog import MAX_BODY_BYTES
from ecompute.contract.problems import Code
from ecompute_server.core.refusal import Refusal

BODY_SECONDS = 30.0


def bearer(connection: HTTPConnection, *, query_allowed: bool) -> str | None:
    """The credential of the Authorization header (RFC 6750 §2.1); with `query_allowed` also that of
    `?token=`.
    """
    given = connection.headers.getlist("authorization")
    if len(given) > 1:
        # two parties on the way may each believe another one of them
        return None
    scheme, _, value = (given[0] if given else "").partition(" ")
    if scheme.lower() == "bearer" and value.strip():
        return value.strip()
    return connection.query_params.get("token") or None if query_allowed else None


async def read_body(request: Request) -> bytes:
    """The whole body, at most 64 KiB.

    Raises:
        Refusal: it is larger, and nothing beyond the bound is read; or it took too long.
    """
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > MAX_BODY_BYTES:
        raise _too_large()
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    raise _too_large()
    except TimeoutError:
        message = f"The body did not arrive within {BODY_SECONDS:g} seconds."
        raise Refusal(Code.INVALID_REQUEST, message, headers={"Connection": "close"}) from None
    return bytes(body)


def _too_large() -> Refusal:
    message = f"The body is larger than {MAX_BODY_BYTES} bytes."
    return Refusal(Code.TOO_LARGE, message, headers={"Connection": "close"})


def json_body(body: bytes) -> Mapping[str, Any]:
    """The decoded body of a row that has one; whether it is an object is for the codec to say."""
    decoded: Mapping[str, Any] = codec.load_json(body)
    return decoded
