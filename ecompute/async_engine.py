"""What an async client works by: how its operations are sent, waited for and run. `engine` is its twin.

What they are is in `async_client` and `async_operations`.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from .async_bound import AsyncContainer
from .channels import Channels
from .contract.catalog import Status
from .contract.resources import Container as AnyContainer
from .errors import CommandResult, ContainerFailed, DeadlineExceeded
from .late import endpoints, flows, requests, temporary, waiting
from .listing import Listing
from .observing import span
from .settings import WAIT_TIMEOUT, Settings, checked_timeout
from .surroundings import key_for

if TYPE_CHECKING:
    # the HTTP library is loaded with the first client
    from .async_command import AsyncCommand
    from .async_events import AsyncEvents
    from .async_terminal import AsyncTerminal
    from .async_transport import AsyncTransport
    from .async_waiters import AsyncHub
    from .async_watch import AsyncWatch
    from .contract.endpoint import Endpoint
    from .protocol.context import Context
    from .protocol.inputs import AsyncInput

Request = TypeVar("Request")
Response = TypeVar("Response")


class AsyncEngine:
    """What the operations of one client share."""

    _settings: Settings
    _transport: AsyncTransport
    _context: Context
    _channels: Channels[AsyncEvents | AsyncWatch | AsyncTerminal | AsyncCommand | AsyncHub]
    _bind: Callable[[AnyContainer], AsyncContainer]
    _waiters: AsyncHub | None
    _user: str | None

    def _within(self, timeout: float | None) -> float:
        return self._settings.timeout if timeout is None else checked_timeout(timeout)

    async def _call(
        self,
        endpoint: Endpoint[Request, Response],
        request: Request,
        timeout: float | None,
        idempotency_key: str | None = None,
    ) -> Response:
        key = key_for(endpoint, idempotency_key)
        flow = flows.call(endpoint, request, self._within(timeout), self._context, idempotency_key=key)
        with span(endpoint, self._settings.base_url):
            return await flows.adrive(flow, self._transport.perform)

    async def _user_id(self, timeout: float | None) -> str:
        if self._user is None:
            session = await self._call(endpoints.GET_SESSION, requests.GetSession(), timeout)
            self._user = session.user_id
        return self._user

    async def _run(
        self,
        id: str,
        command: str | Sequence[str],
        timeout: float | None,
        *,
        input: AsyncInput | None = None,
        on_output: Callable[[bytes], object] | None = None,
        on_error: Callable[[bytes], object] | None = None,
        caller: str = "run",
    ) -> CommandResult:
        from .async_command import AsyncCommand

        timeout = None if timeout is None else checked_timeout(timeout)
        opening = self._settings.timeout if timeout is None else min(timeout, self._settings.timeout)
        running = AsyncCommand(
            self._transport, self._context, id, command, input, on_output, on_error, caller
        )
        self._channels.add(running)
        return await running.run(opening, timeout)

    async def _wait(
        self, ids: Sequence[str], status: str, timeout: float, caller: str, deadline: float | None = None
    ) -> list[AsyncContainer]:
        timeout = checked_timeout(timeout)
        deadline = self._context.now() + timeout if deadline is None else deadline
        waits = [waiting.Wait(id_, status, caller) for id_ in ids]
        if not waits:
            return Listing()
        if self._waiters is None:
            from .async_waiters import AsyncHub

            self._waiters = AsyncHub(self._transport, self._context)
            self._channels.add(self._waiters)
        found = await self._waiters.wait(waits, timeout, deadline)
        return Listing(map(self._bind, found))

    async def _create_running(
        self, request: requests.CreateContainer, timeout: float | None, idempotency_key: str | None
    ) -> AsyncContainer:
        """A container that runs, or none at all."""
        from .async_temporary import AsyncTemporary

        began = self._context.now()
        total = WAIT_TIMEOUT if timeout is None else checked_timeout(timeout)
        row = endpoints.CREATE_CONTAINER
        state = temporary.Temporary(
            request,
            None,
            unique=secrets.token_hex(16),
            secret=b"",
            context=self._context,
            caller=None,
            idempotency_key=key_for(row, idempotency_key),
        )

        async def wait(ids: list[str]) -> list[AsyncContainer]:
            return await self._wait(ids, Status.RUNNING, total, row.name, began + total)

        with span(row, self._settings.base_url):
            return await AsyncTemporary(self._transport, state, self._within(timeout), wait).keep()

    async def _await_running(
        self, id: str, began: float, timeout: float | None, caller: str
    ) -> AsyncContainer:
        total = WAIT_TIMEOUT if timeout is None else checked_timeout(timeout)
        try:
            return (await self._wait([id], Status.RUNNING, total, caller, began + total))[0]
        except BaseException as error:
            if not isinstance(error, ContainerFailed | DeadlineExceeded):
                done = "made" if caller == endpoints.CREATE_CONTAINER.name else "started"
                error.add_note(f"Container {id} was {done} and is left: only waiting for it has failed.")
            raise
