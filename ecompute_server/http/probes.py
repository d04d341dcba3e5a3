"""What operators and their machines ask of the server: is it alive, is it ready, how is it doing.

These paths are no rows of the contract and need no credential, so they tell nothing about the inside:
what is wrong with a server that is not ready is in its log.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from starlette.responses import Response
from starlette.routing import Route

from ecompute.contract.resources import Acknowledgement
from ecompute_server.core.refusal import unavailable
from ecompute_server.handlers.call import Pinged
from ecompute_server.logs import get_logger

from . import responses
from .pages import Page

DATABASE_SECONDS = 2.0
HYPERVISOR_SECONDS = 5.0
REMEMBERED_SECONDS = 1.0
"""Probes within this time get one answer, so that nobody can load the host with them."""

_log = get_logger(__name__)
_OK = Acknowledgement("ok")


class Readiness:
    """Whether what the server stands on answers. Lives on the event loop.

    All who ask at the same time share one look, and a question that was not answered in its time is waited
    for instead of being asked again: nothing piles up behind a database or a hypervisor that hangs.
    """

    def __init__(
        self, *, database: Pinged, hypervisor: Pinged, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._questions = (
            _Question("database", database, DATABASE_SECONDS),
            _Question("hypervisor", hypervisor, HYPERVISOR_SECONDS),
        )
        self._clock = clock
        self._faults: dict[str, str] = {}
        self._looked_at: float | None = None
        self._look: asyncio.Task[None] | None = None

    async def ready(self) -> bool:
        """Whether both answer, or did within the last second."""
        if self._looked_at is None or self._clock() - self._looked_at >= REMEMBERED_SECONDS:
            if self._look is None:
                self._look = asyncio.create_task(self._look_again())
            await asyncio.shield(self._look)
        return not self._faults

    async def _look_again(self) -> None:
        try:
            found = await asyncio.gather(*(question.ask() for question in self._questions))
            faults = {
                question.name: fault for question, fault in zip(self._questions, found, strict=True) if fault
            }
            if faults != self._faults:
                tell = _log.error if faults else _log.info
                tell("not ready" if faults else "ready again", **faults)
            self._faults = faults
            self._looked_at = self._clock()
        finally:
            self._look = None

    async def close(self) -> None:
        """Wait for nothing any more."""
        tasks = [task for task in (self._look, *(q.asking for q in self._questions)) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Question:
    """One thing that must answer within its time."""

    def __init__(self, name: str, asked: Pinged, seconds: float) -> None:
        self.name = name
        self.asking: asyncio.Task[None] | None = None
        self._asked = asked
        self._seconds = seconds

    async def ask(self) -> str:
        """Why it does not work, or nothing."""
        if self.asking is None:
            self.asking = asyncio.create_task(self._asked.ping())
        done, _ = await asyncio.wait({self.asking}, timeout=self._seconds)
        if not done:
            return f"no answer within {self._seconds:g} seconds"
        answered, self.asking = self.asking, None
        if answered.cancelled():
            return "given up"
        error = answered.exception()
        return f"{type(error).__name__}: {error}" if error is not None else ""


class Probes:
    """The three paths as routes: `/healthz`, `/readyz`, `/metrics`."""

    def __init__(
        self,
        *,
        readiness: Readiness,
        exposition: Callable[[], tuple[bytes, str]],
        draining: Callable[[], bool],
    ) -> None:
        self._readiness = readiness
        self._exposition = exposition
        self._draining = draining

    def routes(self) -> list[Route]:
        """For Starlette's router, to be reached without a credential and while the server drains."""
        return [
            Route("/healthz", Page("healthz", self._healthz)),
            Route("/readyz", Page("readyz", self._readyz)),
            Route("/metrics", Page("metrics", self._metrics)),
        ]

    async def close(self) -> None:
        """Give up the questions under way; to be called at the server's end."""
        await self._readiness.close()

    async def _healthz(self) -> Response:
        return responses.success(_OK)

    async def _readyz(self) -> Response:
        if self._draining():
            return responses.error(unavailable("The server is shutting down."))
        if not await self._readiness.ready():
            return responses.error(unavailable("The server is not ready; its log says why."))
        return responses.success(_OK)

    async def _metrics(self) -> Response:
        body, content_type = self._exposition()
        return Response(body, 200, {"Content-Type": content_type, "Cache-Control": "no-store"})
