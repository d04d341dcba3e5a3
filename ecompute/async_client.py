"""The async client, on asyncio and trio: one line per operation. `client` is its twin.

What an operation does is written once, in `protocol`; here it only meets the transport.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar
from weakref import WeakSet

from .contract import endpoints, requests
from .contract.catalog import TERMINAL_COLS, TERMINAL_ROWS
from .contract.endpoint import Endpoint
from .contract.resources import Container, Session, SSHKey
from .protocol import flows, wire
from .settings import CALL_TIMEOUT, CONNECT_TIMEOUT, WAIT_TIMEOUT, checked_timeout, resolve

if TYPE_CHECKING:
    # the HTTP library is loaded with the first client
    from .async_events import AsyncEvents
    from .async_terminal import AsyncTerminal
    from .transport import AsyncCustomTransport, Verify

Request = TypeVar("Request")
Response = TypeVar("Response")

# inside the classes, `list` is an operation
_Containers = list[Container]
_SSHKeys = list[SSHKey]


class AsyncClient:
    """A connection to one server with one credential; tasks of one event loop may share it.

    `token` and `base_url` come from `ECOMPUTE_TOKEN` and `ECOMPUTE_URL` when not given. `timeout` is the
    total time of one call in seconds, retries included, for calls that say nothing else; `connect_timeout`
    bounds each attempt to reach the server. `verify` is True, a file of certificate authorities, an
    `ssl.SSLContext` (also for client certificates) or False; `proxy` is a URL, else the environment's;
    `transport` replaces the way to the network (an `httpx.AsyncBaseTransport`).

    Reads, and calls that may happen twice without harm, are repeated on connection faults and on 429, 502,
    503 and 504, with growing pauses; creating is never repeated blindly. Redirects are not followed.

    Raises:
        InvalidArgument: a setting is missing or malformed.
    """

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
        self._channels: WeakSet[AsyncEvents | AsyncTerminal] = WeakSet()
        self.containers = AsyncContainers(self)
        self.ssh_keys = AsyncSSHKeys(self)

    async def session(self, *, timeout: float | None = None) -> Session:
        """Who the token belongs to; its `token` is None."""
        return await self._call(endpoints.GET_SESSION, requests.GetSession(), timeout)

    def events(self, *, timeout: float | None = None) -> AsyncEvents:
        """What happens to the containers, as a context manager that yields events.

        `timeout` bounds the opening.

        Raises (on entering):
            Forbidden: the token lacks `read` on all containers of its user.
            APIError, ConnectError, DeadlineExceeded, InvalidAnswer: as for every call.
        """
        from .async_events import AsyncEvents

        events = AsyncEvents(self._transport, self._timing, self._within(timeout))
        self._channels.add(events)
        return events

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

    async def aclose(self) -> None:
        """Close all connections, feeds and terminals included; closing twice is no fault."""
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

    async def _wait(self, id: str, status: str, timeout: float) -> Container:
        deadline = self._timing.now() + checked_timeout(timeout)
        flow = flows.wait_until(id, status, timeout, deadline, self._timing)
        async with self.events(timeout=timeout) as events:

            async def perform(step: flows.Step) -> Any:
                if isinstance(step, flows.NextEvent):
                    return await events.receive(step.deadline - self._timing.now())
                return await self._transport.perform(step)

            return await flows.adrive(flow, perform)


class AsyncContainers:
    """`client.containers`."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def list(self, *, timeout: float | None = None) -> _Containers:
        """The caller's containers, newest first."""
        return [
            *(
                await self._client._call(endpoints.LIST_CONTAINERS, requests.ListContainers(), timeout)
            ).containers
        ]

    async def create(
        self,
        name: str,
        ssh_key_ids: Sequence[int],
        *,
        instance_type: str | None = None,
        memory_mb: int | None = None,
        storage_gb: int | None = None,
        ssh_enabled: bool | None = None,
        mount_paths: Sequence[str] | None = None,
        timeout: float | None = None,
    ) -> Container:
        """Make a container and start it; the answer comes at once, with the status `pending`.

        What is not given takes the server's default. `ssh_key_ids` names the keys that may log in, at least
        one; `mount_paths` the directories that outlive a stop.

        Raises:
            InvalidRequest: a rule is broken; `fields` lists every fault.
            LimitReached: the user has as many containers as allowed.
            OutcomeUnknown: the answer was lost, and the container may be there; it is never sent twice.
        """
        request = requests.CreateContainer(
            name=name,
            ssh_key_ids=wire.listed(ssh_key_ids),
            instance_type=instance_type,
            memory_mb=memory_mb,
            storage_gb=storage_gb,
            ssh_enabled=ssh_enabled,
            mount_paths=wire.listed(mount_paths),
        )
        return await self._client._call(endpoints.CREATE_CONTAINER, request, timeout)

    async def get(self, id: str, *, timeout: float | None = None) -> Container:
        """One container, as it is now.

        Raises:
            NotFound: no container of the caller's has this id.
        """
        return await self._client._call(endpoints.GET_CONTAINER, requests.GetContainer(id), timeout)

    async def start(self, id: str, *, timeout: float | None = None) -> Container:
        """Boot a stopped or failed container; one that is on its way or running stays as it is.

        Raises:
            NotFound: no container of the caller's has this id.
        """
        return await self._client._call(endpoints.START_CONTAINER, requests.StartContainer(id), timeout)

    async def stop(self, id: str, *, timeout: float | None = None) -> Container:
        """Power a container off; only what lies under its mount paths stays.

        Raises:
            NotFound: no container of the caller's has this id.
        """
        return await self._client._call(endpoints.STOP_CONTAINER, requests.StopContainer(id), timeout)

    async def delete(self, id: str, *, timeout: float | None = None) -> None:
        """Delete a container and all its data.

        Raises:
            NotFound: no container of the caller's has this id.
        """
        await self._client._call(endpoints.DELETE_CONTAINER, requests.DeleteContainer(id), timeout)

    async def wait(self, id: str, status: str = "running", *, timeout: float = WAIT_TIMEOUT) -> Container:
        """Wait until a container has a status, by the events feed, and return it as it is then.

        Raises:
            ContainerFailed: it failed on the way; `reason` says why, if the server told.
            NotFound: no container of the caller's has this id, or it was deleted meanwhile.
            DeadlineExceeded: it took longer; `last_status` is what was seen last.
            Forbidden: the token lacks `read` on all containers of its user, which the feed needs.
        """
        return await self._client._wait(id, status, timeout)


class AsyncSSHKeys:
    """`client.ssh_keys`."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def list(self, *, timeout: float | None = None) -> _SSHKeys:
        """The caller's keys, newest first."""
        return [
            *(await self._client._call(endpoints.LIST_SSH_KEYS, requests.ListSSHKeys(), timeout)).ssh_keys
        ]

    async def add(self, name: str, public_key: str, *, timeout: float | None = None) -> SSHKey:
        """Register a public key: one line of OpenSSH's format, such as `ssh-ed25519 AAAA… me@home`.

        Raises:
            InvalidRequest: the key or the name is malformed.
            Conflict: the caller has this key already.
            LimitReached: the user has as many keys as allowed.
            OutcomeUnknown: the answer was lost, and the key may be there; it is never sent twice.
        """
        return await self._client._call(endpoints.ADD_SSH_KEY, requests.AddSSHKey(name, public_key), timeout)

    async def delete(self, id: int, *, timeout: float | None = None) -> None:
        """Forget a key; containers that carry it keep it.

        Raises:
            NotFound: no key of the caller's has this id.
        """
        await self._client._call(endpoints.DELETE_SSH_KEY, requests.DeleteSSHKey(id), timeout)


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
