"""Grants: what they allow is their meaning, and every operation on them is one on meanings."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecompute.contract.rules import Bounds, Broken, token_scopes
from ecompute.contract.scopes import CALLER, Action, Grants, Scope, ScopeError

BELOW = ["", ".containers", ".keys", ".containers.a1", ".containers.b1", ".keys.7"]
UNIVERSE = [Scope.parse(f"compute.{user}{below}") for user in ("u1", "u2") for below in BELOW]
Meaning = set[tuple[Scope, Action]]

some_actions = st.sets(st.sampled_from(Action))
grants = st.dictionaries(st.sampled_from(UNIVERSE), some_actions, max_size=6).map(Grants)


def meaning(held: Grants) -> Meaning:
    """All that is allowed, by the texts alone."""
    return {
        (scope, action)
        for scope in UNIVERSE
        for above, actions in held.to_dict().items()
        if f"{scope}.".startswith(f"{above}.")
        for action in map(Action, actions)
    }


def pairs(held: Grants) -> Meaning:
    return {(scope, action) for scope, actions in held for action in actions}


@given(grants, st.sampled_from(UNIVERSE), st.sampled_from(Action))
def test_allowed_is_what_is_meant(a: Grants, scope: Scope, action: Action) -> None:
    """By a scope or by its text; and what is allowed are the grants below."""
    assert a.allows(scope, action) == ((scope, action) in meaning(a))
    assert a.allows(str(scope), str(action)) == a.allows(scope, action)
    assert (Grants({scope: [action]}) <= a) == a.allows(scope, action)


@given(grants, grants)
def test_the_order_is_that_of_what_is_allowed(a: Grants, b: Grants) -> None:
    """A subset of what the other allows, strict where it is less."""
    assert (a <= b) == (b >= a) == b.covers(a) == (meaning(a) <= meaning(b))
    assert (a < b) == (b > a) == (meaning(a) < meaning(b))


@given(grants, grants, grants)
def test_the_order_is_partial(a: Grants, b: Grants, c: Grants) -> None:
    """Reflexive, transitive, and antisymmetric up to the smallest form."""
    assert a <= a
    assert not (a <= b and b <= c) or a <= c
    assert (a <= b and b <= a) == (a.minimal() == b.minimal())


@given(grants, grants)
def test_union_and_intersection_are_those_of_what_is_allowed(a: Grants, b: Grants) -> None:
    """So they are the least above both, and the greatest below both."""
    assert meaning(a | b) == meaning(a) | meaning(b)
    assert meaning(a & b) == meaning(a) & meaning(b)


@given(grants, grants, grants)
def test_union_and_intersection_follow_the_laws(a: Grants, b: Grants, c: Grants) -> None:
    """Idempotent, commutative and associative to the letter; they absorb and distribute in meaning."""
    held = Grants.of(pairs(a))
    assert held | held == held & held == held
    assert (a | b, a & b) == (b | a, b & a)
    assert (a | b) | c == a | (b | c)
    assert (a & b) & c == a & (b & c)
    assert (a | (a & b)).minimal() == a.minimal() == (a & (a | b)).minimal()
    assert (a & (b | c)).minimal() == ((a & b) | (a & c)).minimal()


@given(grants, grants, grants)
def test_union_and_intersection_are_monotone(a: Grants, b: Grants, c: Grants) -> None:
    """More on one side is never less in the result."""
    less = a & b
    assert less | c <= a | c
    assert less & c <= a & c


@given(grants)
def test_the_smallest_form_allows_the_same(a: Grants) -> None:
    """It is made of the grants that were there, and is its own smallest form."""
    small = a.minimal()
    assert meaning(small) == meaning(a)
    assert pairs(small) <= pairs(a)
    assert small.minimal() == small
    assert all(actions for _, actions in small)


@given(grants)
def test_no_grant_of_the_smallest_form_can_be_left_out(a: Grants) -> None:
    """Each action on each scope counts."""
    small = a.minimal()
    for one in pairs(small):
        assert meaning(Grants.of(pairs(small) - {one})) < meaning(a)


@given(grants, grants)
def test_equal_is_the_same_text(a: Grants, b: Grants) -> None:
    """Whatever their order was; equal grants are one in a set."""
    assert (a == b) == (a.to_dict() == b.to_dict())
    again = Grants(dict(reversed(a.to_dict().items())))
    assert again == a
    assert len({again, a}) == 1
    assert pickle.loads(pickle.dumps(a)) == a


@given(grants)
def test_grants_are_read_as_they_are_printed(a: Grants) -> None:
    """As text, as the mapping of the wire, and as Python."""
    assert Grants.parse(str(a)) == Grants.of(pairs(a))
    assert Grants(a.to_dict()) == a
    assert eval(repr(a), {"Grants": Grants}) == a


@given(grants)
def test_no_grant_is_false(a: Grants) -> None:
    """A scope without an action grants nothing either."""
    assert bool(a) == bool(meaning(a)) == bool(str(a))


@given(grants)
def test_a_user_is_filled_in(a: Grants) -> None:
    """Where it is open and nowhere else; what meets there is merged."""
    opened = Grants.of((Scope.fill(str(s).replace("u1", CALLER), user_id=CALLER), x) for s, x in pairs(a))
    assert opened.for_user("u1") == Grants.of(pairs(a))
    assert Grants.parse(str(opened)) == opened
    with pytest.raises(ScopeError):
        opened.for_user("Not Me")


def test_an_open_user_is_only_read_where_it_may_be() -> None:
    """A scope has a user, and so have those of a token that a server makes; grants may leave it open, and
    come back from their mapping as they were.
    """
    with pytest.raises(ScopeError):
        Scope.parse("compute.<uid>")
    with pytest.raises(Broken):
        token_scopes({"compute.<uid>": ["read"]}, Bounds())
    grants = Grants({"compute.<uid>": ["read"]})
    assert Grants(grants.to_dict()) == grants
    assert str(Grants.parse("compute.<uid>=read")) == "compute.<uid>=read"
    assert str(Grants.parse(" compute.u1.keys=read,create\ncompute.u1.keys=delete ")) == (
        "compute.u1.keys=create,delete,read"
    )


@pytest.mark.parametrize(
    "text",
    ["compute.u1", "compute.u1=", "=read", "compute.u1=fly", "compute.u1=read,", "compute.U1=read",
     "compute.<uid>x=read", "compute.u1.boxes=read", "compute.u1.containers.<id>=read", "compute.<id>=read"],
)  # fmt: skip
def test_malformed_grants_are_refused(text: str) -> None:
    """With a sentence."""
    with pytest.raises(ScopeError):
        Grants.parse(text)


def test_grants_are_compared_with_grants_only() -> None:
    """A mapping may hold what is no scope."""
    one: Any = Grants({"compute.u1": ["read"]})
    for compare in (one.__le__, one.__lt__, one.__ge__, one.__gt__, one.__or__, one.__and__):
        assert compare({"compute.u1": ["read"]}) is NotImplemented
