"""How the sync client waits: all who wait share one feed, which is open only while somebody does."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Sequence
from copy import copy
from typing import Any

from . import recording
from .contract.endpoints import EVENTS
from .contract.resources import Container
from .errors import Closed, ConnectError, DeadlineExceeded, Error
from .protocol import flows, policy, waiting
from .protocol.websocket import CLOSE_WITHIN
from .subscription import Subscription
from .transport import Transport

_log = logging.getLogger("ecompute")


class _Feed:
    """One feed, from the first who waits to the last, with a thread that opens it and brings it back."""

    def __init__(self, transport: Transport, context: flows.Context, timeout: float, operation: str) -> None:
        self.opens_until = context.now() + timeout
        self.changed = threading.Condition()
        self.state = waiting.Waiters(context.container)
        self.users = 0
        self.error: Error | None = None
        """Why nothing will come any more."""
        self.opened = False
        self._subscription = Subscription(transport, context, timeout, self.state, self.changed, operation)
        self._thread = threading.Thread(target=self._run, name="ecompute-wait", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        """Let the thread close it; nobody waits for that."""
        self.state.leaving = True
        self.changed.notify_all()

    def close(self) -> None:
        """End it, and all who wait."""
        with self.changed:
            self.end()
        # it may be waiting for an answer that nobody needs any more
        self._thread.join(CLOSE_WITHIN)

    @property
    def ended(self) -> bool:
        return self.error is not None and not self._thread.is_alive()

    def _run(self) -> None:
        error: Error = ConnectError("The thread that waits has failed.")
        try:
            with self._subscription as feed:
                self.opened = True
                feed.receive()
            error = Closed("The client was closed while waiting.")
        except Error as failure:
            error = failure
        except BaseException as failure:
            # a hook of the caller's, most likely, whose own exception it is
            _log.exception("The thread that waits has failed.")
            error.__cause__ = failure
        finally:
            with self.changed:
                self.error = error
                self.changed.notify_all()


class Hub:
    """All waits of one client. Threads may share it."""

    def __init__(self, transport: Transport, context: flows.Context) -> None:
        self._transport = transport
        self._context = context
        self.process: int = os.getpid()
        self._lock = threading.Lock()
        self._feed: _Feed | None = None
        self._left: list[_Feed] = []
        self._has_no_events = False

    def wait(self, waits: Sequence[waiting.Wait], timeout: float, deadline: float) -> list[Container]:
        """Wait until all containers have had their status.

        Raises:
            Error: as for `waiting.follow`, and what ended the feed.
        """
        while not self._has_no_events:
            feed = self._join(waits, timeout)
            try:
                flow = waiting.follow(waits, timeout, deadline, self._context)
                return flows.drive(flow, lambda step: self._perform(step, feed))  # noqa: B023
            except Error as error:
                # it may be about a container, not about the feed
                if feed.opened or feed.error is None:
                    raise
                if policy.has_no_events(error):
                    self._has_no_events = True
                # who opened it may have had less time
                elif not isinstance(error, DeadlineExceeded) or feed.opens_until >= deadline:
                    raise
            finally:
                self._leave(feed, waits)
                # whoever opened it, and wherever
                if feed.opened:
                    recording.note(EVENTS)
        flow = waiting.poll(waits, timeout, deadline, self._context)
        return flows.drive(flow, self._transport.perform)

    def _join(self, waits: Sequence[waiting.Wait], timeout: float) -> _Feed:
        with self._lock:
            feed = self._feed
            if feed is None or feed.error is not None:
                feed = self._feed = _Feed(self._transport, self._context, timeout, waits[0].operation)
            with feed.changed:
                for wait in waits:
                    feed.state.join(wait)
            feed.users += 1
            if feed.users == 1:
                try:
                    feed.start()
                except BaseException:
                    # the system may have no more threads, or Ctrl-C comes: the next one opens another
                    self._feed = None
                    raise
            return feed

    def _leave(self, feed: _Feed, waits: Sequence[waiting.Wait]) -> None:
        with self._lock, feed.changed:
            for wait in waits:
                feed.state.leave(wait)
            feed.users -= 1
            if feed.users == 0:
                feed.end()
                self._left = [feed, *(one for one in self._left if not one.ended)]
                if self._feed is feed:
                    self._feed = None

    def _perform(self, step: flows.Step, feed: _Feed) -> Any:
        if not isinstance(step, flows.Until):
            return self._transport.perform(step)
        result: Any = None

        def over() -> bool:
            nonlocal result
            result = step.ready()
            return bool(result) or feed.error is not None

        with feed.changed:
            if not feed.changed.wait_for(over, max(0.0, step.deadline - self._context.now())):
                raise DeadlineExceeded(f"{step.late}.")
        if not result and feed.error is not None:
            raise copy(feed.error) from feed.error
        return result

    def close(self) -> None:
        """End the feed, and with it all who wait."""
        with self._lock:
            feeds = [*self._left, *([] if self._feed is None else [self._feed])]
        for feed in feeds:
            feed.close()
