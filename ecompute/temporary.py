"""Temporary containers of the sync client."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

from .bound import Container
from .errors import Closed
from .protocol import flows, temporary
from .transport import Transport


class Temporary:
    """A container for the length of a block; made by `client.temporary()`.

    Entering gives it once it runs. Leaving deletes it and its key, whichever way: also after an exception, an
    interrupt, a cancellation or a boot that failed. What prevents a deletion is raised; where another
    exception is on its way, it is a note of that.
    """

    def __init__(
        self,
        transport: Transport,
        state: temporary.Temporary,
        timeout: float,
        wait: Callable[[list[str]], list[Container]],
    ) -> None:
        self._transport = transport
        self._state = state
        self._timeout = timeout
        self._wait = wait
        self._entered = False

    def __enter__(self) -> Container:
        if self._entered:
            raise Closed("A temporary container can be entered once: call temporary() again.")
        self._entered = True
        try:
            id = flows.drive(self._state.make(self._timeout), self._transport.perform)
            return (self._wait([id]))[0]
        except BaseException as error:
            self._undo(error)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._undo(error)

    def _undo(self, cause: BaseException | None) -> None:
        try:
            errors = flows.drive(self._state.undo(), self._transport.perform)
        except BaseException as interrupt:
            # Ctrl-C in the middle of it: what is left is deleted all the same
            temporary.tell(flows.drive(self._state.undo(), self._transport.perform), interrupt)
            raise
        temporary.tell(errors, cause)
