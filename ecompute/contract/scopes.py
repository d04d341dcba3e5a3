"""The scope grammar: what a token may do, and to what.

A scope is `<service>.<user id>[.<resource>[.<id>]]` and names a set of things; a grant on it covers
everything below it. Nothing here knows a server: parsing, printing and comparing only. `needs` tells what
operations need.

Scopes form trees, one for each user: two of them are comparable or have nothing in common. So grants are
compared, joined and intersected one by one; what a scope holds is never added up from its parts, since a
grant on all parts of today is none on those of tomorrow.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Self

from attrs import evolve, field, frozen

if TYPE_CHECKING:
    # the rows are made of actions
    from .endpoint import Channel, Endpoint

SERVICES: Mapping[str, frozenset[str]] = {"compute": frozenset({"containers", "keys"})}
"""The services that can be granted, with the resources of each."""

CALLER = "<uid>"
"""What stands for the caller's user id, where it is not known yet. A server knows no such user."""

_USER = re.compile(r"[a-z0-9]{1,64}")
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Action(StrEnum):
    """What can be done to a thing that a scope names."""

    CREATE = "create"
    READ = "read"
    UPDATE = "update"
    DELETE = "delete"


class ScopeError(ValueError):
    """A text is no scope, an action no action, or an operation none that can be granted; `str()` says why in
    one sentence.
    """


class _Covering:
    """An order by `covers`, for two of one kind."""

    __slots__ = ()

    def covers(self, other: Any) -> bool:
        raise NotImplementedError

    def __le__(self, other: Self) -> bool:
        return other.covers(self) if isinstance(other, type(self)) else NotImplemented

    def __lt__(self, other: Self) -> bool:
        return self <= other and not self >= other if isinstance(other, type(self)) else NotImplemented

    def __ge__(self, other: Self) -> bool:
        return self.covers(other) if isinstance(other, type(self)) else NotImplemented

    def __gt__(self, other: Self) -> bool:
        return self >= other and not self <= other if isinstance(other, type(self)) else NotImplemented


@frozen
class Scope(_Covering):
    """One scope. Equal by value, prints as its text; `a <= b` means that a grant on b covers a.

    The order is partial: of two scopes beside each other, neither is lower. To sort, use `key=str`.
    """

    service: str
    user_id: str
    resource: str | None = None
    id: str | None = None

    @classmethod
    def parse(cls, text: str) -> Scope:
        """Read a scope from its text.

        Raises:
            ScopeError: the text breaks the grammar or names an unknown service or resource.
        """
        scope = cls._read(text)
        checked_user(scope.user_id)
        return scope

    @classmethod
    def _read(cls, text: str) -> Scope:
        """The same for any user id."""
        parts = text.split(".")
        if not 2 <= len(parts) <= 4:
            raise ScopeError("A scope has two to four parts: service.user[.resource[.id]].")
        service, user_id, resource, id_ = (*parts, None, None)[:4]
        assert service is not None
        assert user_id is not None
        if service not in SERVICES:
            raise ScopeError(f"The service of a scope must be one of: {', '.join(sorted(SERVICES))}.")
        if resource is not None and resource not in SERVICES[service]:
            allowed = ", ".join(sorted(SERVICES[service]))
            raise ScopeError(f"The resource of a scope must be one of: {allowed}.")
        if id_ is not None:
            checked_id(id_)
        return cls(service, user_id, resource, id_)

    @classmethod
    def _of_anybody(cls, text: str) -> Scope:
        """The same, with a literal `<uid>` as the user as well."""
        scope = cls._read(text)
        if scope.user_id != CALLER:
            checked_user(scope.user_id)
        return scope

    @classmethod
    def fill(cls, template: str, *, user_id: str, id: str | None = None) -> Scope:
        """The scope of a table row's template (`compute.<uid>.containers.<id>`) for one user and id.

        The id comes from a caller and may be any text: it is not checked, so that a scope for it can always
        be compared. Such a scope need not parse again.
        """
        service, *rest = template.split(".")
        filled = [{CALLER: user_id, "<id>": id}.get(part, part) for part in rest]
        return cls(service, *filled)  # type: ignore[arg-type]

    def covers(self, other: Scope | str) -> bool:
        """Whether a grant on this scope reaches `other` (or its text): it is the same, or lies below.

        Raises:
            ScopeError: `other` is a text that is no scope.
        """
        target = other if isinstance(other, Scope) else Scope.parse(other)
        mine, theirs = self._parts(), target._parts()
        return theirs[: len(mine)] == mine

    def __and__(self, other: Scope) -> Scope | None:
        """What both cover: the lower one of two comparable scopes, else None."""
        if not isinstance(other, Scope):
            return NotImplemented
        return self if self <= other else other if other <= self else None

    def upwards(self) -> Iterator[Scope]:
        """The scopes that cover this one, itself first."""
        yield self
        if self.id is not None:
            yield Scope(self.service, self.user_id, self.resource)
        if self.resource is not None:
            yield Scope(self.service, self.user_id)

    def _parts(self) -> tuple[str, ...]:
        parts = (self.service, self.user_id, self.resource, self.id)
        return tuple(part for part in parts if part is not None)

    def __str__(self) -> str:
        return ".".join(self._parts())


