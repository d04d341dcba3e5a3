"""An open WebSocket of the async client: a few tasks that read, write and watch the time.

A caller that pauses between two events must still answer the server's pings, so tasks work in the background;
they live in the task group of whoever opened the connection, and end with it. Callers only leave bytes in the
outbox and take what came from the sink, so that cancelling a caller never tears a frame.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup

from .async_transport import AsyncStream
from .errors import Closed, DeadlineExceeded, Error
from .protocol.websocket import CLOSE_WITHIN, MAX_OUTGOING, Sink, WebSocket

_READ = 256 * 1024  # what asyncio reads at a time; less would be cut out of that, and copied again and again
_WRITE = 64 * 1024


class Signal:
    """Wakes all who wait for a change. They look again themselves."""

    def __init__(self) -> None:
        self._event = anyio.Event()

    def notify(self) -> None:
        """Something has changed."""
        self._event.set()
        self._event = anyio.Event()

    async def wait_for(self, ready: Callable[[], bool]) -> None:
        """Wait until `ready`, which is asked whenever something has changed."""
        while not ready():
            await self._event.wait()


class AsyncConnection:
    """One WebSocket, from its opening to its end. `changed` tells when the sink has changed."""

    def __init__(self, stream: AsyncStream, sink: Sink, changed: Signal, tasks: TaskGroup) -> None:
        self._stream = stream
        self._changed = changed
        self._websocket = WebSocket(sink, time.monotonic())
        self._scope = anyio.CancelScope()
        self._reading = anyio.CancelScope()
        self._writing = False
        self._done = False
        tasks.start_soon(self._run, name="ecompute websocket")

    async def wait(self, ready: Callable[[], bool], deadline: float | None, late: str) -> None:
        """Wait until `ready`, which is asked whenever something has changed.

        Raises:
            DeadlineExceeded: it was not so in time; `late` is the sentence, without its full stop.
        """
        await anyio.lowlevel.checkpoint()
        timeout = None if deadline is None else max(0.0, deadline - time.monotonic())
        with anyio.move_on_after(timeout):
            await self._changed.wait_for(ready)
        if not ready():
            raise DeadlineExceeded(f"{late}.")

    @property
    def has_room(self) -> bool:
        """Whether `send` has no need to wait: there is room, or the connection has ended."""
        return self._websocket.finished or self._websocket.outgoing < MAX_OUTGOING

    async def send(
        self,
        fill: Callable[[WebSocket], None],
        deadline: float | None = None,
        late: str = "The server did not take the data in time",
    ) -> None:
        """Queue a message, once there is room for it.

        Raises:
            DeadlineExceeded: the server took too little in time; nothing of this message was queued.
            Closed: the connection has ended.
        """
        websocket = self._websocket
        await self.wait(lambda: self.has_room, deadline, late)
        if websocket.finished:
            raise Closed("The connection has ended.") from websocket.error
        fill(websocket)
        self._changed.notify()

    def resume(self) -> None:
        """Say that a full sink has room again."""
        self._changed.notify()

    async def aclose(self) -> None:
        """Close in agreement with the server, or without it after a few seconds. Safe to call again."""
        self._websocket.close()
        self._changed.notify()
        try:
            with anyio.move_on_after(CLOSE_WITHIN):
                await self._changed.wait_for(lambda: self._done)
        finally:
            self._scope.cancel()

    async def _run(self) -> None:
        try:
            with self._scope:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._write)
                    tasks.start_soon(self._watch)
                    with self._reading:
                        await self._read()
                    # the answer to a close, or the reason of ours, is still to go out
                    with anyio.move_on_after(CLOSE_WITHIN):
                        await self._changed.wait_for(lambda: self._written)
                    tasks.cancel_scope.cancel()
        finally:
            self._lose(Closed("The connection was closed."))
            with anyio.CancelScope(shield=True):
                await self._stream.aclose()
            self._done = True
            self._changed.notify()

    def _lose(self, error: Error) -> None:
        self._websocket.lost(error)
        self._reading.cancel()
        self._changed.notify()

    @property
    def _written(self) -> bool:
        return not self._writing and not self._websocket.outgoing

    async def _read(self) -> None:
        websocket = self._websocket
        while not websocket.finished:
            await self._changed.wait_for(lambda: websocket.wants_data)
            try:
                data = await self._stream.read(_READ)
            except Error as error:
                self._lose(error)
            else:
                websocket.receive(data, time.monotonic())
                self._changed.notify()

    async def _write(self) -> None:
        websocket = self._websocket
        while True:
            await self._changed.wait_for(lambda: websocket.outgoing > 0)
            self._writing = True
            try:
                await self._stream.write(websocket.take(_WRITE, time.monotonic()))
            except Error as error:
                self._lose(error)
            self._writing = False
            self._changed.notify()

    async def _watch(self) -> None:
        websocket = self._websocket
        while not websocket.finished:
            await anyio.sleep(max(0.0, websocket.due - time.monotonic()))
            websocket.tick(time.monotonic())
            self._changed.notify()
        self._reading.cancel()


class Background:
    """A task group for connections that ends its tasks on leaving, and never disguises the caller's exception
    (a bare task group wraps it in a group).
    """

    def __init__(self) -> None:
        self._tasks = anyio.create_task_group()

    async def __aenter__(self) -> TaskGroup:
        return await self._tasks.__aenter__()

    async def __aexit__(self, *exc_info: object) -> None:
        self._tasks.cancel_scope.cancel()
        try:
            await self._tasks.__aexit__(None, None, None)
        except BaseExceptionGroup as group:
            # trio raises it in whichever task is running
            if group.subgroup(KeyboardInterrupt) is not None:
                raise KeyboardInterrupt from group
            raise
