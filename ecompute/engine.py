"""What a sync client works by: how its operations are sent, waited for and run. `async_engine` is its twin.

What they are is in `client` and `operations`.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from .bound import Container
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
    from .command import Command
    from .contract.endpoint import Endpoint
    from .events import Events
    from .protocol.context import Context
    from .protocol.inputs import Input
    from .terminal import Terminal
    from .transport import Transport
    from .waiters import Hub
    from .watch import Watch

Request = TypeVar("Request")
Response = TypeVar("Response")


class Engine:
    """What the operations of one client share."""

    _settings: Settings
    _transport: Transport
    _context: Context
    _channels: Channels[Events | Watch | Terminal | Command | Hub]
    _bind: Callable[[AnyContainer], Container]
    _lock: threading.Lock
    _waiters: Hub | None
    _user: str | None

    def _within(self, timeout: float | None) -> float:
        return self._settings.timeout if timeout is None else checked_timeout(timeout)

    def _call(
        self,
        endpoint: Endpoint[Request, Response],
        request: Request,
        timeout: float | None,
        idempotency_key: str | None = None,
    ) -> Response:
        key = key_for(endpoint, idempotency_key)
        flow = flows.call(endpoint, request, self._within(timeout), self._context, idempotency_key=key)
        with span(endpoint, self._settings.base_url):
            return flows.drive(flow, self._transport.perform)

    def _user_id(self, timeout: float | None) -> str:
        if self._user is None:
            session = self._call(endpoints.GET_SESSION, requests.GetSession(), timeout)
            self._user = session.user_id
        return self._user

    def _run(
        self,
        id: str,
        command: str | Sequence[str],
        timeout: float | None,
        *,
        input: Input | None = None,
        on_output: Callable[[bytes], object] | None = None,
        on_error: Callable[[bytes], object] | None = None,
        caller: str = "run",
    ) -> CommandResult:
        from .command import Command

        timeout = None if timeout is None else checked_timeout(timeout)
        opening = self._settings.timeout if timeout is None else min(timeout, self._settings.timeout)
        running = Command(self._transport, self._context, id, command, input, on_output, on_error, caller)
        self._channels.add(running)
        return running.run(opening, timeout)

    def _wait(
        self, ids: Sequence[str], status: str, timeout: float, caller: str, deadline: float | None = None
    ) -> list[Container]:
        timeout = checked_timeout(timeout)
        deadline = self._context.now() + timeout if deadline is None else deadline
        waits = [waiting.Wait(id_, status, caller) for id_ in ids]
        if not waits:
            return Listing()
        with self._lock:
            # a process that was forked off has no thread that waits
            if self._waiters is None or self._waiters.process != os.getpid():
                from .waiters import Hub

                self._waiters = Hub(self._transport, self._context)
                self._channels.add(self._waiters)
        found = self._waiters.wait(waits, timeout, deadline)
        return Listing(map(self._bind, found))

    def _create_running(
        self, request: requests.CreateContainer, timeout: float | None, idempotency_key: str | None
    ) -> Container:
        """A container that runs, or none at all."""
        from .temporary import Temporary

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

        def wait(ids: list[str]) -> list[Container]:
            return self._wait(ids, Status.RUNNING, total, row.name, began + total)

        with span(row, self._settings.base_url):
            return Temporary(self._transport, state, self._within(timeout), wait).keep()

    def _await_running(self, id: str, began: float, timeout: float | None, caller: str) -> Container:
        total = WAIT_TIMEOUT if timeout is None else checked_timeout(timeout)
        try:
            return (self._wait([id], Status.RUNNING, total, caller, began + total))[0]
        except BaseException as error:
            if not isinstance(error, ContainerFailed | DeadlineExceeded):
                done = "made" if caller == endpoints.CREATE_CONTAINER.name else "started"
                error.add_note(f"Container {id} was {done} and is left: only waiting for it has failed.")
            raise
