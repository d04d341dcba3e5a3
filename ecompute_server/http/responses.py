"""Answers: JSON always, with the request's id."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from ecompute.contract import codec
from ecompute.contract.problems import Code
from ecompute_server.core.refusal import Refusal
from ecompute_server.handlers.call import Written


def success(resource: Any) -> Response:
    """What a handler gave as a 200 answer."""
    if isinstance(resource, Written):
        return success_of(resource.body)
    return success_of(codec.dump_json(codec.unstructure(resource)))


def success_of(body: bytes) -> Response:
    """A JSON body as a 200 answer."""
    return _json(200, body, {})


def error(refusal: Refusal) -> Response:
    """A refusal as its row of the error table."""
    headers = dict(refusal.headers)
    if refusal.code is Code.UNAUTHENTICATED:
        headers.setdefault("WWW-Authenticate", "Bearer")
    return _json(refusal.status, codec.dump_json(refusal.body()), headers)


def _json(status: int, body: bytes, headers: dict[str, str]) -> Response:
    # what one user may see is no business of a cache on the way
    headers = {"Cache-Control": "no-store", **headers}
    return Response(body, status, headers, "application/json")
