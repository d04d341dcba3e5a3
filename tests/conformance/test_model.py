"""The kit's model: laws of the reference behaviour, without a server."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ecompute.conformance import strategies as given_by
from ecompute.conformance.model import Expected, expect
from ecompute.conformance.world import REACH, UP, Account, Box, Key, Pass, World, reach
from ecompute.contract import codec, endpoints
from ecompute.contract import requests as ask
from ecompute.contract.catalog import Status
from ecompute.contract.endpoint import Auth, Endpoint
from ecompute.contract.problems import Code
from ecompute.contract.scopes import Grants

few = settings(
    max_examples=100,
    suppress_health_check=list(HealthCheck),
    deadline=None,
    database=None,
    phases=(Phase.generate, Phase.shrink),
)

ROWS: dict[type, Endpoint[Any, Any]] = {row.request: row for row in endpoints.ENDPOINTS}
BOX = "aaaaaaaa"
FIXED = {"id": BOX, "name": "a", "instance_type": "nano", "memory_mb": 512, "storage_gb": 5}
WORLD = (
    World(
        {"first": Account("u1", 3, 10), "second": Account("u2", 3, 10)},
        {"first": Pass("first"), "second": Pass("second")},
    )
    .with_key(Key(1, "first", "a", given_by.public_key_of("ssh-ed25519", 1)))
    .with_key(Key(2, "second", "a", given_by.public_key_of("ssh-ed25519", 1)))
    .with_box(Box(BOX, "first", FIXED, False, ("/root",)))
)
KNOWN = tuple(
    row
    for row in endpoints.ENDPOINTS
    if row.request not in (ask.LogIn, ask.LogOut, ask.GetSession, ask.ListTokens)
)
ABOUT_CONTAINERS = tuple(row for row in KNOWN if (row.scope or "").endswith(".<id>"))


def ask_for(
    cls: type, who: str = "first", world: World = WORLD, body: Any = None, **parameters: str
) -> Expected:
    """What the model expects of a request."""
    return expect(world, ROWS[cls], who, {"id": BOX, **parameters}, body or {})


def with_statuses(*statuses: str) -> World:
    """The world with the container in one of these."""
    box = WORLD.box(BOX)
    assert box is not None
    return WORLD.with_box(evolve(box, statuses=frozenset(statuses)))


def box_after(expected: Expected, body: Any = None) -> Box:
    """The container after a success with such an answer."""
    box = expected.after(body or {}).box(BOX)
    assert box is not None
    return box


def test_reach_is_closed() -> None:
    """What a status may become by itself, it may become in several steps as well."""
    for status in Status:
        assert status in REACH[status]
        assert reach(REACH[status]) == REACH[status]


@pytest.mark.parametrize("row", KNOWN, ids=lambda row: row.name)
def test_the_model_knows_every_row(row: Endpoint[Any, Any]) -> None:
    """No operation on containers, keys or tokens is without an expectation."""

    @settings(few, max_examples=20)
    @given(given_by.requests(row.request))
    def known(request: Any) -> None:
        written = codec.write_request(request)
        assert isinstance(expect(WORLD, row, "first", written.path, written.body), Expected)

    known()


@pytest.mark.parametrize("row", KNOWN, ids=lambda row: row.name)
def test_a_refusal_changes_nothing(row: Endpoint[Any, Any]) -> None:
    """After a refused request the world is what it was."""

    @few
    @given(given_by.requests(row.request), st.sampled_from(("first", "second")), st.booleans())
    def same(request: Any, who: str, mine: bool) -> None:
        written = codec.write_request(request)
        parameters = {**written.path, "id": BOX} if mine and "id" in written.path else written.path
        expected = expect(WORLD, row, who, parameters, written.body)
        if expected.code is not None:
            assert expected.after({}) is WORLD
            assert not expected.news

    same()


@pytest.mark.parametrize("row", KNOWN, ids=lambda row: row.name)
def test_revoked_before_all_else(row: Endpoint[Any, Any]) -> None:
    """A revoked token is unauthenticated, whatever it asks for."""
    world = WORLD.with_pass("t", Pass("first", Grants({"compute.u1": ["read"]}), "t", revoked=True))
    assert expect(world, row, "t", {"id": "nothing"}, {}).code is Code.UNAUTHENTICATED


@pytest.mark.parametrize("row", KNOWN, ids=lambda row: row.name)
def test_a_token_without_the_action_is_forbidden(row: Endpoint[Any, Any]) -> None:
    """The scope of the row counts, before the container and the body do."""
    others = [action for action in ("create", "read", "update", "delete") if action != row.action]
    world = WORLD.with_pass("t", Pass("first", Grants({"compute.u1": others}), "t"))
    assert expect(world, row, "t", {"id": "nothing"}, {}).code is Code.FORBIDDEN
    if row.auth is not Auth.SESSION:
        full = WORLD.with_pass("t", Pass("first", Grants({"compute.u1": [str(row.action)]}), "t"))
        assert expect(full, row, "t", {"id": "nothing"}, {}).code is not Code.FORBIDDEN


@pytest.mark.parametrize("row", ABOUT_CONTAINERS, ids=lambda row: row.name)
def test_another_users_container_is_like_none(row: Endpoint[Any, Any]) -> None:
    """A foreign container and one that is not there are both not found, also with a malformed body."""
    for who, id_ in (("second", BOX), ("first", "bbbbbbbb")):
        assert expect(WORLD, row, who, {"id": id_, "port": "x"}, {}).code is Code.NOT_FOUND


@few
@given(given_by.almost(ask.CreateContainer, given_by.create_containers(ssh_key_ids=st.just((1,)))))
def test_faults_are_told_by_their_paths(wrong: given_by.Almost) -> None:
    """A malformed body is refused with the very path."""
    expected = ask_for(ask.CreateContainer, body=wrong.body)
    assert (expected.code, expected.faults) == (Code.INVALID_REQUEST, (wrong.path,))


def test_creating_up_to_the_limit() -> None:
    """The limit counts what is there, others' making included, and a deletion makes room."""
    world = evolve(WORLD, accounts={**WORLD.accounts, "first": Account("u1", 3, 10, other_containers=1)})
    body = {"name": "b", "ssh_key_ids": [1]}
    world = ask_for(ask.CreateContainer, world=world, body=body).after({"id": "b", "status": "pending"})
    assert world.room("first") == 0
    assert ask_for(ask.CreateContainer, world=world, body=body).code is Code.LIMIT_REACHED
    world = ask_for(ask.DeleteContainer, world=world).after({})
    assert ask_for(ask.CreateContainer, world=world, body=body).code is None


