"""The flow that follows a feed until a container has a status."""

from __future__ import annotations

from ecompute.contract.catalog import Status
from ecompute.contract.endpoints import GET_CONTAINER
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

from . import flows, wire
from .feed import Deleted, Event, Snapshot, StatusChanged

MIN_FINAL_CALL = 1.0
"""Seconds that the last look at a container gets, even when its event came with the end of the time."""


class Wait:
    """One wait: for a container to have a status. `caller` is what messages call it.

    Raises:
        InvalidArgument: no id, or a status that is no text.
    """

    def __init__(self, id_: str, wanted: str, caller: str) -> None:
        # what cannot be asked for is not to be waited for
        self.operation = wire.encode(GET_CONTAINER, GetContainer(id_), caller).operation
        """What messages call it, id included."""
        if not isinstance(wanted, str):
            raise InvalidArgument(f"{caller} was not sent: status must be a text.")
        self._id = id_
        self._wanted = wanted
        self._caller = caller

    def follow(self, timeout: float, deadline: float, timing: flows.Timing) -> flows.Flow[Container]:
        """Follow a feed from its snapshot on until the container has the status, then look at it once.

        Raises:
            ContainerFailed: it failed on the way.
            NotFound: there is no such container, or it was deleted on the way.
            DeadlineExceeded: it was not there in time; tells the last status seen.
        """
        last: str | None = None
        while last != self._wanted:
            try:
                event: Event = yield flows.NextEvent(deadline)
            except DeadlineExceeded as error:
                raise DeadlineExceeded(self._late(last, timeout), last_status=last) from error
            told = self._told_by(event)
            if told is None:
                continue
            last, reason = told
            if last == Status.FAILED != self._wanted:
                because = f": {one_line(reason).rstrip('.')}" if reason else ""
                raise ContainerFailed(
                    f"Container {one_line(self._id)} failed before it was {one_line(self._wanted)}{because}.",
                    container_id=self._id,
                    reason=reason,
                )
        left = max(deadline - timing.now(), MIN_FINAL_CALL)
        return (yield from flows.call(GET_CONTAINER, GetContainer(self._id), left, timing, self._caller))

    def _late(self, last: str | None, timeout: float) -> str:
        wanted = one_line(self._wanted)
        seen = "was not seen" if last is None else f"was last seen {one_line(last)}"
        sentence = f"Container {one_line(self._id)} {seen}, not yet {wanted} after {seconds(timeout)}"
        if self._wanted not in list(Status):
            # a newer server may have it, so it could not be refused
            sentence += f"; {wanted!r} is no status that this version knows: {', '.join(Status)}"
        return f"{sentence}."

    def _told_by(self, event: Event) -> tuple[str, str | None] | None:
        """Status and reason of the container, if the event tells them."""
        match event:
            case Snapshot():
                for container in event.containers:
                    if container.id == self._id:
                        return container.status, container.status_reason
                raise self._not_found("No container of yours has this id")
            case Deleted(container_id=other) if other == self._id:
                raise self._not_found("The container was deleted meanwhile")
            case StatusChanged(container_id=other) if other == self._id:
                return event.status, event.status_reason
            case _:
                return None

    def _not_found(self, message: str) -> NotFound:
        problem = PROBLEMS[Code.NOT_FOUND]
        return NotFound(message, status=problem.status, code=problem.code, operation=self.operation)
