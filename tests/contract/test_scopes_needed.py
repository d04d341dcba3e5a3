"""What operations need: the tables are whole, and the grants are the least."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ecompute
from ecompute import async_operations, operations
from ecompute.contract import needs
from ecompute.contract.endpoint import Auth
from ecompute.contract.endpoints import CREATE_CONTAINER, EVENTS, STOP_CONTAINER
from ecompute.contract.needs import COMPOSED, OPTIONS, ROWS, Row
from ecompute.contract.scopes import Grants, Scope, ScopeError

GROUPS = ("Containers", "Ingress", "MountPaths", "SSHKeys", "SSHSwitch", "Tokens")
CLASSES: list[type] = [
    *(ecompute.Client, ecompute.AsyncClient, ecompute.Container, ecompute.AsyncContainer),
    *(vars(operations)[name] for name in GROUPS),
    *(vars(async_operations)[f"Async{name}"] for name in GROUPS),
]
GRANTED = [row for row in ROWS if row.scope is not None]


METHODS: list[Callable[..., Any]] = [
    *(ecompute.login, ecompute.login_async),
    *(
        value
        for cls in CLASSES
        for name, value in vars(cls).items()
        if inspect.isfunction(value) and not name.startswith("_")
    ),
]


def named(method: Callable[..., Any]) -> str:
    return f"{method.__module__}.{method.__qualname__}"


@pytest.mark.parametrize("method", METHODS, ids=named)
def test_every_method_of_a_client_is_known(method: Callable[..., Any]) -> None:
    """A new one stands in a table, or has the name of a row."""
    assert needs.name_of(method) in {*COMPOSED, *(row.name for row in ROWS)}


def test_the_tables_name_methods_only() -> None:
    """What is no longer a method of the clients is no longer there."""
    there = {needs.name_of(method) for method in METHODS}
    assert set(COMPOSED) <= there
    assert {row.name for row in ROWS} <= there


@pytest.mark.parametrize("method", METHODS, ids=named)
def test_every_argument_that_needs_more_is_known(method: Callable[..., Any]) -> None:
    """Those of the tables are arguments, and all that are such arguments are in the tables."""
    known = set(OPTIONS.get(needs.name_of(method), ()))
    arguments = set(inspect.signature(method).parameters)
    assert arguments & {"wait", "delete_on_failure"} <= known
    # a container's method passes on what it has
    assert known <= arguments or "Container." in named(method)


@given(st.sampled_from(GRANTED), st.sampled_from(GRANTED), st.sampled_from(["a1", "b1"]))
def test_a_row_needs_what_allows_it_and_no_more(row: Row, other: Row, id_: str) -> None:
    """Its own action on its own thing: another row is allowed as far as that is the same or below."""
    needed = Grants.needed_for(row, "a1", user_id="u1")
    ((scope, actions),) = needed
    assert scope == Scope.fill(row.scope or "", user_id="u1", id="a1")
    assert actions == {row.action}
    target = Scope.fill(other.scope or "", user_id="u1", id=id_)
    assert needed.allows(target, other.action or "") == (other.action == row.action and target <= scope)
    assert not needed.allows(Scope.fill(other.scope or "", user_id="u2", id=id_), other.action or "")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_row_is_named_in_three_ways(row: Row) -> None:
    """By itself, by its name, by the methods of both clients."""
    found = [method for method in METHODS if needs.name_of(method) == row.name]
    assert len(found) >= 2
    for operation in (row, row.name, *found):
        if row.auth is Auth.SESSION:
            with pytest.raises(ScopeError, match="session"):
                Grants.needed_for(operation)
        else:
            assert Grants.needed_for(operation, "a1") == Grants.needed_for(row, "a1")
            assert bool(Grants.needed_for(operation)) == (row.scope is not None)


def test_a_container_names_itself() -> None:
    """As what an operation is done to, and as what its own methods do it to."""
    for box in (ecompute.Container("a1", "n", "running"), ecompute.AsyncContainer("a1", "n", "running")):
        of_one = Grants.needed_for("containers.stop", "a1")
        assert Grants.needed_for("containers.stop", box) == Grants.needed_for(box.stop) == of_one
        assert Grants.needed_for(box.stop, "b1") == Grants.needed_for("containers.stop", "b1")
        assert Grants.needed_for(type(box).stop) == Grants.needed_for("containers.stop")
        assert str(Grants.needed_for(box.list_ingress)) == "compute.<uid>.containers.a1=read"


def test_the_user_and_the_id_may_be_left_open() -> None:
    """An open user is filled in later; without an id it is all containers."""
    with ecompute.Client("t", "http://x") as client:
        stop = client.containers.stop
        assert str(Grants.needed_for(stop)) == "compute.<uid>.containers=update"
        assert str(Grants.needed_for(stop, "abc12345")) == "compute.<uid>.containers.abc12345=update"
        mine = Grants.needed_for(stop, "abc12345", user_id="u1")
        assert str(mine) == "compute.u1.containers.abc12345=update"
        assert Grants.needed_for(stop, "abc12345").for_user("u1") == mine
        assert Grants.needed_for(stop, ["a", "b"]) == Grants.needed_for(stop, "a") | Grants.needed_for(
            stop, "b"
        )
        assert Grants.needed_for(client.containers.wait_all, []) == Grants({})


def test_what_is_made_of_several_rows() -> None:
    """The methods that no row stands for, by the sync client and the async one."""
    expected = {
        "run": "compute.<uid>.containers.a1=update",
        "terminal": "compute.<uid>.containers.a1=update",
        "events": "compute.<uid>=read",
        "watch": "compute.<uid>=read",
        "resolve": "compute.<uid>.containers=create compute.<uid>.keys=create",
    }
    for client in (ecompute.Client, ecompute.AsyncClient):
        for name, text in expected.items():
            assert str(Grants.needed_for(getattr(client, name), "a1")) == text
        assert str(Grants.needed_for(client.temporary)) == (
            "compute.<uid>.containers=create,delete,read compute.<uid>.keys=create,delete"
        )
        assert not Grants.needed_for(client.session)


def test_what_waits_or_tidies_up_needs_more() -> None:
    """By the arguments of the method."""
    create = Grants.needed_for(operations.Containers.create)
    assert str(create) == "compute.<uid>.containers=create"
    waited = Grants.needed_for(CREATE_CONTAINER, wait=True, delete_on_failure=True)
    assert str(waited) == "compute.<uid>.containers=create,delete,read"
    assert create < Grants.needed_for(CREATE_CONTAINER, wait=True) < waited


@pytest.mark.parametrize(
    "operation",
    ["containers.fly", "", print, len, ecompute.Client, ecompute.Client._call,
     ecompute.Grants.parse, object(), None],
    ids=lambda value: repr(value).partition(" at 0x")[0],
)  # fmt: skip
def test_what_is_no_operation_is_refused(operation: Any) -> None:
    """With a sentence."""
    with pytest.raises(ScopeError, match="operation"):
        Grants.needed_for(operation)


@pytest.mark.parametrize("id_", ["", "a.b", "a b", "<id>", 7, object()])
def test_an_id_that_no_scope_can_name_is_refused(id_: object) -> None:
    """It would grant something else."""
    with pytest.raises(ScopeError):
        Grants.needed_for(STOP_CONTAINER, id_)


@pytest.mark.parametrize("user_id", ["", "U1", "u.1", "<uid"])
def test_a_malformed_user_is_refused(user_id: str) -> None:
    """As in a scope's text."""
    with pytest.raises(ScopeError):
        Grants.needed_for(EVENTS, user_id=user_id)


def test_an_argument_that_the_operation_has_not_is_refused() -> None:
    """Waiting is nothing that a stop does."""
    with pytest.raises(ScopeError, match=r"containers\.stop has no argument wait"):
        Grants.needed_for(STOP_CONTAINER, "a1", wait=True)
    assert Grants.needed_for(CREATE_CONTAINER, wait=True)


def test_a_second_operation_is_no_id() -> None:
    """Its grants would be missing; the sentence says how to join them."""
    with pytest.raises(ScopeError, match=r"join with `\|`"):
        Grants.needed_for("containers.list", ecompute.Client.run)