def checked_user(user_id: str) -> str:
    """A user id that may stand in a scope.

    Raises:
        ScopeError: it may not.
    """
    if not _USER.fullmatch(user_id):
        raise ScopeError("The user id of a scope is made of the characters a-z and 0-9.")
    return user_id


def checked_id(id: str) -> str:
    """An id that may stand in a scope.

    Raises:
        ScopeError: it may not.
    """
    if not _ID.fullmatch(id):
        raise ScopeError("The id of a scope is made of letters, digits, '-' and '_'.")
    return id


def _action(given: str) -> Action:
    try:
        return Action(given)
    except ValueError:
        raise ScopeError(f"An action must be one of: {', '.join(Action)}.") from None


def _actions(given: Iterable[str]) -> frozenset[Action]:
    if isinstance(given, str):
        raise ScopeError("The actions of a scope are a list, not a text.")
    return frozenset(map(_action, given))


def _grants(
    given: Grants | Mapping[str, Iterable[str]] | Mapping[Scope, Iterable[str]],
) -> Mapping[Scope, frozenset[Action]]:
    if isinstance(given, Grants):
        return given.by_scope
    if not isinstance(given, Mapping):
        raise ScopeError("Grants are made from a mapping of scopes to actions.")
    grants: dict[Scope, frozenset[Action]] = {}
    for key, actions in given.items():
        if not isinstance(key, str | Scope):
            raise ScopeError("A scope is a text.")
        scope = key if isinstance(key, Scope) else Scope._of_anybody(key)
        grants[scope] = grants.get(scope, frozenset()) | _actions(actions)
    return dict(sorted(grants.items(), key=lambda item: str(item[0])))