def test_a_malformed_request_at_the_limit() -> None:
    """What is malformed is told before the limit is."""
    world = evolve(WORLD, accounts={**WORLD.accounts, "first": Account("u1", 1, 1)})
    assert ask_for(ask.CreateContainer, world=world, body={}).code is Code.INVALID_REQUEST
    body = {"name": "b", "ssh_key_ids": [2]}
    assert ask_for(ask.CreateContainer, world=world, body=body).faults == ("ssh_key_ids[0]",)


def test_defaults_of_a_new_container() -> None:
    """What the body leaves out is the contract's default in the answer."""
    box = ask_for(ask.CreateContainer, body={"name": " b ", "ssh_key_ids": [1], "memory_mb": 0}).box
    assert box is not None
    assert box.fixed == {"name": "b", "instance_type": "nano", "memory_mb": 512, "storage_gb": 5}
    assert (box.ssh_enabled, box.mount_paths, box.statuses) == (False, ("/root",), REACH["pending"])


def test_the_same_key_twice() -> None:
    """A key is known by its content and per user: another comment makes no other key."""
    again = given_by.public_key_of("ssh-ed25519", 1, "another comment")
    body = {"name": "a", "public_key": again}
    assert ask_for(ask.AddSSHKey, body=body).code is Code.CONFLICT
    world = ask_for(ask.DeleteSSHKey, id="1").after({})
    assert ask_for(ask.AddSSHKey, world=world, body=body).code is None
    assert ask_for(ask.DeleteSSHKey, id="2").code is Code.NOT_FOUND


@pytest.mark.parametrize("status", list(Status))
def test_stop(status: str) -> None:
    """Stop leads to stopped from everywhere, and is told unless the container is stopped already."""
    expected = ask_for(ask.StopContainer, world=with_statuses(status))
    assert box_after(expected).statuses == {"stopped"}
    assert bool(expected.news) == (status != "stopped")


