"""The scope grammar and its algebra."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecompute.contract.scopes import Action, Grants, Scope, ScopeError

users = st.sampled_from(["u1", "u2", "alice9"])
scopes = st.builds(
    Scope,
    st.just("compute"),
    users,
    st.sampled_from(["containers", "keys"]) | st.none(),
    st.none(),
) | st.builds(Scope, st.just("compute"), users, st.just("containers"), st.sampled_from(["abc12345", "x1"]))


@given(scopes)
def test_a_scope_is_its_text(scope: Scope) -> None:
    """Parsing and printing are inverse."""
    assert Scope.parse(str(scope)) == scope


@pytest.mark.parametrize(
    "text",
    [
        "", "compute", "compute.", ".u1", "storage.u1", "compute.U1", "compute.u1.", "compute.u1.volumes",
        "compute.u1.containers.", "compute.u1.containers.a.b", "compute.u1..x", "compute.*", "compute.<uid>",
        "compute.u1.containers.a b", "compute.u1.containers.ä",
    ],
)  # fmt: skip
def test_a_malformed_scope_is_refused(text: str) -> None:
    """With a sentence, and never as something wider."""
    with pytest.raises(ScopeError):
        Scope.parse(text)


@given(scopes, scopes, scopes)
def test_covering_is_a_partial_order(a: Scope, b: Scope, c: Scope) -> None:
    """Reflexive, antisymmetric, transitive; and `>=` is `covers`."""
    assert a <= a
    assert not (a <= b and b <= a) or a == b
    assert not (a <= b and b <= c) or a <= c
    assert (b >= a) == (a <= b) == b.covers(a) == b.covers(str(a))


@given(scopes, scopes)
def test_covering_is_a_prefix_of_the_text(a: Scope, b: Scope) -> None:
    """Of whole parts."""
    assert (a <= b) == f"{a}.".startswith(f"{b}.")


@given(scopes, scopes)
def test_the_strict_order_leaves_out_the_scope_itself(a: Scope, b: Scope) -> None:
    """As for numbers, but some are not comparable."""
    assert (a < b) == (a <= b and a != b)
    assert (a > b) == (b < a)


@given(scopes, scopes, scopes)
def test_the_meet_is_the_greatest_that_both_cover(a: Scope, b: Scope, x: Scope) -> None:
    """There is none where they have nothing in common."""
    meet = a & b
    assert meet == b & a
    assert (x <= a and x <= b) == (meet is not None and x <= meet)


@given(scopes, scopes)
def test_upwards_are_all_that_cover(a: Scope, b: Scope) -> None:
    """From the scope itself to that of its user."""
    assert (b in [*a.upwards()]) == (a <= b)
    assert [*a.upwards()] == sorted(a.upwards(), key=lambda scope: -len(str(scope)))


def test_a_scope_is_compared_with_scopes_only() -> None:
    """A text may be no scope, so there is no answer for it."""
    with pytest.raises(TypeError):
        _ = Scope.parse("compute.u1") <= "compute.u1"  # type: ignore[operator]
    with pytest.raises(TypeError):
        _ = Scope.parse("compute.u1") & "compute.u1"  # type: ignore[operator]


def test_covering_goes_by_whole_parts() -> None:
    """A user id that begins with another one is another user."""
    assert Scope.parse("compute.u1").covers(Scope.parse("compute.u1.containers.abc12345"))
    assert not Scope.parse("compute.u1").covers(Scope.parse("compute.u12"))
    assert not Scope.parse("compute.u1.containers.abc").covers(Scope.parse("compute.u1.containers"))


def test_grants_allow_what_they_cover() -> None:
    """Action by action."""
    grants = Grants({"compute.u1.containers": ["read"], "compute.u1.containers.abc12345": ["update"]})
    assert grants.allows("compute.u1.containers.abc12345", "read")
    assert grants.allows("compute.u1.containers.abc12345", Action.UPDATE)
    assert not grants.allows("compute.u1.containers", "update")
    assert not grants.allows("compute.u1.keys", "read")
    assert Grants(grants.to_dict()) == grants


def test_an_id_from_a_request_grants_nothing_by_its_form() -> None:
    """Dots in an id are no parts of the scope."""
    needed = Scope.fill("compute.<uid>.containers.<id>", user_id="u1", id="a.b")
    assert not Grants({"compute.u1.containers.a": ["read"]}).allows(needed, "read")
    assert Grants({"compute.u1.containers": ["read"]}).allows(needed, "read")


@pytest.mark.parametrize("actions", ["read", ["look"], [""]])
def test_unknown_actions_are_refused(actions: object) -> None:
    """A text is no list of actions either."""
    with pytest.raises(ScopeError):
        Grants({"compute.u1": actions})  # type: ignore[arg-type]


def test_nobody_is_allowed_an_unknown_action() -> None:
    """It is refused, as a malformed scope is."""
    with pytest.raises(ScopeError):
        Grants({"compute.u1": ["read"]}).allows("compute.u1", "fly")
