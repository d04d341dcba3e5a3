"""A server for tests: started in a moment, gone at the end, with a user who can do everything.

    with running_server() as server:
        client = server.client()

The simulated host runs in this process, on a thread of its own; libvirt runs in a child process, since a
process can open libvirt's embedded driver only once.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecompute.contract.scopes import Grants

from . import assembly
from .faults import Faults, FaultyServer
from .gateway.silent import SilentGateway
from .guest.simulated import SimulatedGuests
from .handlers.call import Services
from .http.serving import Server, listen
from .hypervisor.simulated import SimulatedHypervisor
from .identity.keyring import Keyring
from .people import people_of
from .population import LoopThread, OtherUser, Population
from .settings import Settings, as_options, gather
from .state import StateDirectory
from .store.database import SqliteFile, empty_database

if TYPE_CHECKING:
    from ecompute import AsyncClient, Client

    from .in_process import in_process_client, in_process_server

__all__ = ["OtherUser", "RunningServer", "in_process_client", "in_process_server", "running_server"]

# what every server begins with; a server is ready in less time than this takes
empty_database()

_START_SECONDS = 60.0
_STOP_SECONDS = 30.0


class RunningServer:
    """A server that answers at `url`, with the session token of one user in `token`."""

    def __init__(
        self,
        url: str,
        hypervisor: str,
        state: StateDirectory,
        people: Population,
        faults: Faults | None,
    ) -> None:
        self.url = url
        self._faults = faults
        self.hypervisor = hypervisor
        self.state = state.path
        self._people = people
        user, self.token = people.first("alice")
        self.user_id = user.id

    def __repr__(self) -> str:
        seed = f", faults of seed {self._faults.seed}" if self._faults and self._faults.history else ""
        return f"<RunningServer {self.url}{seed}>"

    @property
    def faults(self) -> Faults:
        """The levers by which this server misbehaves on demand.

        Raises:
            RuntimeError: the server runs in a process of its own, where nothing can be put on from here.
        """
        if self._faults is None:
            raise RuntimeError("Faults need the simulated host in this process: running_server() alone.")
        return self._faults

    def client(self, token: str | None = None) -> Client:
        """A client of the library with this user's session, or with another token."""
        from ecompute import Client

        return Client(token=token or self.token, base_url=self.url)

    def async_client(self, token: str | None = None) -> AsyncClient:
        """An asynchronous client, otherwise as `client`."""
        from ecompute import AsyncClient

        return AsyncClient(token=token or self.token, base_url=self.url)

    def add_user(self, name: str, password: str | None = None) -> OtherUser:
        """One more user; with a password the user can log in."""
        user, token = self._people.add(name, password)
        return OtherUser(user.id, token)

    def api_token(
        self, scopes: Grants | Mapping[str, Sequence[str]], *, expires_in: float | None = None
    ) -> str:
        """An API token of the first user; `<uid>` in a scope stands for the user's id, seconds may be
        negative.
        """
        scopes = scopes.to_dict() if isinstance(scopes, Grants) else scopes
        filled = {scope.replace("<uid>", self.user_id): actions for scope, actions in scopes.items()}
        return self._people.token(self.user_id, filled, expires_in)


@contextmanager
def running_server(
    *,
    hypervisor: str = "simulated",
    state: Path | None = None,
    in_process: bool | None = None,
    **settings: Any,
) -> Iterator[RunningServer]:
    """A server on a free loopback port until the block ends; its machines end with it.

    `state` keeps the state directory for a later server, and then machines keep running as well. `settings`
    are those of `ecompute-server serve`, by their names. `in_process` False makes the simulated host's server
    a child process as well, as libvirt's always is.
    """
    with ExitStack() as stack:
        folder = state or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ecompute-")))
        chosen = gather({"state": folder, "hypervisor": hypervisor, "port": 0, **settings}, environment={})
        loop = LoopThread()
        stack.callback(loop.close)
        directory = StateDirectory(folder)
        if hypervisor == "simulated" and in_process is not False:
            opened = _in_thread(chosen, directory, loop, durable=state is not None)
            url, people, faults = stack.enter_context(opened)
            yield RunningServer(url, hypervisor, directory, people, faults)
        else:
            url = stack.enter_context(_in_child(chosen, keep=state is not None))
            file = SqliteFile(directory.database)
            stack.callback(file.close)
            known = people_of(file, Keyring.load(directory.secret))
            people = Population(known.users, known.credentials, loop)
            yield RunningServer(url, hypervisor, directory, people, None)


@contextmanager
def _in_thread(
    settings: Settings, state: StateDirectory, loop: LoopThread, *, durable: bool
) -> Iterator[tuple[str, Population, Faults]]:
    machines = SimulatedHypervisor(state.path)
    parts = assembly.Drivers(machines, SimulatedGuests(machines), SilentGateway(), lambda kind: None)
    faults = Faults(machines, loop.call)
    ready: asyncio.Queue[Services | BaseException] = asyncio.Queue()
    servers: list[Server] = []

    async def serve(listener: socket.socket) -> None:
        state.lock()
        try:
            opening = assembly.open_services(settings, state, chosen=parts, durable=durable)
            async with opening as services:
                server = FaultyServer(
                    services,
                    faults,
                    started=lambda: ready.put_nowait(services),
                    trusted_proxies=settings.trusted_proxies,
                )
                servers.append(server)
                await server.serve(sockets=[listener])
        except BaseException as error:
            ready.put_nowait(error)
            raise
        finally:
            state.unlock()

    async def start(listener: socket.socket) -> tuple[asyncio.Task[None], Services | BaseException]:
        task = asyncio.create_task(serve(listener))
        return task, await ready.get()

    async def stop(task: asyncio.Task[None]) -> None:
        await servers[0].stop()
        await task

    with listen(settings.host, settings.port) as listener:
        url = "http://{}:{}".format(*listener.getsockname()[:2])
        task, services = loop.call(start(listener))
        if isinstance(services, BaseException):
            raise services
        try:
            yield url, Population(services.users, services.credentials, loop), faults
        finally:
            loop.call(stop(task))


@contextmanager
def _in_child(settings: Settings, *, keep: bool) -> Iterator[str]:
    command = [sys.executable, "-m", "ecompute_server"]
    options = list(as_options(settings))
    log = settings.state / "serve.log"
    with log.open("ab") as errors:
        child = subprocess.Popen(
            [*command, "serve", *options], stdout=subprocess.PIPE, stderr=errors, text=True
        )
    try:
        assert child.stdout is not None
        line = _first_line(child)
        if not line.startswith("ready "):
            raise RuntimeError(f"The server did not start: {log.read_text()[-2000:]}")
        yield line.split()[1]
    finally:
        _end(child)
        if not keep:
            subprocess.run(
                [*command, "down", "--state", str(settings.state)], check=True, capture_output=True
            )


def _first_line(child: subprocess.Popen[str]) -> str:
    timer = threading.Timer(_START_SECONDS, child.kill)
    timer.start()
    try:
        assert child.stdout is not None
        return child.stdout.readline()
    finally:
        timer.cancel()


def _end(child: subprocess.Popen[str]) -> None:
    if child.poll() is None:
        os.kill(child.pid, signal.SIGTERM)
        try:
            child.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
    if child.stdout is not None:
        child.stdout.close()


def __getattr__(name: str) -> Any:
    # only unit tests of others want these, and they load httpx
    if name not in ("in_process_client", "in_process_server"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import in_process

    return getattr(in_process, name)
