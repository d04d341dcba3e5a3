"""Waiting for containers to have a status: any number of waits, one feed.

`Waiters` is the feed's end: it hands on what the feed tells to whoever waits. A wait is over when its status,
a failure or the end of its container was told; then the container is looked at once. What was known before a
wait began may be out of date, since the feed runs a little behind the answers of calls: that counts only when
the look agrees.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define

from ecompute.contract.catalog import Status
from ecompute.contract.endpoints import GET_CONTAINER
from ecompute.contract.messages import ContainerDeleted, ContainerSnapshot, ContainerStatus, FeedMessage
from ecompute.contract.problems import PROBLEMS, Code
from ecompute.contract.requests import GetContainer
from ecompute.contract.resources import Container
from ecompute.errors import (
    ContainerFailed,
    DeadlineExceeded,
    InvalidArgument,
    NotFound,
    one_line,
    seconds,
)

from . import flows, policy, wire
from .feed import FeedState

MIN_FINAL_CALL = 1.0
"""Seconds after the end of the time in which a container may still be looked at, whose event came with it."""

POLLS = policy.Retries(first=0.1, longest=5.0)
"""The pauses between two looks where there is no feed."""


@define
class _Told:
    """What the feed told of a container since it was asked last."""

    reached: bool = False
    """The status came while we waited: it counts, whatever came after."""
    worth_a_look: bool = False
    """The container may be there, have failed or not be known: a look tells."""
    deleted: bool = False

    def __bool__(self) -> bool:
        return self.reached or self.worth_a_look or self.deleted


class Wait:
    """One wait: for a container to have a status. `caller` is what messages call it.

    Raises:
        InvalidArgument: no id, or a status that is no text.
    """

    def __init__(self, id_: str, wanted: str, caller: str) -> None:
        # what cannot be asked for is not to be waited for
        self.operation: str = wire.encode(GET_CONTAINER, GetContainer(id_), caller).operation
        """What messages call it, id included."""
        if not isinstance(wanted, str):
            raise InvalidArgument(f"{caller} was not sent: status must be a text.")
        self.id = id_
        self.last: str | None = None
        """The status seen last."""
        self._wanted = str(wanted)
        self._caller = caller
        self._told = _Told()
        self._reason: str | None = None

    def know(self, status: str | None, reason: str | None = None) -> None:
        """How it was when a feed's list was made, or None for a container that is not in it."""
        if status is None or self._ends(status):
            self._told.worth_a_look = True
        self._see(status, reason)

    def hear(self, status: str, reason: str | None) -> None:
        """The container's status has changed."""
        if status == self._wanted:
            self._told.reached = True
        elif self._ends(status):
            self._told.worth_a_look = True
        self._see(status, reason)

    def hear_deleted(self) -> None:
        """The container is gone."""
        self._told.deleted = True

    def _ends(self, status: str) -> bool:
        return status in (self._wanted, Status.FAILED)

    def _see(self, status: str | None, reason: str | None) -> None:
        if status is not None:
            self.last, self._reason = status, reason

    def take(self) -> _Told:
        """What was told since the last time."""
        told, self._told = self._told, _Told()
        return told

    def look(self, told: _Told, deadline: float, context: flows.Context) -> flows.Flow[Container | None]:
        """Look at the container; None while it is to be waited for.

        Raises:
            ContainerFailed: it has failed.
            NotFound: there is no such container, or it was deleted.
        """
        if told.deleted:
            raise self._not_found()
        reason = self._reason
        left = deadline + MIN_FINAL_CALL - context.now()
        if left <= 0:
            raise DeadlineExceeded(f"{self.operation} had no time left for a last look.")
        found = yield from flows.call(GET_CONTAINER, GetContainer(self.id), left, context, self._caller)
        if told.reached or found.status == self._wanted:
            return found
        self._see(found.status, found.status_reason)
        if found.status == Status.FAILED:
            raise failed(self.id, self._wanted, found.status_reason or reason)
        return None

    def _not_found(self) -> NotFound:
        problem = PROBLEMS[Code.NOT_FOUND]
        return NotFound(
            "The container was deleted meanwhile",
            status=problem.status,
            code=problem.code,
            operation=self.operation,
        )

    def late(self, timeout: float) -> str:
        """What is missing after so many seconds, as a sentence."""
        wanted = one_line(self._wanted)
        seen = "was not seen" if self.last is None else f"was last seen {one_line(self.last)}"
        sentence = f"Container {one_line(self.id)} {seen}, not yet {wanted} after {seconds(timeout)}"
        if self._wanted not in list(Status):
            # a newer server may have it, so it could not be refused
            sentence += f"; {wanted!r} is no status that this version knows: {', '.join(Status)}"
        return f"{sentence}."


