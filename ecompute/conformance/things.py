"""What the kit has made on the tested server, so that all of it goes again and nothing else does."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from attrs import frozen

from .credential import Credential
from .wire import Answer

_MAKERS = {
    "/compute/containers": "container",
    "/compute/ssh-keys": "key",
    "/api/tokens": "token",
}
_PLACES = {kind: path for path, kind in _MAKERS.items()}
_ONE = re.compile(r"(/compute/containers|/compute/ssh-keys|/api/tokens)/([^/?]+)")
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


class Things:
    """A list of them, kept by looking at every request and its answer."""

    def __init__(self) -> None:
        self._made: list[Thing] = []

    def saw(self, method: str, path: str, who: Credential | None, answer: Answer) -> None:
        """An exchange, which may have made or deleted something."""
        if who is None or not 200 <= answer.status < 300:
            return
        path = path.partition("?")[0]
        if method == "POST" and (kind := _MAKERS.get(path)):
            id_ = answer.body.get("id")
            if isinstance(id_, str | int):
                self._made.append(Thing(kind, str(id_), who.owner))
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

    def remove(self, things: tuple[Thing, ...], delete: Callable[[Thing], Answer]) -> tuple[Thing, ...]:
        """Delete them; what cannot be deleted is told and forgotten as well."""
        left = []
        for thing in things:
            answer = delete(thing)
            if answer.status not in (200, 404):
                left.append(thing)
            self._forget(thing.kind, thing.id)
        return tuple(left)


def made_by(prefix: str, listed: Any) -> tuple[str, ...]:
    """The ids in a list whose names begin with the prefix."""
    if not isinstance(listed, list):
        return ()
    return tuple(
        str(item["id"])
        for item in listed
        if isinstance(item, dict) and "id" in item and str(item.get("name", "")).startswith(prefix)
    )
