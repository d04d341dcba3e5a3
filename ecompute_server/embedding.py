"""The server as an ASGI application, for programs that bring their own HTTP server."""

from __future__ import annotations

from contextlib import AsyncExitStack

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from . import assembly
from .http.app import Api
from .settings import Settings
from .state import StateDirectory


def create_app(settings: Settings) -> ASGIApp:
    """The whole server as one ASGI application; it opens its state at the lifespan's start and lets go at
    its end.

    The HTTP server must speak ASGI's lifespan and WebSockets, and run the application in one process. For
    real machines call this before the program starts threads: libvirt's driver changes the process that it
    lives in.

    Raises:
        HypervisorError: the process has threads already (real machines only).
    """
    assembly.prepare_process(settings)
    return _Application(settings)


class _Application:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._open = AsyncExitStack()
        self._api: Api | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        if self._api is None:
            raise RuntimeError("The application needs an HTTP server that speaks ASGI's lifespan protocol.")
        await self._api(scope, receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await self._start()
        except Exception as error:
            await self._open.aclose()
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        stopped: Message = {"type": "lifespan.shutdown.complete"}
        try:
            await self._stop()
        except Exception as error:
            stopped = {"type": "lifespan.shutdown.failed", "message": str(error)}
        await send(stopped)

    async def _start(self) -> None:
        state = StateDirectory(self._settings.state)
        state.lock()
        self._open.callback(state.unlock)
        services = await self._open.enter_async_context(assembly.open_services(self._settings, state))
        self._api = Api(services)

    async def _stop(self) -> None:
        if self._api is not None:
            await self._api.drain()
        await self._open.aclose()
