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
import time
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ecompute.contract.scopes import Grants

from . import assembly
from .faults import Faults, FaultyServer
from .gateway.silent import SilentGateway
from .guest.simulated import SimulatedGuests
from .handlers.call import Services
from .http.serving import Server, listen
from .hypervisor.simulated import SimulatedHypervisor
from .identity.accounts import account, new_user
from .identity.credentials import Credentials
from .identity.keyring import Keyring
from .people import people_of
from .settings import MAX_LIMIT, Settings, as_options, gather
from .state import StateDirectory
from .store.database import SqliteFile, empty_database
from .store.interface import Duplicate, User, UserStore

if TYPE_CHECKING:
    from ecompute import AsyncClient, Client

T = TypeVar("T")

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


class OtherUser:
    """A further user of a running server: `user_id` and a session `token`."""

    def __init__(self, user_id: str, token: str) -> None:
        self.user_id = user_id
        self.token = token


class Population:
    """Accounts and credentials of a running server, written past its API; all on one event loop."""

    def __init__(self, users: UserStore, credentials: Credentials, loop: LoopThread) -> None:
        self._users = users
        self._credentials = credentials
        self._loop = loop

    def first(self, name: str) -> tuple[User, str]:
        """The user of that name, made if need be, and a session."""

        async def find() -> tuple[User, str]:
            user = self._users.by_name(name)
            if user is None:
                user = account(name, "", now=time.time())
                await self._users.add(user)
            return user, self._credentials.mint_session(user, time.time())

        return self._loop.call(find())

    def add(self, name: str, password: str | None) -> tuple[User, str]:
        """A new user, and a session."""
        # no hash is made where no password is asked for: one takes longer than everything else here
        now = time.time()
        user = account(name, "", now=now) if password is None else new_user(name, password, now=now)

        async def add() -> str:
            await self._users.add(user)
            return self._credentials.mint_session(user, now)

        try:
            return user, self._loop.call(add())
        except Duplicate:
            raise ValueError(f"there is a user named {name} already") from None

    def token(self, user_id: str, scopes: Mapping[str, Sequence[str]], expires_in: float | None) -> str:
        now = time.time()
        expires_at = 0 if expires_in is None else int(now + expires_in)
        minting = self._credentials.mint_token(
            user_id, "test", scopes, now=now, expires_at=expires_at, limit=MAX_LIMIT
        )
        return self._loop.call(minting)[0]


class LoopThread:
    """An event loop on a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="ecompute-server", daemon=True)
        self._thread.start()

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine over there and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


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
