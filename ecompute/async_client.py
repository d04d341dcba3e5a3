"""The async client, on asyncio and trio. `client` is its twin.

What an operation does is written once, in `protocol`; here it only meets the transport.
"""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Sequence
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar
from weakref import WeakSet

from .async_operations import (
    AsyncContainers,
    AsyncIngress,
    AsyncMountPaths,
    AsyncSSHKeys,
    AsyncSSHSwitch,
    AsyncTokens,
)
from .contract import endpoints, requests
from .contract.catalog import TERMINAL_COLS, TERMINAL_ROWS, Status
from .contract.endpoint import Endpoint
from .contract.resources import Container, Session
from .errors import CommandResult, InvalidArgument
from .protocol import execution, flows, temporary, waiting, wire
from .settings import CALL_TIMEOUT, CONNECT_TIMEOUT, WAIT_TIMEOUT, checked_timeout, resolve

if TYPE_CHECKING:
    # the HTTP library is loaded with the first client
    from .async_command import AsyncCommand
    from .async_events import AsyncEvents
    from .async_temporary import AsyncTemporary
    from .async_terminal import AsyncTerminal
    from .async_watch import AsyncWatch
    from .transport import AsyncCustomTransport, Verify

Request = TypeVar("Request")
Response = TypeVar("Response")


