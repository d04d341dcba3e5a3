"""The events feed as state: what the server tells goes in, what the caller has not heard yet comes out.

Two views are kept: what the server last said of each container, and what the caller was told. As long as the
caller keeps up, every change is handed on as it came. A caller that falls behind, or a connection that was
lost and found again, leaves a gap between the views; then their difference is told, so that no net change is
ever missed and memory is bounded by the number of containers.
"""

from __future__ import annotations

import typing
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Generic

from attrs import frozen

from ecompute.contract.codec import read_news
from ecompute.contract.messages import ContainerDeleted, ContainerSnapshot, ContainerStatus, FeedMessage
from ecompute.contract.problems import InvalidFields
from ecompute.contract.resources import Container
from ecompute.errors import Error, InvalidAnswer, one_line

T = typing.TypeVar("T")
if TYPE_CHECKING:
    # a default of type variables is newer than the oldest Python that this runs on (PEP 696)
    from typing_extensions import TypeVar

    C = TypeVar("C", bound=Container, default=Container)
else:
    C = typing.TypeVar("C")

MAX_PENDING = 1024
"""Changes kept one by one for a slow caller, before only the difference is kept."""


@frozen
class Snapshot(Generic[C]):
    """All containers, newest first: the first event of a feed, and told only once."""

    containers: tuple[C, ...]


@frozen
class StatusChanged:
    """A container is new or has changed.

    `previous` is the status last told for it, None for a container that was not told of before; it equals
    `status` when only the address became known. `status_reason` comes with `failed`.
    """

    container_id: str
    status: str
    previous: str | None
    external_ip: str | None = None
    status_reason: str | None = None


@frozen
class Deleted:
    """A container is gone; `previous` is the status last told for it."""

    container_id: str
    previous: str | None


Event = Snapshot[C] | StatusChanged | Deleted
"""What a feed yields."""


@frozen
class _Known:
    status: str
    external_ip: str | None
    status_reason: str | None


class FeedState(ABC, Generic[T]):
    """The state of one subscription, over as many connections as it takes. Not thread-safe by itself.

    What is made of the messages, and taken by the owner, is for those who inherit; `container` is the class
    that the containers in messages are made of.
    """

    full = False  # a feed never holds its connection up
    leaving = False
    """Whether its owner wants no more of it: it does not come back any more."""

    def __init__(self, container: type[Container] = Container) -> None:
        self._container = container
        self.connected: bool = False
        """Whether a connection is there, from `opened` until `lost`."""
        self.synced: bool = False
        """Whether the present connection has told its snapshot."""
        self.failure: Error | None = None
        """Why the last connection was lost."""

    @property
    @abstractmethod
    def ready(self) -> bool:
        """Whether `take` may have something, or the connection is gone."""

    @abstractmethod
    def take(self) -> T | None:
        """What is next for the owner, or None while there is nothing."""

    @abstractmethod
    def receive(self, message: FeedMessage) -> None:
        """What the server tells; a snapshot makes it `synced`."""

    def opened(self) -> None:
        """A new connection stands; its first message will be a snapshot."""
        self.connected, self.synced, self.failure = True, False, None

    def lost(self, error: Error | None) -> None:
        """The connection has ended."""
        self.connected, self.failure = False, error

    def on_bytes(self, data: bytes, starts: bool) -> None:
        """The feed is made of texts."""
        raise InvalidAnswer("The events feed sent binary data, which the API does not use.")

    def on_text(self, text: str) -> None:
        """A message of the server.

        Raises:
            InvalidAnswer: it is none of this API.
        """
        try:
            message = read_news(text, self._container)
        except InvalidFields as error:
            raise InvalidAnswer(
                f"The events feed sent what does not fit the API: {one_line(str(error))}.",
                fields=error.faults,
            ) from None
        if message is not None:
            self.receive(message)


class Feed(FeedState[Event[C]], Generic[C]):
    """The changes of all containers, one event at a time. A slow caller is told the difference instead.

    `bind` makes of each container what the caller gets.
    """

    def __init__(
        self,
        bind: Callable[[Container], C],
        max_pending: int = MAX_PENDING,
        container: type[Container] = Container,
    ) -> None:
        super().__init__(container)
        self._bind = bind
        self._max_pending = max_pending
        self._first: Snapshot[C] | None = None
        self._started = False
        self._told: dict[str, _Known] = {}
        self._latest: dict[str, _Known] = {}
        self._pending: deque[ContainerStatus | ContainerDeleted] = deque()
        # ids whose difference is to be told, in order; while there are any, changes are not kept one by one
        self._gap: dict[str, None] = {}

    @property
    def ready(self) -> bool:
        """Whether `take` may have an event, or the connection is gone."""
        return not self.connected or self._first is not None or bool(self._pending or self._gap)

    def receive(self, message: FeedMessage) -> None:
        """What the server tells. A status before the snapshot is taken as it comes."""
        match message:
            case ContainerSnapshot():
                self._receive_snapshot(message)
            case ContainerStatus():
                before = self._latest.get(message.container_id)
                self._latest[message.container_id] = _updated(before, message)
                self._queue(message)
            case ContainerDeleted():
                self._latest.pop(message.container_id, None)
                self._queue(message)

    def _receive_snapshot(self, message: ContainerSnapshot) -> None:
        self._latest = {
            c.id: _updated(
                self._latest.get(c.id), ContainerStatus(c.id, c.status, c.external_ip, c.status_reason)
            )
            for c in message.containers
        }
        self.synced = True
        if self._started:
            self._fall_behind()
        else:
            self._started = True
            self._first = Snapshot(tuple(map(self._bind, message.containers)))
            self._told = dict(self._latest)

    def _queue(self, message: ContainerStatus | ContainerDeleted) -> None:
        if not self._started:
            return
        if self._gap:
            self._gap[message.container_id] = None
        elif len(self._pending) >= self._max_pending:
            self._fall_behind()
        else:
            self._pending.append(message)

    def _fall_behind(self) -> None:
        self._pending.clear()
        gone = self._told.keys() - self._latest.keys()
        changed = (id_ for id_, known in self._latest.items() if self._told.get(id_) != known)
        self._gap = dict.fromkeys([*sorted(gone), *changed])

    def take(self) -> Event[C] | None:
        """The next event, or None when the caller has been told everything."""
        if self._first is not None:
            first, self._first = self._first, None
            return first
        event: Event[C] | None = None
        while event is None and self._pending:
            message = self._pending.popleft()
            if isinstance(message, ContainerDeleted):
                event = self._tell(message.container_id, None)
            else:
                before = self._told.get(message.container_id)
                event = self._tell(message.container_id, _updated(before, message))
        while event is None and self._gap:
            id_ = next(iter(self._gap))
            del self._gap[id_]
            event = self._tell(id_, self._latest.get(id_))
        return event

    def _tell(self, id_: str, now: _Known | None) -> StatusChanged | Deleted | None:
        before = self._told.pop(id_, None)
        previous = None if before is None else before.status
        if now is not None:
            self._told[id_] = now
        if now == before:
            return None
        if now is None:
            return Deleted(id_, previous)
        return StatusChanged(id_, now.status, previous, now.external_ip, now.status_reason)


def _updated(before: _Known | None, message: ContainerStatus) -> _Known:
    # what a message leaves out is not taken back: an address lasts as long as its container, a reason as
    # long as its status
    address, reason = message.external_ip, message.status_reason
    if before is not None:
        address = address or before.external_ip
        reason = reason or (before.status_reason if before.status == message.status else None)
    return _Known(message.status, address, reason)
