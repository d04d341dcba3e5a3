"""Paths that are only read and need no credential: the API's description among them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from ecompute.contract.problems import Code
from ecompute.contract.rules import Bounds
from ecompute_server.core.refusal import Refusal
from ecompute_server.logs import current_request

from . import responses
from .description import DOCS_POLICY, docs_page, openapi_json

_ALLOWED = ("GET", "HEAD")


class Page:
    """One path that is only read, as an ASGI application; `row` is its name in logs and metrics."""

    def __init__(self, row: str, answer: Callable[[], Awaitable[Response]]) -> None:
        self._row = row
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = current_request()
        if request is not None:
            request.row = self._row
        if scope["method"] in _ALLOWED:
            answer = await self._answer()
        else:
            message = f"This path knows the methods {', '.join(_ALLOWED)}."
            allow = {"Allow": ", ".join(_ALLOWED)}
            answer = responses.error(Refusal(Code.METHOD_NOT_ALLOWED, message, headers=allow))
        await answer(scope, receive, send)


def description_routes(bounds: Bounds) -> list[Route]:
    """`/openapi.json` for programs and `/docs` for people."""
    # made by the first who asks, which takes a while, so beside the event loop

    async def openapi() -> Response:
        return Response(await asyncio.to_thread(openapi_json, bounds), media_type="application/json")

    async def docs() -> Response:
        headers = {"Content-Security-Policy": DOCS_POLICY, "X-Content-Type-Options": "nosniff"}
        return Response(await asyncio.to_thread(docs_page, bounds), headers=headers, media_type="text/html")

    return [Route("/openapi.json", Page("openapi", openapi)), Route("/docs", Page("docs", docs))]
