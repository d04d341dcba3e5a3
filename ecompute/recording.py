"""What a program needs, found by running it: `with recorded_grants() as used:`.

The clients tell every answer that they get, and the row of the table behind it says which grant let it come.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from http import HTTPStatus
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # every client loads this module, and few programs record
    import re

    from .contract.needs import Row
    from .contract.scopes import Action, Grants, Scope
    from .exchange import HTTPAnswer, HTTPRequest

_REFUSED = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
"""What was refused for want of a right has used none."""


class Recorder:
    """What was used so far; made by `recorded_grants()`. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._used: set[tuple[Scope, Action]] = set()
        self._beyond: set[str] = set()
        self._made: set[str] = set()
        self._open = True

    @property
    def grants(self) -> Grants:
        """The smallest grants that allow all that was used until now.

        The scopes have a literal `<uid>` as their user: `grants.for_user` fills it in, and
        `client.tokens.create` does so by itself.
        """
        from .contract.scopes import Grants

        with self._lock:
            used = [*self._used]
        return Grants.of(used).minimal()

    @property
    def repeatable(self) -> Grants:
        """The same for another run: a container that was made inside will have another id then, so that what
        was done to it is granted on all containers.
        """
        from .contract.scopes import Grants, Scope

        with self._lock:
            used, made = [*self._used], self._made.copy()
        return Grants.of(
            (Scope(s.service, s.user_id, s.resource, None if s.id in made else s.id), action)
            for s, action in used
        ).minimal()

    @property
    def session_only(self) -> frozenset[str]:
        """The names of used operations that no API token may do, whatever its grants."""
        with self._lock:
            return frozenset(self._beyond)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.grants or 'nothing'}>"

    def _note(self, row: Row, scope: Scope | None, session_only: bool) -> None:
        with self._lock:
            if not self._open:
                return
            if scope is not None and row.action is not None:
                self._used.add((scope, row.action))
            elif session_only:
                self._beyond.add(row.name)

    def _note_made(self, id_: str) -> None:
        with self._lock:
            self._made.add(id_)

    def _close(self) -> None:
        with self._lock:
            self._open = False


_active: ContextVar[tuple[Recorder, ...]] = ContextVar("ecompute.recorders", default=())


@contextmanager
def recorded_grants() -> Iterator[Recorder]:
    """Record what the code inside the block needs, as a context manager that gives a `Recorder`.

    Everything counts that clients of either kind do inside, on behalf of the block's own code: an operation
    counts once the server has answered it, unless it was refused for want of a right (401, 403). What a
    program may do but has not done this time is not found. Blocks may be nested: each records all that is
    done inside of it. `grants` names the very things that were used, `repeatable` is for another run.

    It follows the context (PEP 567), so it works in sync and in async code, where `with` is written as well,
    and includes tasks that are started inside, `asyncio.to_thread` and `anyio.to_thread`. A plain
    `threading.Thread` or an executor's thread begins with an empty context, as a rule, and is then not
    included: start it with `contextvars.copy_context().run`. What such tasks and threads do after the end of
    the block does not count.

    A wait uses the events feed if it may, and so counts as `read` on all of the user's things;
    `Grants.needed_for(client.containers.wait, id)` is what it can do with.
    """
    recorder = Recorder()
    _active.set((*_active.get(), recorder))
    try:
        yield recorder
    finally:
        recorder._close()
        # no reset by a token: a generator may end in another context than it began in
        _active.set(tuple(one for one in _active.get() if one is not recorder))


def note(row: Row, id: object = None, user_id: str | None = None) -> None:
    """Tell who records that an operation of this row was done, on the thing with this id.

    An id that can stand in no scope is left out: nothing has it, and no grant can name it.
    """
    recorders = _active.get()
    if not recorders:
        return
    from .contract.endpoint import Auth
    from .contract.scopes import CALLER, Scope, ScopeError, checked_id

    scope = None
    if row.scope is not None:
        try:
            named = None if id is None else checked_id(str(id))
        except ScopeError:
            return
        scope = Scope.fill(row.scope, user_id=CALLER if user_id is None else user_id, id=named)
    for recorder in recorders:
        recorder._note(row, scope, row.auth is Auth.SESSION)


def answered(request: HTTPRequest, answer: HTTPAnswer) -> None:
    """Tell who records that a request was answered."""
    if not _active.get() or answer.status in _REFUSED:
        return
    from urllib.parse import unquote

    for row, path in _paths():
        if row.method == request.method and (found := path.fullmatch(request.target.partition("?")[0])):
            id_ = found.groupdict().get("id")
            note(row, None if id_ is None else unquote(id_))
            if row.name == "containers.create":
                _note_made(answer)
            return


def _note_made(answer: HTTPAnswer) -> None:
    from .contract.codec import load_answer
    from .contract.problems import InvalidFields

    try:
        told = load_answer(answer.body)
    except InvalidFields:
        return
    if isinstance(told, dict) and isinstance(id_ := told.get("id"), str):
        for recorder in _active.get():
            recorder._note_made(id_)


@cache
def _paths() -> tuple[tuple[Row, re.Pattern[str]], ...]:
    import re

    from .contract.needs import ROWS

    return tuple(
        (row, re.compile(re.sub(r"\\{([a-z_]+)\\}", r"(?P<\1>[^/]+)", re.escape(row.path)))) for row in ROWS
    )