class AsyncClient:
    """A connection to one server with one credential; tasks of one event loop may share it.

    `token` and `base_url` come from `ECOMPUTE_TOKEN` and `ECOMPUTE_URL` when not given. `timeout` is the
    total time of one call in seconds, retries included, for calls that say nothing else; `connect_timeout`
    bounds each attempt to reach the server. `verify` is True, a file of certificate authorities, an
    `ssl.SSLContext` (also for client certificates) or False; `proxy` is a URL, else the environment's;
    `transport` replaces the way to the network (an `httpx.AsyncBaseTransport`).

    Reads, and calls that may happen twice without harm, are repeated on connection faults and on 429, 502,
    503 and 504, with growing pauses; creating is never repeated blindly. Redirects are not followed.

    Most operations are in groups, which are attributes:

        containers  containers: create, list, get, start, stop, delete, and wait for a status
        ssh_keys    the public keys that may log in: list, add, delete
        ssh_access  whether a container can be reached by SSH from outside: get, set
        ingress     the published ports of a container: list, add, remove
        mounts      the paths of a container that persist: get, set
        tokens      API tokens: list, create, delete

    Raises:
        InvalidArgument: a setting is missing or malformed.
    """

    containers: AsyncContainers
    """Containers: create, list, get, start, stop, delete, and wait for a status."""
    ssh_keys: AsyncSSHKeys
    """The public keys that may log in: list, add, delete."""
    ssh_access: AsyncSSHSwitch
    """Whether a container can be reached by SSH from outside: get, set."""
    ingress: AsyncIngress
    """The published ports of a container: list, add, remove."""
    mounts: AsyncMountPaths
    """The paths of a container that persist: get, set."""
    tokens: AsyncTokens
    """API tokens: list, create, delete."""

    def __init__(
        self,
        token: str | None = None,
        base_url: str | None = None,
        *,
        timeout: float = CALL_TIMEOUT,
        connect_timeout: float = CONNECT_TIMEOUT,
        verify: Verify = True,
        proxy: str | None = None,
        transport: AsyncCustomTransport | None = None,
    ) -> None:
        from .transport import AsyncTransport

        self._settings = resolve(token, base_url, timeout=timeout, connect_timeout=connect_timeout)
        self._transport = AsyncTransport(self._settings, verify=verify, proxy=proxy, transport=transport)
        self._timing = flows.Timing(time.monotonic, random.random)
        self._channels: WeakSet[AsyncEvents | AsyncWatch | AsyncTerminal | AsyncCommand] = WeakSet()
        self.containers = AsyncContainers(self)
        self.ssh_keys = AsyncSSHKeys(self)
        self.ssh_access = AsyncSSHSwitch(self)
        self.ingress = AsyncIngress(self)
        self.mounts = AsyncMountPaths(self)
        self.tokens = AsyncTokens(self)

    async def session(self, *, timeout: float | None = None) -> Session:
        """Who the token belongs to; its `token` is None."""
        return await self._call(endpoints.GET_SESSION, requests.GetSession(), timeout)

    async def logout(self, *, timeout: float | None = None) -> None:
        """End the session at once: its token is good for nothing any more, what it has opened is closed.

        Raises:
            Forbidden: the token is no session's.
        """
        await self._call(endpoints.LOG_OUT, requests.LogOut(), timeout)

    def events(self, *, timeout: float | None = None) -> AsyncEvents:
        """What happens to the containers, as a context manager that yields events.

        `timeout` bounds the opening.

        Raises (on entering):
            Forbidden: the token lacks `read` on all containers of its user.
            APIError, ConnectError, DeadlineExceeded, InvalidAnswer: as for every call.
        """
        return self._feed("events", self._within(timeout))

    def watch(self, *, timeout: float | None = None) -> AsyncWatch:
        """A live view of all containers, as a context manager that gives a mapping of id to container.

        Entering waits for the first list; `timeout` bounds that.

        Raises (on entering):
            Forbidden: the token lacks `read` on all containers of its user.
            APIError, ConnectError, DeadlineExceeded, InvalidAnswer: as for every call.
        """
        from .async_watch import AsyncWatch

        watch = AsyncWatch(self._transport, self._timing, self._within(timeout))
        self._channels.add(watch)
        return watch

    def temporary(
        self,
        *,
        name: str | None = None,
        instance_type: str | None = None,
        memory_mb: int | None = None,
        storage_gb: int | None = None,
        ssh_enabled: bool | None = None,
        mount_paths: Sequence[str] | None = None,
        ssh_key_ids: Sequence[int] | None = None,
        public_key: str | None = None,
        timeout: float = WAIT_TIMEOUT,
    ) -> AsyncTemporary:
        """A running container for the length of a block, as a context manager that gives the `Container`.

        A key is registered for it, and both are deleted at the end, whatever happens. `public_key` is that
        key; without it one is made up with which nobody can log in, so that only terminals and commands reach
        the container. `ssh_key_ids` names registered keys instead; these stay. `name` is a random one unless
        given, `timeout` the time to boot, the rest as for `containers.create`.

        Raises:
            InvalidArgument: at once, for arguments of the wrong type, or both kinds of key.
            ContainerFailed, DeadlineExceeded: on entering; it did not boot, and is deleted.
            APIError, ConnectError, OutcomeUnknown: on entering, as for every create; on leaving, when
                something could not be deleted and may be left.
        """
        from .async_temporary import AsyncTemporary

        if ssh_key_ids is not None and public_key is not None:
            raise InvalidArgument("A temporary container takes ssh_key_ids or public_key, not both.")
        unique = f"temporary-{secrets.token_hex(4)}"
        request = requests.CreateContainer(
            name=unique if name is None else name,
            ssh_key_ids=() if ssh_key_ids is None else wire.listed(ssh_key_ids),
            instance_type=instance_type,
            memory_mb=memory_mb,
            storage_gb=storage_gb,
            ssh_enabled=ssh_enabled,
            mount_paths=wire.listed(mount_paths),
        )
        secret = secrets.token_bytes(32)
        state = temporary.Temporary(request, public_key, unique=unique, secret=secret, timing=self._timing)
        wait = partial(
            self._wait, status=Status.RUNNING, timeout=checked_timeout(timeout), caller=temporary.CALLER
        )
        return AsyncTemporary(self._transport, state, self._settings.timeout, wait)

    def terminal(
        self,
        id: str,
        *,
        rows: int = TERMINAL_ROWS,
        cols: int = TERMINAL_COLS,
        timeout: float | None = None,
    ) -> AsyncTerminal:
        """A shell in a running container, as a context manager; `rows` and `cols` are 1 to 1000.

        `timeout` bounds the opening.

        Raises:
            InvalidArgument: at once, for arguments of the wrong type.
            NotFound, NotRunning: on entering, as every other refusal.
        """
        from .async_terminal import AsyncTerminal

        terminal = AsyncTerminal(self._transport, self._timing, self._within(timeout), id, rows, cols)
        self._channels.add(terminal)
        return terminal

    async def run(
        self,
        id: str,
        command: str,
        *,
        input: bytes | str | None = None,
        timeout: float | None = None,
        check: bool = False,
    ) -> CommandResult:
        """Run a shell line in a running container, as root and without a terminal, and wait for its end.

        `input` is its standard input, a text in UTF-8. What it prints is kept in memory, all of it. `timeout`
        is for everything (None: as long as it takes); a command whose time is over gets a hang-up.

        Raises:
            NotFound, NotRunning: as every other refusal; nothing was run.
            Unsupported: the server knows no single commands.
            CommandFailed: with `check`, when its exit status is not 0.
            DeadlineExceeded: it took longer; it may have ended all the same.
            ConnectError: the connection or the container was lost before its end, or the server did not take
                the command.
            InvalidArgument, InvalidAnswer: as for every call.
        """
        from .async_command import AsyncCommand

        timeout = None if timeout is None else checked_timeout(timeout)
        opening = self._settings.timeout if timeout is None else min(timeout, self._settings.timeout)
        running = AsyncCommand(self._transport, self._timing, id, command, input)
        self._channels.add(running)
        result = await running.run(opening, timeout)
        return execution.checked(id, result) if check else result

    async def aclose(self) -> None:
        """Close all connections, with all feeds, views, terminals and commands; closing twice is no fault."""
        for channel in [*self._channels]:
            await channel.aclose()
        await self._transport.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"{type(self).__name__}(base_url={self._settings.base_url!r})"

    def _within(self, timeout: float | None) -> float:
        return self._settings.timeout if timeout is None else checked_timeout(timeout)

    async def _call(
        self, endpoint: Endpoint[Request, Response], request: Request, timeout: float | None
    ) -> Response:
        flow = flows.call(endpoint, request, self._within(timeout), self._timing)
        return await flows.adrive(flow, self._transport.perform)

    def _feed(self, operation: str, timeout: float) -> AsyncEvents:
        from .async_events import AsyncEvents

        events = AsyncEvents(self._transport, self._timing, timeout, operation)
        self._channels.add(events)
        return events

    async def _wait(self, id: str, status: str, timeout: float, caller: str = "containers.wait") -> Container:
        deadline = self._timing.now() + checked_timeout(timeout)
        wait = waiting.Wait(id, status, caller)
        flow = wait.follow(timeout, deadline, self._timing)
        async with self._feed(wait.operation, timeout) as events:

            async def perform(step: flows.Step) -> Any:
                if isinstance(step, flows.NextEvent):
                    return await events.receive(max(0.0, step.deadline - self._timing.now()))
                return await self._transport.perform(step)

            return await flows.adrive(flow, perform)


async def login_async(
    base_url: str | None,
    username: str,
    password: str,
    *,
    timeout: float = CALL_TIMEOUT,
    verify: Verify = True,
    proxy: str | None = None,
    transport: AsyncCustomTransport | None = None,
) -> Session:
    """Trade a user name and password for a session; its `token` opens a client.

    Raises:
        Unauthenticated: the pair is wrong.
        RateLimited: too many tries; `retry_after` says how long to wait.
        InvalidArgument, APIError, ConnectError, DeadlineExceeded, InvalidAnswer: as for every call.
    """
    from .transport import AsyncTransport

    settings = resolve(None, base_url, timeout=timeout, needs_token=False)
    way = AsyncTransport(settings, verify=verify, proxy=proxy, transport=transport)

    try:
        flow = flows.call(
            endpoints.LOG_IN,
            requests.LogIn(username, password),
            settings.timeout,
            flows.Timing(time.monotonic, random.random),
        )
        return await flows.adrive(flow, way.perform)
    finally:
        await way.aclose()
