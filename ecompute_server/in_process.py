"""The simulated server without a network: for unit tests of programs that use the API.

Requests go through httpx's ASGI transport, WebSockets over a pair of connected sockets that have no address.
Everything is as with `running_server`, apart from what lies below HTTP.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import socket
import tempfile
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import anyio.to_thread
import httpx
from uvicorn.server import ServerState

from . import assembly
from .gateway.silent import SilentGateway
from .guest.simulated import SimulatedGuests
from .handlers.call import Services
from .http.app import Api
from .http.serving import http_config
from .hypervisor.simulated import SimulatedHypervisor
from .pairs import AsyncPairStream, PairStream, handshake, upgraded
from .population import LoopThread, OtherUser, Population
from .settings import Settings, gather
from .state import StateDirectory

if TYPE_CHECKING:
    from ecompute import AsyncClient, Client

T = TypeVar("T")

URL = "http://ecompute.invalid"
"""What clients call the server; the name leads nowhere (RFC 6761, 6.4)."""


class Application:
    """The API on its event loop, as the transports need it."""

    def __init__(self, api: Api, loop: LoopThread) -> None:
        self._loop = loop
        self._asgi = httpx.ASGITransport(api, raise_app_exceptions=False)
        self._config = http_config(api)
        self._config.load()
        self._state = ServerState()

    def exchange(self, request: httpx.Request) -> httpx.Response:
        """Answer a request; its body has been read.

        Raises:
            httpx.ReadTimeout: the answer takes longer than the request allows.
        """
        if request.headers.get("upgrade", "").lower() == "websocket":
            return self._upgrade(request)
        return self._wait(request, self._answer(request))

    def _wait(self, request: httpx.Request, work: Coroutine[Any, Any, T]) -> T:
        future = self._loop.submit(work)
        try:
            return future.result(request.extensions.get("timeout", {}).get("read"))
        except concurrent.futures.TimeoutError:
            future.cancel()
            raise httpx.ReadTimeout("The answer takes too long.", request=request) from None

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        sent = httpx.Request(request.method, request.url, headers=request.headers, content=request.content)
        answer = await self._asgi.handle_async_request(sent)
        body = b"".join([piece async for piece in answer.stream])  # type: ignore[union-attr]
        return httpx.Response(answer.status_code, headers=answer.headers.raw, content=body)

    def _upgrade(self, request: httpx.Request) -> httpx.Response:
        ours, theirs = socket.socketpair()
        try:
            self._wait(request, self._accept(theirs))
            return handshake(request, ours)
        except BaseException:
            ours.close()
            raise

    async def _accept(self, connection: socket.socket) -> None:
        protocol: Callable[..., asyncio.Protocol] = self._config.http_protocol_class
        await asyncio.get_running_loop().connect_accepted_socket(
            partial(protocol, config=self._config, server_state=self._state, app_state={}), connection
        )


class InProcessTransport(httpx.BaseTransport):
    """Leads a synchronous client to the server."""

    def __init__(self, application: Application) -> None:
        self._application = application

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Answer a request."""
        request.read()
        return self._application.exchange(request)


class AsyncInProcessTransport(httpx.AsyncBaseTransport):
    """Leads an asynchronous client to the server, on asyncio and trio."""

    def __init__(self, application: Application) -> None:
        self._application = application

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer a request."""
        await request.aread()
        answer = await anyio.to_thread.run_sync(self._application.exchange, request, abandon_on_cancel=True)
        stream = answer.extensions.get("network_stream")
        if isinstance(stream, PairStream):
            return upgraded(answer.headers.raw, AsyncPairStream(stream))
        return answer


class InProcessServer:
    """A server that is reached by its own clients only; `url` leads nowhere. `token` is a session's."""

    def __init__(self, application: Application, people: Population) -> None:
        self.url = URL
        self._application = application
        self._people = people
        user, self.token = people.first("alice")
        self.user_id = user.id

    def client(self, token: str | None = None) -> Client:
        """A client of the library with this user's session, or with another token."""
        from ecompute import Client

        return Client(token or self.token, URL, transport=InProcessTransport(self._application))

    def async_client(self, token: str | None = None) -> AsyncClient:
        """An asynchronous client, otherwise as `client`."""
        from ecompute import AsyncClient

        return AsyncClient(token or self.token, URL, transport=AsyncInProcessTransport(self._application))

    def transport(self) -> InProcessTransport:
        """A transport for an `httpx.Client` of one's own."""
        return InProcessTransport(self._application)

    def add_user(self, name: str, password: str | None = None) -> OtherUser:
        """One more user; with a password the user can log in."""
        user, token = self._people.add(name, password)
        return OtherUser(user.id, token)

    def api_token(self, scopes: Mapping[str, Sequence[str]], *, expires_in: float | None = None) -> str:
        """An API token of the first user; `<uid>` in a scope stands for the user's id, seconds may be
        negative.
        """
        filled = {scope.replace("<uid>", self.user_id): actions for scope, actions in scopes.items()}
        return self._people.token(self.user_id, filled, expires_in)


@contextmanager
def in_process_server(**settings: Any) -> Iterator[InProcessServer]:
    """A server on the simulated host, without a port, until the block ends. `settings` are those of
    `ecompute-server serve`, by their names.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ecompute-")))
        chosen = gather({"state": folder, "hypervisor": "simulated", **settings}, environment={})
        loop = LoopThread()
        stack.callback(loop.close)
        services, api, end = loop.call(_begin(chosen, StateDirectory(folder)))
        stack.callback(lambda: loop.call(end()))
        yield InProcessServer(Application(api, loop), Population(services.users, services.credentials, loop))


@contextmanager
def in_process_client(**settings: Any) -> Iterator[Client]:
    """A client with the session of the only user of such a server, until the block ends."""
    with in_process_server(**settings) as server, server.client() as client:
        yield client


async def _begin(
    settings: Settings, state: StateDirectory
) -> tuple[Services, Api, Callable[[], Coroutine[Any, Any, None]]]:
    """Open everything in a task of its own; the last thing given ends it."""
    ended = asyncio.Event()
    ready: asyncio.Future[tuple[Services, Api]] = asyncio.get_running_loop().create_future()

    async def live() -> None:
        machines = SimulatedHypervisor(state.path)
        parts = assembly.Drivers(machines, SimulatedGuests(machines), SilentGateway(), lambda kind: None)
        state.lock()
        try:
            async with assembly.open_services(settings, state, chosen=parts, durable=False) as services:
                api = Api(services)
                ready.set_result((services, api))
                await ended.wait()
                await api.drain()
        finally:
            state.unlock()

    task = asyncio.create_task(live())
    await asyncio.wait((task, ready), return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        task.result()
    services, api = ready.result()

    async def end() -> None:
        ended.set()
        await task

    return services, api, end