@frozen(repr=False)
class Grants(_Covering):
    """Scopes with the actions granted on each, as a token carries them.

    Made from a mapping of scope (or its text) to actions (or their names); a literal `<uid>` may stand as the
    user. False when nothing is granted.

    Equal means the same scopes with the same actions. The order goes by what is allowed: `a <= b` means that
    b allows all that a does, so that each of two may be `<=` the other without being equal. Then they have
    the same `minimal()`.

    Raises:
        ScopeError: a scope or an action is malformed.
    """

    by_scope: Mapping[Scope, frozenset[Action]] = field(converter=_grants)

    @classmethod
    def of(cls, pairs: Iterable[tuple[Scope, Action]]) -> Grants:
        """Grants of single actions on single scopes."""
        found: dict[Scope, set[Action]] = {}
        for scope, action in pairs:
            found.setdefault(scope, set()).add(action)
        return cls(found)

    @classmethod
    def parse(cls, text: str) -> Grants:
        """Read grants as they print: `scope=action,action`, with spaces between. A literal `<uid>` may stand
        as the user, as in grants that were printed before the user was known.

        Raises:
            ScopeError: the text is none of that form, or a scope or an action is malformed.
        """
        pairs = []
        for grant in text.split():
            name, equals, actions = grant.partition("=")
            if not equals:
                raise ScopeError("A grant is given as scope=action,action.")
            scope = Scope._of_anybody(name)
            pairs += [(scope, _action(action)) for action in actions.split(",")]
        return cls.of(pairs)

    @staticmethod
    def needed_for(
        operation: Callable[..., object] | Endpoint[Any, Any] | Channel[Any, Any] | str,
        id: object = None,
        *,
        user_id: str | None = None,
        wait: bool = False,
        delete_on_failure: bool = False,
    ) -> Grants:
        """The least grants for an operation: for a method of a client or of a container, such as
        `client.containers.stop` or `box.stop`, for a row of the table, or for the name of one of these, such
        as `"containers.stop"`.

        `id` is the container, by itself or by its id, or a list of several; without it the grants are for all
        containers of the user, but for the methods of a container, and so they are for what makes one, which
        has no id yet. `user_id` is who is granted; without it the scopes have a literal `<uid>`, which
        `for_user` and `client.tokens.create` fill in. `wait` and `delete_on_failure` are the operation's own
        arguments.

        The least is not always the best: a wait that may not open the events feed looks again and again; with
        `read` on `compute.<uid>` it is told. And what the library does only after a lost answer may need
        more: a temporary container's key is then looked for in the list of keys.

        Raises:
            ScopeError: there is no such operation, only a session may do it, or the id or the user id may not
                stand in a scope.
        """
        from . import needs

        options = {"wait": wait, "delete_on_failure": delete_on_failure}
        return needs.needed(operation, id, user_id, [name for name, given in options.items() if given])

    def allows(self, scope: Scope | str, action: Action | str) -> bool:
        """Whether `action` on `scope` is covered by one of the grants.

        Raises:
            ScopeError: a text that is no scope, or no action.
        """
        target = scope if isinstance(scope, Scope) else Scope._of_anybody(scope)
        wanted = _action(action)
        return any(wanted in self.by_scope.get(held, ()) for held in target.upwards())

    def covers(self, other: Grants) -> bool:
        """Whether all that `other` allows is allowed here, too."""
        return all(self.allows(scope, action) for scope, action in other._pairs())

    def minimal(self) -> Grants:
        """The smallest grants that allow the same: none that another one covers."""
        return Grants.of(
            (scope, action)
            for scope, action in self._pairs()
            if not any(action in self.by_scope.get(above, ()) for above in [*scope.upwards()][1:])
        )

    def for_user(self, user_id: str) -> Grants:
        """The same for one user, where the scopes leave it open.

        Raises:
            ScopeError: the user id may not stand in a scope.
        """
        checked_user(user_id)
        return Grants.of(
            (evolve(scope, user_id=user_id) if scope.user_id == CALLER else scope, action)
            for scope, action in self._pairs()
        )

    def to_dict(self) -> dict[str, list[str]]:
        """The form of the wire and of the database: scope text to sorted action names."""
        return {str(scope): sorted(map(str, actions)) for scope, actions in self.by_scope.items()}

    def __or__(self, other: Grants) -> Grants:
        """What one of the two allows."""
        return Grants.of([*self._pairs(), *other._pairs()]) if isinstance(other, Grants) else NotImplemented

    def __and__(self, other: Grants) -> Grants:
        """What both allow."""
        if not isinstance(other, Grants):
            return NotImplemented
        both = ((self, other), (other, self))
        return Grants.of(pair for one, two in both for pair in one._pairs() if two.allows(*pair))

    def __iter__(self) -> Iterator[tuple[Scope, frozenset[Action]]]:
        return iter(self.by_scope.items())

    def __bool__(self) -> bool:
        return any(self.by_scope.values())

    def __hash__(self) -> int:
        return hash(frozenset(self.by_scope.items()))

    def __str__(self) -> str:
        return " ".join(
            f"{scope}={','.join(actions)}" for scope, actions in self.to_dict().items() if actions
        )

    def __repr__(self) -> str:
        return f"Grants({self.to_dict()!r})"

    def _pairs(self) -> Iterator[tuple[Scope, Action]]:
        return ((scope, action) for scope, actions in self.by_scope.items() for action in actions)
