"""A container that is always deleted again, with its key: what was made, and how it is unmade.

Whatever the way out, `undo` knows what is left: what was made and told, and what may have been made although
its answer was lost. That is found again by its name, where the name is random and nothing else can be meant.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from attrs import define, evolve

from ecompute.contract.endpoint import Endpoint
from ecompute.contract.endpoints import (
    ADD_SSH_KEY,
    CREATE_CONTAINER,
    DELETE_CONTAINER,
    DELETE_SSH_KEY,
    LIST_CONTAINERS,
    LIST_SSH_KEYS,
)
from ecompute.contract.requests import (
    AddSSHKey,
    CreateContainer,
    DeleteContainer,
    DeleteSSHKey,
    ListContainers,
    ListSSHKeys,
)
from ecompute.contract.resources import Container, SSHKey
from ecompute.errors import Error, NotFound, OutcomeUnknown, one_line

from . import ed25519, flows, wire

Made = TypeVar("Made", Container, SSHKey)
Response = TypeVar("Response")

UNDO_WITHIN = 30.0
"""Seconds for deleting both, which no cancellation shortens."""
MIN_CALL = 1.0
"""Seconds that each call for it gets, whatever the ones before have used."""


@define
class _Thing:
    """One of the two: how it is found and deleted, and what is known of it."""

    name: str
    list_row: Endpoint[Any, Any]
    list_request: Any
    items: Callable[[Any], Sequence[Container | SSHKey]]
    delete_row: Endpoint[Any, Any]
    delete_request: Callable[[Any], Any]
    id: Any = None
    in_doubt: bool = False
    """Whether it may have been made without our knowing its id."""


class Temporary:
    """A container, and a key for it unless `request` names some.

    `unique` is a name that nothing else has: the key gets it, and the container may. `secret` is 32 random
    bytes, of which a key is made when there is none.

    Raises:
        InvalidArgument: an argument has the wrong type.
    """

    def __init__(
        self,
        request: CreateContainer,
        public_key: str | None,
        *,
        unique: str,
        secret: bytes,
        timing: flows.Timing,
    ) -> None:
        if public_key is None and not request.ssh_key_ids:
            # a create has to name a key, also when nobody means to log in; with this one nobody can, since
            # its private half is forgotten here
            public_key = f"{ed25519.openssh(ed25519.public_key(secret))} {unique}"
        self._request = request
        self._add = None if public_key is None else AddSSHKey(unique, public_key)
        self._unique = unique
        self._timing = timing
        # what cannot be sent is told before anything is made
        wire.encode(CREATE_CONTAINER, request)
        if self._add is not None:
            wire.encode(ADD_SSH_KEY, self._add)
        self._container = _Thing(
            request.name,
            LIST_CONTAINERS,
            ListContainers(),
            lambda answer: answer.containers,
            DELETE_CONTAINER,
            DeleteContainer,
        )
        self._key = _Thing(
            unique, LIST_SSH_KEYS, ListSSHKeys(), lambda answer: answer.ssh_keys, DELETE_SSH_KEY, DeleteSSHKey
        )

    def make(self, timeout: float) -> flows.Flow[str]:
        """Make both, each within `timeout` seconds; gives the container's id.

        Raises:
            Error: as for the calls. What was made is left to `undo`.
        """
        request = self._request
        if self._add is not None:
            key = yield from self._make(self._key, ADD_SSH_KEY, self._add, timeout)
            request = evolve(request, ssh_key_ids=(key.id,))
        container = yield from self._make(self._container, CREATE_CONTAINER, request, timeout)
        return container.id

    def _make(
        self, thing: _Thing, row: Endpoint[Any, Made], request: object, timeout: float
    ) -> flows.Flow[Made]:
        thing.in_doubt = True
        try:
            made = yield from flows.call(row, request, timeout, self._timing)
        except OutcomeUnknown:
            raise
        except Error:
            thing.in_doubt = False
            raise
        thing.id, thing.in_doubt = made.id, False
        return made

    def undo(self) -> flows.Flow[tuple[Error, ...]]:
        """Delete both, the container first; gives what prevented it. Called again, it goes on."""
        deadline = self._timing.now() + UNDO_WITHIN
        errors = []
        for thing in (self._container, self._key):
            try:
                yield from self._delete(thing, deadline)
            except Error as error:
                errors.append(error)
        return tuple(errors)

    def _delete(self, thing: _Thing, deadline: float) -> flows.Flow[None]:
        if thing.in_doubt:
            yield from self._find(thing, deadline)
        if thing.id is not None:
            # NotFound: whoever used it has deleted it already
            with suppress(NotFound):
                yield from self._call(thing.delete_row, thing.delete_request(thing.id), deadline)
            thing.id = None

    def _find(self, thing: _Thing, deadline: float) -> flows.Flow[None]:
        if thing.name != self._unique:
            # another one of the same name may be somebody else's work
            thing.in_doubt = False
            raise OutcomeUnknown(
                f"The answer to a create was lost: look whether a container named {one_line(thing.name)} is "
                "left.",
                operation=CREATE_CONTAINER.name,
                request=self._request,
            )
        answer = yield from self._call(thing.list_row, thing.list_request, deadline)
        thing.id = next((one.id for one in thing.items(answer) if one.name == thing.name), None)
        thing.in_doubt = False

    def _call(self, row: Endpoint[Any, Response], request: object, deadline: float) -> flows.Flow[Response]:
        left = max(deadline - self._timing.now(), MIN_CALL)
        return flows.call(row, request, left, self._timing)


def tell(errors: Sequence[Error], cause: BaseException | None) -> None:
    """What prevented a deletion: raised, or left as a note with the exception that is on its way already."""
    for error in errors:
        told = cause or errors[0]
        if error is not told:
            told.add_note(f"Besides, not all of a temporary container was deleted: {error}")
    if errors and cause is None:
        errors[0].add_note("Not all of a temporary container was deleted.")
        raise errors[0]
