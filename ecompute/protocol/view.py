"""A live view of all containers as state: the feed's messages go in, reading takes no lock.

The feed tells status, address and reason, in order; those are never ahead of it and never behind. All else is
in the full object only, so each change makes a container due for one look at it. A new one is shown after
that.
"""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Iterator, KeysView, Mapping, ValuesView
from typing import Generic

from attrs import evolve

from ecompute.contract.messages import ContainerDeleted, ContainerSnapshot, ContainerStatus, FeedMessage
from ecompute.contract.resources import Container
from ecompute.errors import Closed, Error, NotFound
from ecompute.shown import Shown

from .feed import C, FeedState


class View(FeedState[str], Generic[C]):
    """What is known of the containers. `take` gives the id of one that is due; `looked_at` must follow.

    `bind` makes of each what the owner shows.
    """

    def __init__(self, bind: Callable[[Container], C], container: type[Container] = Container) -> None:
        super().__init__(container)
        self._bind = bind
        self.shown: Mapping[str, C] = {}
        """By id, newest first. Replaced at each change and never changed itself."""
        self.ended: Error | None = Closed("A view has to be entered first: `with client.watch() as view`.")
        """Why there is nothing to read any more, or not yet."""
        self.entered: bool = False
        """Whether there ever was something to read."""
        self.started: bool = False
        """Whether a first snapshot has come."""
        self.version: int = 0
        """Grows with every change."""
        # told of, and not shown before they were looked at
        self._new: dict[str, C] = {}
        self._due: dict[str, None] = {}

    @property
    def ready(self) -> bool:
        """Whether a container is due, or the connection is gone."""
        return not self.connected or bool(self._due)

    def is_newer(self, version: int) -> bool:
        """Whether there was a change since a version."""
        return self.version != version

    def begin(self) -> None:
        """From now on there is something to read."""
        self.ended, self.entered = None, True

    def end(self, error: Error) -> None:
        """Nothing will come any more; the first reason counts."""
        self.ended = self.ended or error
        self.version += 1

    def receive(self, message: FeedMessage) -> None:
        """What the server tells. A status before the snapshot is taken as it comes."""
        match message:
            case ContainerSnapshot():
                self.started = self.synced = True
                self._new.clear()
                # a server may tell no more than id, name and status
                self._due = {c.id: None for c in message.containers if not c.hostname}
                self._show({c.id: self._bind(c) for c in message.containers})
            case ContainerStatus(container_id=id_):
                self._due[id_] = None
                if id_ in self.shown:
                    self._show({**self.shown, id_: _told(self.shown[id_], message)})
                else:
                    before = self._new.get(id_) or self._bind(Container(id_, "", message.status))
                    self._new[id_] = _told(before, message)
            case ContainerDeleted(container_id=id_):
                self.gone(id_)

    def take(self) -> str | None:
        """The id of a container to be looked at, or None."""
        id_ = next(iter(self._due), None)
        if id_ is not None:
            del self._due[id_]
        return id_

    def looked_at(self, id_: str, found: Container | Error) -> None:
        """What a look at a container, begun after its last `take`, has brought.

        When it brought another error than `NotFound`, what the feed told has to do until the next change.
        """
        if isinstance(found, NotFound):
            self.gone(id_)
        elif id_ in self._new:
            self._show({id_: self._complete(self._new.pop(id_), found), **self.shown})
        elif id_ in self.shown:
            self._show({**self.shown, id_: self._complete(self.shown[id_], found)})

    def gone(self, id_: str) -> None:
        """A container was deleted."""
        self._new.pop(id_, None)
        self._due.pop(id_, None)
        if id_ in self.shown:
            self._show({i: c for i, c in self.shown.items() if i != id_})

    def _complete(self, told: C, found: Container | Error) -> C:
        return told if isinstance(found, Error) else _merged(told, self._bind(found))

    def _show(self, containers: Mapping[str, C]) -> None:
        self.shown = containers
        self.version += 1


def _told(before: C, message: ContainerStatus) -> C:
    # what a message leaves out is not taken back: an address lasts as long as its container, a reason as
    # long as its status
    kept = before.status_reason if before.status == message.status else None
    return evolve(
        before,
        status=message.status,
        external_ip=message.external_ip or before.external_ip,
        status_reason=message.status_reason or kept,
    )


def _merged(told: C, seen: C) -> C:
    # the look may be ahead of the feed, whose order counts
    same = told.status == seen.status
    return evolve(
        seen,
        status=told.status,
        external_ip=told.external_ip or seen.external_ip,
        status_reason=told.status_reason or (seen.status_reason if same else None),
    )


class Reading(Mapping[str, C], Shown):
    """A view as a mapping of id to container, newest first.

    Every reading, iterations included, sees one moment. It raises why the view ended, once it has.
    """

    _view: View[C]

    def __eq__(self, other: object) -> bool:
        # a live view equals only itself
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def _check(self) -> None:
        if self._view.ended is not None:
            raise self._view.ended

    def __repr__(self) -> str:
        name, view = type(self).__name__, self._view
        if view.ended is None:
            count = len(view.shown)
            return f"<{name}: open, {count} container{'' if count == 1 else 's'}>"
        return f"<{name}: {'closed' if view.entered else 'not entered'}>"

    def _now(self) -> Mapping[str, C]:
        self._check()
        return self._view.shown

    @property
    def containers(self) -> tuple[C, ...]:
        """All containers, newest first."""
        return tuple(self._now().values())

    def __getitem__(self, id: str) -> C:
        return self._now()[id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._now())

    def __len__(self) -> int:
        return len(self._now())

    # those of `Mapping` would look up each id anew, which another thread may have taken away

    def keys(self) -> KeysView[str]:
        """All ids."""
        return self._now().keys()

    def values(self) -> ValuesView[C]:
        """All containers."""
        return self._now().values()

    def items(self) -> ItemsView[str, C]:
        """All ids with their containers."""
        return self._now().items()