def failed(container_id: str, wanted: str, reason: str | None) -> ContainerFailed:
    """What is raised for a container that failed while another status was waited for."""
    because = f": {one_line(reason).rstrip('.')}" if reason else ""
    return ContainerFailed(
        f"Container {one_line(container_id)} failed before it was {one_line(wanted)}{because}.",
        container_id=container_id,
        reason=reason,
    )


class Waiters(FeedState[bool]):
    """The feed of all who wait. `take` gives True once it is to end."""

    def __init__(self, container: type[Container] = Container) -> None:
        super().__init__(container)
        self.leaving = False
        """Whether nobody waits any more."""
        self._known: dict[str, tuple[str, str | None]] = {}
        self._waits: dict[str, list[Wait]] = {}

    @property
    def ready(self) -> bool:
        """Whether the feed is to end, or the connection is gone."""
        return self.leaving or not self.connected

    def take(self) -> bool | None:
        """True once the feed is to end."""
        return self.leaving or None

    def join(self, wait: Wait) -> None:
        """Tell a wait what comes, from what is known on."""
        self._waits.setdefault(wait.id, []).append(wait)
        if self.synced:
            wait.know(*self._known.get(wait.id, (None,)))

    def leave(self, wait: Wait) -> None:
        """Tell it nothing more."""
        others = self._waits[wait.id]
        others.remove(wait)
        if not others:
            del self._waits[wait.id]

    def receive(self, message: FeedMessage) -> None:
        """What the server tells. A status before the snapshot is taken as it comes."""
        match message:
            case ContainerSnapshot():
                self._known = {c.id: (c.status, c.status_reason) for c in message.containers}
                self.synced = True
                for id_, waits in self._waits.items():
                    for wait in waits:
                        wait.know(*self._known.get(id_, (None,)))
            case ContainerStatus(container_id=id_):
                self._known[id_] = (message.status, message.status_reason)
                for wait in self._waits.get(id_, ()):
                    wait.hear(message.status, message.status_reason)
            case ContainerDeleted(container_id=id_):
                self._known.pop(id_, None)
                for wait in self._waits.get(id_, ()):
                    wait.hear_deleted()


def follow(
    waits: Sequence[Wait], timeout: float, deadline: float, context: flows.Context
) -> flows.Flow[list[Container]]:
    """Wait by a feed until all containers have had their status; gives them in the order of the waits.

    Raises:
        ContainerFailed: one failed on the way.
        NotFound: there is no such container, or it was deleted on the way.
        DeadlineExceeded: one was not there in time; tells the last status seen.
    """
    found: dict[Wait, Container] = {}

    def told() -> list[tuple[Wait, _Told]]:
        return [(wait, told) for wait in waits if wait not in found if (told := wait.take())]

    while len(found) < len(waits):
        try:
            news = yield flows.Until(told, deadline, "The status did not come in time")
        except DeadlineExceeded as error:
            raise _late(waits, found, timeout) from error
        for wait, what in news:
            container = yield from wait.look(what, deadline, context)
            if container is not None:
                found[wait] = container
    return [found[wait] for wait in waits]


def poll(
    waits: Sequence[Wait], timeout: float, deadline: float, context: flows.Context
) -> flows.Flow[list[Container]]:
    """The same by looking again and again, with growing pauses: a status that passes in between is missed.

    Raises:
        ContainerFailed, NotFound, DeadlineExceeded: as for `follow`.
        APIError: the containers cannot be looked at either.
    """
    found: dict[Wait, Container] = {}
    rounds = 0
    while True:
        for wait in waits:
            if wait not in found:
                container = yield from wait.look(_Told(), deadline, context)
                if container is not None:
                    found[wait] = container
        if len(found) == len(waits):
            return [found[wait] for wait in waits]
        rounds += 1
        pause = POLLS.pause(rounds, context.random())
        if context.now() + pause >= deadline:
            raise _late(waits, found, timeout)
        yield flows.Pause(pause)


def _late(waits: Sequence[Wait], found: dict[Wait, Container], timeout: float) -> DeadlineExceeded:
    missing = [wait for wait in waits if wait not in found]
    others = len(missing) - 1
    more = f" {others} more {'is' if others == 1 else 'are'} missing too." if others else ""
    first = missing[0]
    late = DeadlineExceeded(first.late(timeout) + more, last_status=first.last, container_id=first.id)
    late.operation = first.operation
    return late


def begin(ids: Sequence[str], status: str, caller: str) -> list[Wait]:
    """The waits for several containers.

    Raises:
        InvalidArgument: as for `Wait`.
    """
    return [Wait(id_, status, caller) for id_ in ids]
