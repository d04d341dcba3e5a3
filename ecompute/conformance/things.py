"""What the kit has made on the tested server, so that all of it goes again and nothing else does."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import unquote

from attrs import frozen

from .credential import Credential
from .verdict import Foreign
from .wire import Answer

_MAKERS = {
    "/compute/containers": "container",
    "/compute/ssh-keys": "key",
    "/api/tokens": "token",
}
LISTS = {"/compute/containers": "containers", "/compute/ssh-keys": "ssh_keys", "/api/tokens": "tokens"}
"""Where things are listed, and under which name."""
_PLACES = {kind: path for path, kind in _MAKERS.items()}
_ONE = re.compile(r"(/compute/containers|/compute/ssh-keys|/api/tokens)/([^/?]+)")
_BELOW = re.compile(_ONE.pattern + "(/.*)?")
# in a path it is itself, and leads nowhere else
_ID = re.compile(r"(?!\.+$)[\w.~@+=:-]{1,128}", re.ASCII)
_LOST = 3
"""Requests without an answer after which no more are made."""
_ORDER = ("container", "key", "token")


@frozen
class Thing:
    """A container, key or token by its kind, its id, and the tenant whose it is."""

    kind: str
    id: str
    owner: str

    @property
    def path(self) -> str:
        """Where it is deleted."""
        return f"{_PLACES[self.kind]}/{self.id}"

    @property
    def is_safe(self) -> bool:
        """Whether that path leads nowhere else, whatever the server has called it."""
        return _ID.fullmatch(self.id) is not None


class Things:
    """A list of them, kept by looking at every request and its answer. What was there before is spared,
    whatever a server says of it later.
    """

    def __init__(self) -> None:
        self._made: list[Thing] = []
        self._stuck: list[Thing] = []
        self._spared: set[tuple[str, str]] = set()
        self._bending: set[str] = set()

    def spare(self, path: str, ids: Iterable[str]) -> None:
        """What was in the list at this path before the run."""
        self._spared |= {(_MAKERS[path], id_) for id_ in ids}

    def guard(self, method: str, path: str) -> None:
        """See that a request changes nothing that is not the kit's own.

        Raises:
            Foreign: it would; such a path is made of what the server has answered.
        """
        if method in ("GET", "HEAD", "OPTIONS"):
            return
        for place, id_ in itertools.product(_MAKERS, self._bending):
            if path == f"{place}/{id_}" or path.startswith(f"{place}/{id_}/"):
                raise Foreign(f"an id that bends a path: {id_[:200]!r}")
        path = path.partition("?")[0]
        found = _BELOW.fullmatch(path)
        if found is not None and (_MAKERS[found[1]], unquote(found[2])) in self._spared:
            raise Foreign(f"the id of a {_MAKERS[found[1]]} that was there before the run: {found[2]}")

    def saw(self, method: str, path: str, who: Credential | None, answer: Answer) -> None:
        """An exchange, which may have made or deleted something."""
        if who is None or not 200 <= answer.status < 300:
            return
        path = path.partition("?")[0]
        if method == "POST" and (kind := _MAKERS.get(path)):
            id_ = answer.body.get("id")
            if isinstance(id_, str | int) and (kind, str(id_)) not in self._spared:
                thing = Thing(kind, str(id_), who.owner)
                self._made.append(thing)
                if not thing.is_safe:
                    self._bending.add(thing.id)
        elif method == "DELETE" and (found := _ONE.fullmatch(path)):
            self._forget(_MAKERS[found[1]], found[2])

    def _forget(self, kind: str, id_: str) -> None:
        self._made = [thing for thing in self._made if (thing.kind, thing.id) != (kind, id_)]

    def all(self, kind: str | None = None, owner: str | None = None) -> tuple[Thing, ...]:
        """What is there of a kind and an owner, or of all."""
        return tuple(
            thing for thing in self._made if kind in (None, thing.kind) and owner in (None, thing.owner)
        )

    def since(self, mark: int) -> tuple[Thing, ...]:
        """What has come since `mark` things were there, in the order in which it can go."""
        return tuple(sorted(self._made[mark:], key=lambda thing: _ORDER.index(thing.kind)))

    def __len__(self) -> int:
        return len(self._made)

    def remove(self, things: Iterable[Thing], delete: Callable[[Thing], Answer]) -> tuple[Thing, ...]:
        """Delete them; what cannot be deleted is told, and kept for `again`. Where nothing answers any more
        the rest is not tried.
        """
        left: list[Thing] = []
        lost = 0
        for thing in things:
            status = delete(thing).status if thing.is_safe and lost < _LOST else 0
            lost = lost + 1 if status == 0 and thing.is_safe else 0
            if status not in (200, 404):
                left.append(thing)
            self._forget(thing.kind, thing.id)
        self._stuck += left
        return tuple(left)

    def again(self) -> tuple[Thing, ...]:
        """All that there is, and what could not be deleted before."""
        stuck, self._stuck = self._stuck, []
        return tuple(dict.fromkeys((*self.since(0), *stuck)))

    def named(self, prefix: str, path: str, owner: str, listed: Any) -> tuple[Thing, ...]:
        """Those in the list at this path whose names begin with the prefix."""
        kind = _MAKERS[path]
        return tuple(
            Thing(kind, id_, owner)
            for id_, name in listed_in(listed)
            if name.startswith(prefix) and (kind, id_) not in self._spared
        )


def listed_in(listed: Any) -> tuple[tuple[str, str], ...]:
    """The ids and names in a list, as far as it has that form."""
    return tuple(
        (str(item["id"]), str(item.get("name", "")))
        for item in (listed if isinstance(listed, list) else ())
        if isinstance(item, dict) and isinstance(item.get("id"), str | int)
    )
