"""Single commands of the async client."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Callable, Sequence
from contextlib import aclosing, suppress
from functools import partial
from inspect import isawaitable, iscoroutinefunction
from typing import Any

from anyio import to_thread
from anyio.abc import TaskGroup

from .async_connection import AsyncConnection, Background, Signal
from .async_transport import AsyncTransport
from .contract.catalog import EXEC_PROTOCOL
from .contract.endpoints import TERMINAL
from .contract.requests import OpenTerminal
from .errors import Closed, CommandResult, DeadlineExceeded, one_line, within
from .protocol import flows, wire
from .protocol.execution import Execution, takers
from .protocol.inputs import PIECE, AsyncInput, checked, piece
from .protocol.websocket import WebSocket


class AsyncCommand:
    """One command, from the opening of its connection to its end."""

    def __init__(
        self,
        transport: AsyncTransport,
        context: flows.Context,
        id: str,
        command: str | Sequence[str],
        input: AsyncInput | None,
        on_output: Callable[[bytes], object] | None = None,
        on_error: Callable[[bytes], object] | None = None,
        caller: str = "run",
    ) -> None:
        self._transport = transport
        self._context = context
        self._id = id
        self._request = wire.encode_channel(TERMINAL, OpenTerminal(id), caller)
        self._changed = Signal()
        self._takers = takers(on_output, on_error)
        self._state = Execution(command, self._takers)
        self._input = checked(input, is_async=True)
        self._connection: AsyncConnection | None = None
        self._tasks: TaskGroup | None = None
        self._fault: Exception | None = None

    async def run(self, opening: float, timeout: float | None) -> CommandResult:
        """Run it once, to its end, within `timeout` seconds; `opening` of them are for the connection.

        Raises:
            Error: it could not be started, or its end is not known.
        """
        deadline = None if timeout is None else self._context.now() + timeout
        late = f"The command in container {one_line(self._id)} did not end {within(timeout)}"
        async with Background() as self._tasks:
            try:
                flow = flows.connect(self._request, (EXEC_PROTOCOL,), opening, self._context)
                await flows.adrive(flow, self._perform)
                connection = self._connection
                assert connection is not None
                async with Background() as tasks:
                    tasks.start_soon(self._send, connection, deadline, late)
                    await self._converse(connection, deadline, late)
                return self._state.result()
            finally:
                await self.aclose()

    async def _perform(self, step: flows.Step) -> Any:
        match step:
            case flows.Connect() if self._tasks is not None:
                stream, chosen = await self._transport.connect(
                    step.request, step.subprotocols, step.timeout, step.repeated
                )
                self._connection = AsyncConnection(stream, self._state, self._changed, self._tasks)
                self._state.opened(chosen)
            case _:
                await self._transport.perform(step)

    async def _converse(self, connection: AsyncConnection, deadline: float | None, late: str) -> None:
        """Give away what comes, until the command has ended."""
        state = self._state
        while not state.ended or state.takeable:
            await connection.wait(
                lambda: state.ended or state.takeable or self._fault is not None, deadline, late
            )
            if self._fault is not None:
                raise self._fault
            await self._give_away(connection)
            if deadline is not None and self._context.now() >= deadline and not state.ended:
                raise DeadlineExceeded(f"{late}.")

    async def _give_away(self, connection: AsyncConnection) -> None:
        was_full = self._state.full
        taken = self._state.take()
        if was_full:
            connection.resume()
        for stream, data in taken:
            result = self._takers[stream](data)
            if isawaitable(result):
                await result

    async def _send(self, connection: AsyncConnection, deadline: float | None, late: str) -> None:
        """Send the command and its input, beside the other direction; what goes wrong is told there."""
        try:
            async with aclosing(self._messages()) as messages:
                async for message in messages:
                    await connection.wait(lambda: self._state.ended or connection.has_room, deadline, late)
                    if self._state.ended:
                        return
                    # a command may end before it has read all of its input
                    with suppress(Closed):
                        await connection.send(partial(WebSocket.send, message=message), deadline, late)
        except Exception as error:
            self._fault = error
            self._changed.notify()

    async def _messages(self) -> AsyncGenerator[str | bytes, None]:
        yield self._state.beginning()
        async with aclosing(self._pieces()) as pieces:
            async for data in pieces:
                for frame in self._state.frames(data):
                    yield frame
        yield self._state.end_of_input()

    async def _pieces(self) -> AsyncGenerator[memoryview, None]:
        if isinstance(self._input, memoryview):
            yield self._input
        elif hasattr(self._input, "read"):
            # a file of the system makes its reader wait
            is_async = iscoroutinefunction(self._input.read)
            read = (
                self._input.read
                if is_async
                else partial(to_thread.run_sync, self._input.read, abandon_on_cancel=True)
            )
            while data := piece(await read(PIECE)):
                yield data
        elif isinstance(self._input, AsyncIterable):
            async for data in self._input:
                yield piece(data)
        else:
            for data in self._input:
                yield piece(data)

    async def aclose(self) -> None:
        """End the connection; the command gets a hang-up."""
        self._state.lost(Closed("The client was closed before the command ended."))
        self._changed.notify()
        if self._connection is not None:
            await self._connection.aclose()
