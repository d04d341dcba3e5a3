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
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from .http.app import Api
from .http.serving import Server, listen
from .identity.accounts import account, new_user
from .identity.keyring import Keyring
from .people import people_of
from .settings import MAX_LIMIT, Settings, as_options, gather
from .state import StateDirectory
from .store.database import SqliteFile
from .store.interface import Duplicate, User

if TYPE_CHECKING:
    from ecompute import AsyncClient, Client

T = TypeVar("T")

_START_SECONDS = 60.0
_STOP_SECONDS = 30.0


class RunningServer:
    """A server that answers at `url`, with the session token of one user in `token`."""

    def __init__(self, url: str, hypervisor: str, state: StateDirectory, people: Population) -> None:
        self.url = url
        self.hypervisor = hypervisor
        self.state = state.path
        self._people = people
        user = people.find("alice") or people.add("alice", None)
        self.user_id = user.id
        self.token = people.session(user)

    def __repr__(self) -> str:
        return f"<RunningServer {self.url}>"

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
        user = self._people.add(name, password)
        return OtherUser(user.id, self._people.session(user))

    def api_token(self, scopes: Mapping[str, Sequence[str]], *, expires_in: float | None = None) -> str:
        """An API token of the first user; `<uid>` in a scope stands for the user's id, seconds may be
        negative.
        """
        filled = {scope.replace("<uid>", self.user_id): actions for scope, actions in scopes.items()}
        return self._people.token(self.user_id, filled, expires_in)


class OtherUser:
    """A further user of a running server: `user_id` and a session `token`."""

    def __init__(self, user_id: str, token: str) -> None:
        self.user_id = user_id
        self.token = token


class Population:
    """Accounts and credentials of a running server, written past its API."""

    def __init__(self, state: StateDirectory, loop: LoopThread) -> None:
        self._loop = loop
        self._file = SqliteFile(state.database)
        self._people = people_of(self._file, Keyring.load(state.secret))

    def add(self, name: str, password: str | None) -> User:
        # no hash is made where no password is asked for: one takes longer than everything else here
        now = time.time()
        user = account(name, "", now=now) if password is None else new_user(name, password, now=now)
        try:
            self._loop.call(self._people.users.add(user))
        except Duplicate:
            raise ValueError(f"there is a user named {name} already") from None
        return user

    def find(self, name: str) -> User | None:
        return self._people.users.by_name(name)

    def session(self, user: User) -> str:
        return self._people.credentials.mint_session(user, time.time())

    def token(self, user_id: str, scopes: Mapping[str, Sequence[str]], expires_in: float | None) -> str:
        now = time.time()
        expires_at = 0 if expires_in is None else int(now + expires_in)
        minting = self._people.credentials.mint_token(
            user_id, "test", scopes, now=now, expires_at=expires_at, limit=MAX_LIMIT
        )
        return self._loop.call(minting)[0]

    def close(self) -> None:
        self._file.close()


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
            url = stack.enter_context(_in_thread(chosen, directory, loop))
        else:
            url = stack.enter_context(_in_child(chosen, keep=state is not None))
        people = Population(directory, loop)
        stack.callback(people.close)
        yield RunningServer(url, hypervisor, directory, people)


@contextmanager
def _in_thread(settings: Settings, state: StateDirectory, loop: LoopThread) -> Iterator[str]:
    # imported late: a test against libvirt does not need the simulated host here, nor the other way round
    from . import assembly

    ready: asyncio.Queue[str | BaseException] = asyncio.Queue()
    servers: list[Server] = []

    async def serve() -> None:
        state.lock()
        try:
            with listen(settings.host, settings.port) as listener:
                url = "http://{}:{}".format(*listener.getsockname()[:2])
                async with assembly.open_services(settings, state) as services:
                    server = Server(
                        Api(services),
                        started=lambda: ready.put_nowait(url),
                        trusted_proxies=settings.trusted_proxies,
                    )
                    servers.append(server)
                    await server.serve(sockets=[listener])
        except BaseException as error:
            ready.put_nowait(error)
            raise
        finally:
            state.unlock()

    async def start() -> tuple[asyncio.Task[None], str | BaseException]:
        task = asyncio.create_task(serve())
        return task, await ready.get()

    async def stop(task: asyncio.Task[None]) -> None:
        await servers[0].stop()
        await task

    task, url = loop.call(start())
    if isinstance(url, BaseException):
        raise url
    try:
        yield url
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
