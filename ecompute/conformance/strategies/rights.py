"""Scopes, actions and grants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from ecompute.contract.scopes import SERVICES, Action, Grants, Scope

from .parts import container_ids, given_or, user_ids


def actions() -> SearchStrategy[Action]:
    """One action. The simplest is `read`."""
    return st.sampled_from((Action.READ, Action.CREATE, Action.UPDATE, Action.DELETE))


def scopes(
    users: SearchStrategy[str] | None = None, ids: SearchStrategy[str] | None = None
) -> SearchStrategy[Scope]:
    """One scope, of the given users and below `containers` or `keys` of the given ids. The simplest is
    `compute.u1`.
    """
    return st.builds(
        _scope,
        st.sampled_from(tuple(SERVICES)),
        given_or(users, user_ids),
        _below(given_or(ids, container_ids)),
    )


def _scope(service: str, user_id: str, rest: tuple[str, ...]) -> Scope:
    return Scope(service, user_id, *rest)


def _below(ids: SearchStrategy[str]) -> SearchStrategy[tuple[str, ...]]:
    resources = st.sampled_from(("containers", "keys"))
    return st.one_of(st.just(()), st.tuples(resources), st.tuples(resources, ids))


def grants(
    users: SearchStrategy[str] | None = None, ids: SearchStrategy[str] | None = None
) -> SearchStrategy[Grants]:
    """What a token may hold: at least one action on at least one scope. The simplest is `read` on
    `compute.u1`.
    """
    held = st.frozensets(actions(), min_size=1)
    return st.dictionaries(scopes(users, ids), held, min_size=1, max_size=4).map(Grants)


def granted_scopes(
    users: SearchStrategy[str] | None = None, ids: SearchStrategy[str] | None = None
) -> SearchStrategy[Mapping[str, Sequence[str]]]:
    """Grants as a request tells them: the text of a scope to the names of actions."""
    return grants(users, ids).map(lambda made: {scope: tuple(held) for scope, held in made.to_dict().items()})
