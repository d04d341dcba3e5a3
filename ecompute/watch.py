"""The live view of the sync client."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Self
from weakref import finalize

from .bound import Container
from .contract.endpoints import GET_CONTAINER
from .contract.requests import GetContainer
from .contract.resources import Container as AnyContainer
from .errors import Closed, ConnectError, DeadlineExceeded, Error, within
from .protocol import flows
from .protocol.ids import Ref
from .protocol.view import Reading, View
from .protocol.websocket import CLOSE_WITHIN
from .settings import checked_patience
from .subscription import Subscription
from .transport import Transport


class Watch(Reading[Container]):
    """All containers of the caller as they are now, by id, newest first; made by `client.watch()`.

    A mapping that the events feed keeps up to date: `view[id]`, `len(view)`, `view.values()`. Every reading
    sees one moment, and never waits for the network. Status, address and reason of failure follow the feed; a
    change of these brings the other fields up to date a moment later. A lost connection comes back by itself,
    as for `events()`; meanwhile reading shows what was known last. Once the view has ended, reading raises
    why: `Unauthenticated` for a revoked token, `ConnectError` when the server was away for too long,
    `Closed`. Threads may share it.
    """

    def __init__(
        self,
        transport: Transport,
        context: flows.Context,
        timeout: float,
        bind: Callable[[AnyContainer], Container],
    ) -> None:
        self._context = context
        self._timeout = timeout
        self._view = View[Container](bind, Container)
        self._changed = threading.Condition()
        self._keeper = _Keeper(transport, context, timeout, self._view, self._changed)

    def __enter__(self) -> Self:
        deadline = self._context.now() + self._timeout
        # its thread does not know this: what is dropped without a close ends
        finalize(self, self._keeper.feed._abandon).atexit = False
        self._keeper.feed.__enter__()
        try:
            self._view.begin()
            self._keeper.start()
            self._wait(
                lambda: self._view.started, deadline, f"No list of containers came {within(self._timeout)}"
            )
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def wait(self, ready: Callable[[Mapping[str, Container]], bool], timeout: float | None = None) -> None:
        """Wait until `ready(view)` is true, for at most `timeout` seconds (None: as long as it takes).

        It is asked at once and after every change. States that pass quickly may be missed: `events()` tells
        each.

        Raises:
            DeadlineExceeded: it was not so in time.
            Error: the view has ended.
        """
        timeout = checked_patience(timeout)
        deadline = None if timeout is None else self._context.now() + timeout
        self._wait(lambda: ready(self), deadline, f"The containers were not as wanted {within(timeout)}")

    def live(
        self,
        until: str | Callable[[Mapping[str, Container]], bool] | None = None,
        *,
        only: Sequence[Ref] | None = None,
        timeout: float | None = None,
    ) -> None:
        """Show the containers, and keep the picture up to date until `until` is so.

        `until` is a status that all shown containers have, or a function as for `wait`; None goes on until
        the timeout, the view's end or Ctrl-C. `only` names the containers to show (None: all); one of them
        that is deleted is waited for no longer. In a notebook the table changes in place, on a terminal as
        well where rich is installed; elsewhere each change is a line.

        Raises:
            ContainerFailed: one of those shown is `failed`, and another status was waited for.
            DeadlineExceeded: it was not so within `timeout` seconds (None: as long as it takes).
            Error: the view has ended.
        """
        from .live import Live

        with Live(until, only) as live:
            self.wait(live, timeout)

    def _wait(self, ready: Callable[[], bool], deadline: float | None, late: str) -> None:
        while True:
            seen = self._view.version
            self._check()
            # asked without the lock, since it may be the caller's code
            if ready():
                return
            left = None if deadline is None else max(0.0, deadline - self._context.now())
            with self._changed:
                if not self._changed.wait_for(partial(self._view.is_newer, seen), left):
                    raise DeadlineExceeded(f"{late}.")

    def close(self) -> None:
        """End the view; closing twice is no fault."""
        self._keeper.close()


class _Keeper:
    """What keeps a view up to date, in a thread of its own."""

    def __init__(
        self,
        transport: Transport,
        context: flows.Context,
        timeout: float,
        view: View[Container],
        changed: threading.Condition,
    ) -> None:
        self._transport = transport
        self._context = context
        self._timeout = timeout
        self._view = view
        self._changed = changed
        self.feed = Subscription(transport, context, timeout, view, changed, "watch")
        self._thread = threading.Thread(target=self._keep, name="ecompute-watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _keep(self) -> None:
        try:
            while True:
                self._look_at(self.feed.receive())
        except Error as error:
            self._end(error)
        except BaseException:
            self._end(ConnectError("The view's thread has failed."))
            raise

    def _look_at(self, id: str) -> None:
        flow = flows.call(GET_CONTAINER, GetContainer(id), self._timeout, self._context)
        found: AnyContainer | Error
        try:
            found = flows.drive(flow, self._transport.perform)
        except Error as error:
            found = error
        with self._changed:
            self._view.looked_at(id, found)
            self._changed.notify_all()

    def _end(self, error: Error) -> None:
        with self._changed:
            self._view.end(error)
            self._changed.notify_all()

    def close(self) -> None:
        self._end(Closed("The view is closed."))
        self.feed.close()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            # it may be waiting for an answer that nobody needs any more
            self._thread.join(CLOSE_WITHIN)