@pytest.mark.parametrize("status", list(Status))
def test_start(status: str) -> None:
    """Start begins anew what is down, and leaves alone what is up."""
    expected = ask_for(ask.StartContainer, world=with_statuses(status))
    assert box_after(expected).statuses == REACH[status if status in UP else "pending"]
    assert bool(expected.news) == (status not in UP)


def test_start_of_what_may_have_failed() -> None:
    """Where the status is not known, both outcomes are possible, and the feed may tell either."""
    expected = ask_for(ask.StartContainer, world=with_statuses("running", "failed"))
    assert box_after(expected).statuses == REACH["pending"]
    assert (expected.news, expected.hints) == ((), ((BOX, "pending"),))


@pytest.mark.parametrize("status", list(Status))
def test_mounts(status: str) -> None:
    """Other paths restart what is up, and the same ones in another order nothing."""
    world = with_statuses(status)
    expected = ask_for(ask.SetMounts, world=world, body={"mount_paths": ["/data/", "/root"]})
    assert expected.restarted == {status in UP}
    after = box_after(expected, {"restarted": status in UP})
    assert after.mount_paths == ("/data", "/root")
    assert after.statuses == (REACH["pending"] if status in UP else {status})
    same = ask_for(ask.SetMounts, world=world.with_box(after), body={"mount_paths": ["/root", "/data"]})
    assert same.restarted == {False}


def test_rules() -> None:
    """A port has one rule, which keeps its id; the rules are in the order of their ports."""
    world = WORLD
    for id_, port, target in ((1, 8080, None), (2, 80, 3000), (1, 8080, 22)):
        expected = ask_for(ask.AddIngress, world=world, body={"port": port, "target_port": target})
        world = expected.after({"id": id_, **expected.answer})
    box = world.box(BOX)
    assert box is not None
    assert [(rule.id, rule.port, rule.target_port) for rule in box.rules] == [(2, 80, 3000), (1, 8080, 22)]
    assert ask_for(ask.RemoveIngress, world=world, port="443").code is Code.NOT_FOUND
    assert ask_for(ask.RemoveIngress, world=world, port="x").code is Code.INVALID_REQUEST
    gone = box_after(ask_for(ask.RemoveIngress, world=world, port="80"))
    assert [rule.port for rule in gone.rules] == [8080]


def test_https() -> None:
    """HTTPS is on for as long as port 443 is published."""
    box = box_after(ask_for(ask.AddIngress, body={"port": 443}), {"id": 1})
    assert box.fields["https_enabled"] is True
    closed = ask_for(ask.RemoveIngress, world=WORLD.with_box(box), port="443")
    assert box_after(closed).fields["https_enabled"] is False


def test_tokens() -> None:
    """A token is for its maker's own things, and gone once it is revoked."""
    body = {"name": "t", "scopes": {"compute.u1": ["read"]}, "expires_in": "30d"}
    assert ask_for(ask.CreateToken, "second", body=body).faults == ("scopes",)
    world = ask_for(ask.CreateToken, body=body).after({"id": "t"})
    assert ask_for(ask.GetContainer, "t", world).code is None
    assert ask_for(ask.StopContainer, "t", world).code is Code.FORBIDDEN
    assert ask_for(ask.DeleteToken, "second", world, id="t").code is Code.NOT_FOUND
    world = ask_for(ask.DeleteToken, world=world, id="t").after({})
    assert ask_for(ask.GetContainer, "t", world).code is Code.UNAUTHENTICATED
    assert ask_for(ask.DeleteToken, world=world, id="t").code is Code.NOT_FOUND


def test_a_told_status_narrows_what_is_possible() -> None:
    """Once running is told, the container cannot be on its way any more; what was told once must stay."""
    box = WORLD.boxes[0].seen({"status": "running", "hostname": "a.example"})
    assert box.statuses == {"running", "failed"}
    assert box.differences(
        {**FIXED, "hostname": "b.example", "ssh_enabled": False, "https_enabled": False}
    ) == {"hostname": "a.example"}
    assert box.differences({**box.fields, "ssh_enabled": 0}) == {"ssh_enabled": False}
