"""A container that is always deleted again, with its key: what was made, and how it is unmade.

Whatever the way out, `undo` knows what is left: what was made and told, and what may have been made although
its answer was lost. That is found by its name, where the name is random and nothing else can be meant. It may
also be still on its way, since an interrupt does not call back what was sent: so the same create is repeated
under its idempotency key, until the server says what came of it. Where keys count for nothing, all that can
be done is to look again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from attrs import define, evolve, frozen

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
from ecompute.errors import (
    Conflict,
    ConnectError,
    Error,
    InternalError,
    InvalidRequest,
    LimitReached,
    NotFound,
    OutcomeUnknown,
    TooLarge,
    Unavailable,
    one_line,
)

from . import ed25519, flows, policy, wire

Response = TypeVar("Response")

CALLER = "temporary"
"""What messages call all that makes one."""
UNDO_WITHIN = 30.0
"""Seconds for deleting both, which no cancellation shortens."""
MIN_CALL = 1.0
"""Seconds that each call for it gets, whatever the ones before have used."""
SETTLE_WITHIN = 10.0
"""Seconds for finding out whether one of the two was made, by repeating its create."""
LOOK_FOR = 3.0
"""Seconds for that by looking: a create that was sent is in the list in a fraction of one."""

_NOT_MADE = (InvalidRequest, LimitReached, TooLarge)
"""Refusals of a repeated create that mean that the first had no effect: else its answer had come again."""
_NOT_YET_KNOWN = (Conflict, InternalError, Unavailable, ConnectError, OutcomeUnknown)
"""Answers that say nothing of the first, and pass: it is still under way, or the server is in trouble."""


@frozen
class Left:
    """One that could not be deleted: the beginning of a sentence about it, and what prevented it."""

    what: str
    error: Error


@define
class _Thing:
    """One of the two: how it is made, found and deleted, and what is known of it."""

    noun: str
    name: str
    idempotency_key: str
    make_row: Endpoint[Any, Any]
    make_request: Any
    list_row: Endpoint[Any, Any]
    list_request: Any
    items: Callable[[Any], Sequence[Container | SSHKey]]
    delete_row: Endpoint[Any, Any]
    delete_request: Callable[[Any], Any]
    id: Any = None
    in_doubt: bool = False
    """Whether it may have been made without our knowing its id."""

    @property
    def left(self) -> str | None:
        """What is left of it, as the beginning of a sentence."""
        if self.id is not None:
            return f"{self.noun} {one_line(str(self.id))} is left"
        return f"{self.noun} named {one_line(self.name)} may be left" if self.in_doubt else None


class Temporary:
    """A container, and a key for it if there is a `public_key`.

    `unique` is a name that nothing else has: the key gets it, and the container may. `secret` is 32 random
    bytes: the names under which the creates can be repeated are made of them, except the container's when
    `idempotency_key` is given: who has that can settle himself what came of a create whose answer was lost.
    `caller` is what messages call the creates, None for the names of their rows.

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
        context: flows.Context,
        caller: str | None = CALLER,
        idempotency_key: str | None = None,
    ) -> None:
        self._unique = unique
        self._context = context
        self._caller = caller
        self._settles = idempotency_key is None
        self._container = _Thing(
            "Container",
            request.name,
            idempotency_key or _idempotency_key(secret, CREATE_CONTAINER),
            CREATE_CONTAINER,
            request,
            LIST_CONTAINERS,
            ListContainers(),
            lambda answer: answer.containers,
            DELETE_CONTAINER,
            DeleteContainer,
        )
        self._key = _Thing(
            "Key",
            unique,
            _idempotency_key(secret, ADD_SSH_KEY),
            ADD_SSH_KEY,
            None if public_key is None else AddSSHKey(unique, public_key),
            LIST_SSH_KEYS,
            ListSSHKeys(),
            lambda answer: answer.ssh_keys,
            DELETE_SSH_KEY,
            DeleteSSHKey,
        )
        # what cannot be sent is told before anything is made
        for thing in (self._container, self._key):
            if thing.make_request is not None:
                wire.encode(thing.make_row, thing.make_request, caller)

    def left(self) -> list[str]:
        """What is there, or may be, as beginnings of sentences."""
        return [left for thing in (self._container, self._key) if (left := thing.left) is not None]

    def make(self, timeout: float) -> flows.Flow[str]:
        """Make both, each within `timeout` seconds; gives the container's id.

        Raises:
            Error: as for the calls. What was made is left to `undo`.
        """
        if self._key.make_request is not None:
            yield from self._make(self._key, timeout)
            container = self._container
            container.make_request = evolve(container.make_request, ssh_key_ids=(self._key.id,))
        yield from self._make(self._container, timeout)
        id: str = self._container.id
        return id

    def _make(self, thing: _Thing, timeout: float) -> flows.Flow[None]:
        thing.in_doubt = True
        try:
            yield from self._create(thing, timeout)
        except OutcomeUnknown:
            thing.in_doubt = self._settles
            raise
        except Error:
            thing.in_doubt = False
            raise

    def _create(self, thing: _Thing, timeout: float) -> flows.Flow[None]:
        made = yield from flows.call(
            thing.make_row,
            thing.make_request,
            timeout,
            self._context,
            self._caller,
            idempotency_key=thing.idempotency_key,
        )
        # in this order: an interrupt may come in between
        thing.id = made.id
        thing.in_doubt = False

    def undo(self) -> flows.Flow[tuple[Left, ...]]:
        """Delete both, the container first; gives what is left. Called again, it goes on."""
        deadline = self._context.now() + UNDO_WITHIN
        left = []
        for thing in (self._container, self._key):
            before = thing.left or ""
            try:
                yield from self._delete(thing, deadline)
            except Error as error:
                left.append(Left(thing.left or before, error))
        return tuple(left)

    def _delete(self, thing: _Thing, deadline: float) -> flows.Flow[None]:
        if thing.in_doubt:
            yield from self._settle(thing, deadline)
        if thing.id is not None:
            # NotFound: whoever used it has deleted it already
            with suppress(NotFound):
                yield from self._call(thing.delete_row, thing.delete_request(thing.id), deadline)
            thing.id = None

    def _settle(self, thing: _Thing, deadline: float) -> flows.Flow[None]:
        """Find out whether it was made: then its id is known, and else it never will be."""
        try:
            yield from self._look(thing, deadline)
        except Error:
            # a token may create what it cannot list
            if not self._context.server.honours_keys:
                raise
        if thing.in_doubt:
            if self._context.server.honours_keys:
                yield from self._repeat(thing, min(deadline, self._context.now() + SETTLE_WITHIN))
            elif thing.name == self._unique:
                yield from self._look_again(thing, min(deadline, self._context.now() + LOOK_FOR))
            else:
                thing.in_doubt = False
                raise OutcomeUnknown(
                    "The answer to a create was lost: look whether a container named "
                    f"{one_line(thing.name)} is left.",
                    operation=thing.make_row.name,
                    request=wire.encode(thing.make_row, thing.make_request, self._caller),
                    base_url=self._context.server.base_url,
                )

    def _look(self, thing: _Thing, deadline: float) -> flows.Flow[None]:
        answer = yield from self._call(thing.list_row, thing.list_request, deadline)
        # another one of the same name may be somebody else's work
        if thing.name == self._unique:
            for one in thing.items(answer):
                if one.name == thing.name:
                    thing.id = one.id
                    thing.in_doubt = False

    def _look_again(self, thing: _Thing, until: float) -> flows.Flow[None]:
        failures = 1
        while thing.in_doubt:
            pause = policy.CALLS.pause(failures, self._context.random())
            if self._context.now() + pause >= until:
                thing.in_doubt = False
                return
            yield flows.Pause(pause)
            yield from self._look(thing, until)
            failures += 1

    def _repeat(self, thing: _Thing, until: float) -> flows.Flow[None]:
        failures = 0
        while thing.in_doubt:
            try:
                yield from self._create(thing, max(until - self._context.now(), MIN_CALL))
            except _NOT_MADE:
                thing.in_doubt = False
            except _NOT_YET_KNOWN as error:
                failures += 1
                wish = getattr(error, "retry_after", None)
                pause = policy.CALLS.pause(failures, self._context.random(), wish)
                if self._context.now() + pause >= until:
                    raise
                yield flows.Pause(pause)

    def _call(self, row: Endpoint[Any, Response], request: object, deadline: float) -> flows.Flow[Response]:
        left = max(deadline - self._context.now(), MIN_CALL)
        return flows.call(row, request, left, self._context)


def key_line(request: CreateContainer, given: str | None, *, unique: str, secret: bytes) -> str | None:
    """The public key to register for a container: the one given, or one for a request that names none."""
    if given is not None or request.ssh_key_ids:
        return given
    # a create has to name a key, also when nobody means to log in; with this one nobody can, since its
    # private half is forgotten here
    return f"{ed25519.openssh(ed25519.public_key(secret))} {unique}"


def _idempotency_key(secret: bytes, row: Endpoint[Any, Any]) -> str:
    # hashed, since of the same bytes the private half of a key may be made
    return hashlib.sha256(secret + row.name.encode()).hexdigest()


def tell(left: Sequence[Left], cause: BaseException | None) -> None:
    """What is left is raised, or told by notes of the exception that is on its way already."""
    if not left:
        return
    told = cause or left[0].error
    for one in left:
        told.add_note(f"{one.what}." if one.error is told else f"{one.what}: {one.error}")
    if cause is None:
        raise told
