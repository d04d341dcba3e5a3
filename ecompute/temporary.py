"""Temporary containers of the sync client."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

from .bound import Container
from .errors import Closed
from .interrupts import Held, guarded, watch_over
from .protocol import flows, temporary
from .transport import Transport


class Temporary:
    """A container for the length of a block; made by `client.temporary()`.

    Entering gives it once it runs. Leaving deletes it and its key, whichever way: also after an exception, an
    interrupt, a cancellation or a boot that failed. What prevents a deletion is raised; where another
    exception is on its way, it is a note of that. Ctrl-C waits for the deletions, which take 30 seconds at
    most where the server is silent. What is left all the same, such as when a program's own handler of
    signals raises several times, is logged as a warning.
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
        self._watch = watch_over(self, self._state.left)
        return guarded(self._make, self._undo)

    def keep(self) -> Container:
        """As entering, and what runs then is not deleted again."""
        box = self.__enter__()
        self._watch.detach()
        return box

    def _make(self) -> Container:
        id = flows.drive(self._state.make(self._timeout), self._transport.perform)
        return (self._wait([id]))[0]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            with Held():
                self._undo(error)
        except KeyboardInterrupt:
            # it may have come before it was held
            if self._watch.alive:
                with Held():
                    self._undo(error)
            raise

    def _undo(self, cause: BaseException | None) -> None:
        try:
            left = flows.drive(self._state.undo(), self._transport.perform)
        except BaseException as interrupt:
            # such as an exception of a signal handler in the middle of it: the rest is deleted all the same
            temporary.tell(flows.drive(self._state.undo(), self._transport.perform), interrupt)
            self._watch.detach()
            raise
        self._watch.detach()
        temporary.tell(left, cause)
