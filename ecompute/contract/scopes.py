"""The scope grammar: what a token may do, and to what.

A scope is `<service>.<user id>[.<resource>[.<id>]]` and names a set of things; a grant on it covers
everything below it. Nothing here knows a server: parsing, printing and comparing only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum

from attrs import field, frozen

SERVICES: Mapping[str, frozenset[str]] = {"compute": frozenset({"containers", "keys"})}
"""The services that can be granted, with the resources of each."""

_USER = re.compile(r"[a-z0-9]{1,64}")
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Action(StrEnum):
    """What can be done to a thing that a scope names."""

    CREATE = "create"
    READ = "read"
    UPDATE = "update"
    DELETE = "delete"


class ScopeError(ValueError):
    """A text is no scope, or an action no action; `str()` says why in one sentence."""


@frozen(order=True)
class Scope:
    """One scope. Compares by value, sorts by its text, prints as its text."""

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
        parts = text.split(".")
        if not 2 <= len(parts) <= 4:
            raise ScopeError("A scope has two to four parts: service.user[.resource[.id]].")
        service, user_id, resource, id_ = (*parts, None, None)[:4]
        assert service is not None
        assert user_id is not None
        if service not in SERVICES:
            raise ScopeError(f"The service of a scope must be one of: {', '.join(sorted(SERVICES))}.")
        if not _USER.fullmatch(user_id):
            raise ScopeError("The user id of a scope is made of the characters a-z and 0-9.")
        if resource is not None and resource not in SERVICES[service]:
            allowed = ", ".join(sorted(SERVICES[service]))
            raise ScopeError(f"The resource of a scope must be one of: {allowed}.")
        if id_ is not None and not _ID.fullmatch(id_):
            raise ScopeError("The id of a scope is made of letters, digits, '-' and '_'.")
        return cls(service, user_id, resource, id_)

    @classmethod
    def fill(cls, template: str, *, user_id: str, id: str | None = None) -> Scope:
        """The scope of a table row's template (`compute.<uid>.containers.<id>`) for one user and id.

        The id comes from a caller and may be any text: it is not checked, so that a scope for it can always
        be compared. Such a scope need not parse again.
        """
        service, *rest = template.split(".")
        filled = [{"<uid>": user_id, "<id>": id}.get(part, part) for part in rest]
        return cls(service, *filled)  # type: ignore[arg-type]

    def covers(self, other: Scope | str) -> bool:
        """Whether a grant on this scope reaches `other` (or its text): it is the same, or lies below.

        Raises:
            ScopeError: `other` is a text that is no scope.
        """
        target = other if isinstance(other, Scope) else Scope.parse(other)
        mine, theirs = self._parts(), target._parts()
        return theirs[: len(mine)] == mine

    def _parts(self) -> tuple[str, ...]:
        parts = (self.service, self.user_id, self.resource, self.id)
        return tuple(part for part in parts if part is not None)

    def __str__(self) -> str:
        return ".".join(self._parts())


def _actions(given: Iterable[str]) -> frozenset[Action]:
    if isinstance(given, str):
        raise ScopeError("The actions of a scope are a list, not a text.")
    try:
        return frozenset(Action(action) for action in given)
    except ValueError:
        raise ScopeError(f"An action must be one of: {', '.join(Action)}.") from None


def _grants(
    given: Mapping[str, Iterable[str]] | Mapping[Scope, Iterable[str]],
) -> Mapping[Scope, frozenset[Action]]:
    grants: dict[Scope, frozenset[Action]] = {}
    for key, actions in given.items():
        scope = key if isinstance(key, Scope) else Scope.parse(key)
        grants[scope] = grants.get(scope, frozenset()) | _actions(actions)
    return dict(sorted(grants.items(), key=lambda item: str(item[0])))


@frozen
class Grants:
    """Scopes with the actions granted on each, as a token carries them.

    Made from a mapping of scope (or its text) to actions (or their names).

    Raises:
        ScopeError: a scope or an action is malformed.
    """

    by_scope: Mapping[Scope, frozenset[Action]] = field(converter=_grants, hash=False)

    def allows(self, scope: Scope | str, action: Action | str) -> bool:
        """Whether `action` on `scope` is covered by one of the grants."""
        target = scope if isinstance(scope, Scope) else Scope.parse(scope)
        wanted = Action(action)
        return any(wanted in actions and held.covers(target) for held, actions in self.by_scope.items())

    def __iter__(self) -> Iterator[tuple[Scope, frozenset[Action]]]:
        return iter(self.by_scope.items())

    def to_dict(self) -> dict[str, list[str]]:
        """The form of the wire and of the database: scope text to sorted action names."""
        return {str(scope): sorted(actions) for scope, actions in self.by_scope.items()}
