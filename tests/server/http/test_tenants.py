"""Two users of one server: what one has is, to the other, as good as not there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import pytest

import ecompute
from ecompute.contract import codec
from ecompute.contract.catalog import MAX_BODY_BYTES
from ecompute.contract.description.examples import EXAMPLES
from ecompute.contract.endpoint import Channel, Endpoint, path_parameters
from ecompute.contract.endpoints import ENDPOINTS
from ecompute.contract.requests import AddSSHKey
from ecompute_server.testing import OtherUser, RunningServer, running_server
from tests.server.http.peers import PATIENCE, Row, ask, bearer, name_of, parts
from tests.server.http.things import NOTHING, PORT, WITH_ID, Things, valid_body

EVERYTHING = ["create", "read", "update", "delete"]
LISTS = [row for row in ENDPOINTS if row.method == "GET" and not path_parameters(row.path)]

BODIES: Mapping[str, bytes | None] = {
    "none": None,
    "no JSON": b"{",
    "no object": b"[]",
    "nothing in it": b"{}",
    "wrong types": b'{"ssh_enabled": 1, "port": "80", "mount_paths": {}}',
    "too large": b" " * (MAX_BODY_BYTES + 1),
}


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    """One server for all tests here."""
    with running_server(max_containers_per_user=100) as running:
        yield running


@pytest.fixture(scope="module")
def http(server: RunningServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url) as client:
        yield client


@pytest.fixture(scope="module")
def alice(server: RunningServer) -> Iterator[ecompute.Client]:
    """The first user, who has something of everything."""
    with server.client() as client:
        yield client


@pytest.fixture(scope="module")
def things(alice: ecompute.Client, module_key: str) -> Things:
    key = alice.ssh_keys.add("first-user-s-key", module_key)
    box = alice.containers.create("first-user-s-box", ssh_key_ids=[key.id])
    alice.ingress.add(box.id, PORT)
    alice.containers.wait(box.id, "running", timeout=PATIENCE)
    user_id = alice.session().user_id
    token = alice.tokens.create("first-user-s-token", {f"compute.{user_id}": EVERYTHING}, expires_in="30d")
    return Things(box.id, key.id, token.id)


@pytest.fixture(scope="module")
def module_key() -> str:
    """A public key for all tests here."""
    return str(codec.write_request(EXAMPLES[AddSSHKey]).body["public_key"])


@pytest.fixture(scope="module")
def bob(server: RunningServer) -> OtherUser:
    return server.add_user("bob")


@pytest.fixture(scope="module")
def bob_s_token(http: httpx.Client, bob: OtherUser) -> str:
    """A token with everything that the other user may do."""
    body = {"name": "all", "scopes": {f"compute.{bob.user_id}": EVERYTHING}, "expires_in": "30d"}
    return str(http.post("/api/tokens", json=body, headers=bearer(bob.token)).json()["token"])


@pytest.mark.parametrize("row", WITH_ID, ids=name_of)
def test_a_foreign_id_is_answered_like_one_that_does_not_exist(
    http: httpx.Client, things: Things, bob: OtherUser, bob_s_token: str, row: Row
) -> None:
    """The same bytes, headers included, whatever the body is; nothing of it happens."""
    before = http.get(f"/compute/containers/{things.container}", headers=bearer(bob.token))
    for body in (*BODIES.values(), valid_body(row)):
        for credential in (bob.token, bob_s_token):
            foreign, unknown = (
                parts(ask(http, row, ids.path(row), headers=bearer(credential), content=body))
                for ids in (things, NOTHING)
            )
            assert foreign == unknown
            refused = 403 if row.scope is None and credential == bob_s_token else 404
            assert foreign[0] == refused
    assert before.status_code == 404


@pytest.mark.parametrize("row", [row for row in WITH_ID if isinstance(row, Channel)], ids=name_of)
@pytest.mark.parametrize("query", [{}, {"rows": "0"}, {"rows": "none"}, {"cols": "1001"}], ids=str)
def test_a_foreign_websocket_is_too(
    http: httpx.Client, things: Things, bob: OtherUser, row: Row, query: dict[str, str]
) -> None:
    """Also with the credential in the query, with a query that is wrong, and when it is not upgraded."""
    by_query = {**query, "token": bob.token}
    foreign, unknown = (parts(ask(http, row, ids.path(row), query=by_query)) for ids in (things, NOTHING))
    assert foreign == unknown
    plain = [
        parts(http.get(row.path.format(**ids.path(row)), params=query, headers=bearer(bob.token)))
        for ids in (things, NOTHING)
    ]
    assert plain[0] == plain[1]
    assert (foreign[0], plain[0][0]) == (404, 404)


def test_a_token_without_the_right_learns_nothing_either(
    http: httpx.Client, things: Things, server: RunningServer, bob: OtherUser
) -> None:
    """403 names the scope that was asked for, which holds the id that the caller sent, and nothing else."""
    body = {"name": "k", "scopes": {f"compute.{bob.user_id}.keys": ["read"]}, "expires_in": "30d"}
    weak = http.post("/api/tokens", json=body, headers=bearer(bob.token)).json()["token"]
    for row in WITH_ID:
        answers = []
        for ids in (things, NOTHING):
            answer = ask(http, row, ids.path(row), headers=bearer(weak))
            assert answer.status_code == 403
            body = answer.json()
            if row.scope is not None:
                scope = row.scope.replace("<uid>", bob.user_id).replace("<id>", str(ids.path(row)["id"]))
                assert body.pop("needed") == {"scope": scope, "action": row.action}
            answers.append(body)
        assert answers[0] == answers[1]


def test_what_the_first_user_has_is_still_there(alice: ecompute.Client, things: Things) -> None:
    """All that was tried above has changed nothing."""
    box = alice.containers.get(things.container)
    assert (box.status, box.ssh_enabled) == ("running", False)
    assert [rule.port for rule in alice.ingress.list(things.container)] == [PORT]
    assert list(alice.mounts.get(things.container).mount_paths) == ["/root"]
    assert [key.id for key in alice.ssh_keys.list()] == [things.key]
    assert [token.id for token in alice.tokens.list()] == [things.token]


def test_a_rule_that_is_not_there_is_answered_like_a_foreign_one(
    http: httpx.Client, things: Things, server: RunningServer, bob: OtherUser
) -> None:
    """A published port of another's container, an absent one, and one of nobody's: the same bytes."""
    answers = [
        parts(http.delete(f"/compute/containers/{id_}/ingress/{port}", headers=bearer(token)))
        for id_, port, token in (
            (things.container, PORT, bob.token),
            (things.container, PORT + 1, bob.token),
            (NOTHING.container, PORT, bob.token),
        )
    ]
    assert answers[0][0] == 404
    assert answers[1:] == answers[:1] * 2


def test_a_foreign_key_cannot_be_put_into_a_container(
    http: httpx.Client, things: Things, bob: OtherUser
) -> None:
    """It is no key of the caller's, as one that does not exist; alone and among others."""
    mine = bearer(bob.token)
    for others in ([], [123456789]):
        foreign, unknown = (
            parts(
                http.post(
                    "/compute/containers",
                    json={"name": "x", "ssh_key_ids": [*others, ids.key]},
                    headers=mine,
                )
            )
            for ids in (things, NOTHING)
        )
        assert foreign == unknown
        assert foreign[0] == 400
    assert http.get("/compute/containers", headers=mine).json() == {"containers": []}


def test_the_same_public_key_may_be_everybody_s(
    server: RunningServer, http: httpx.Client, things: Things, module_key: str
) -> None:
    """A conflict would tell that somebody else has it."""
    body = {"name": "k", "public_key": module_key}
    answer = http.post("/compute/ssh-keys", json=body, headers=bearer(server.add_user("carol").token))
    assert answer.status_code == 200
    assert answer.json()["id"] != things.key


@pytest.mark.parametrize("resource", ["", ".containers", ".keys", ".containers.abc12345"])
def test_a_token_is_for_one_s_own_things(
    server: RunningServer, http: httpx.Client, bob: OtherUser, resource: str
) -> None:
    """A scope of another user is refused, whether or not there is such a user."""
    foreign, unknown = (
        parts(
            http.post(
                "/api/tokens",
                json={
                    "name": "t",
                    "scopes": {f"compute.{user_id}{resource}": ["read"]},
                    "expires_in": "30d",
                },
                headers=bearer(bob.token),
            )
        )
        for user_id in (server.user_id, "nobody")
    )
    assert foreign == unknown
    assert foreign[0] == 400


@pytest.mark.parametrize("row", LISTS, ids=name_of)
def test_lists_hold_one_s_own_things_only(
    http: httpx.Client,
    things: Things,
    server: RunningServer,
    bob: OtherUser,
    row: Endpoint[Any, Any],
) -> None:
    """Nothing of the first user's is anywhere in what the second one reads."""
    mine = http.get(row.path, headers=bearer(server.token)).text
    theirs = http.get(row.path, headers=bearer(bob.token)).text
    marks = (things.container, things.token, "first-user-s", server.user_id, "alice")
    assert any(mark in mine for mark in marks)
    assert not any(mark in theirs for mark in marks)


def test_the_feed_tells_of_one_s_own_containers_only(
    server: RunningServer, alice: ecompute.Client, things: Things, module_key: str
) -> None:
    """Whatever another user does; an event of one's own, which comes after, shows that nothing was late."""
    dave = server.add_user("dave")
    with server.client(dave.token) as mine, mine.events() as events:
        key = mine.ssh_keys.add("k", module_key)
        first = next(iter(events))
        box = alice.containers.create("first-user-s-other", ssh_key_ids=[things.key])
        alice.containers.stop(box.id)
        alice.containers.delete(box.id)
        own = mine.containers.create("own", ssh_key_ids=[key.id])
        seen = [first]
        for event in events:
            seen.append(event)
            if getattr(event, "container_id", None) == own.id:
                break
    assert box.id not in repr(seen)
    assert things.container not in repr(seen)


def test_idempotency_keys_of_two_users_do_not_meet(
    server: RunningServer, http: httpx.Client, things: Things, module_key: str
) -> None:
    """The same key on the same path is a request of its own for each of them, whatever its body is."""
    erin = server.add_user("erin")
    key = http.post(
        "/compute/ssh-keys", json={"name": "k", "public_key": module_key}, headers=bearer(erin.token)
    ).json()["id"]

    def create(token: str, key_id: int, name: str) -> dict[str, Any]:
        headers = {**bearer(token), "Idempotency-Key": "one and the same"}
        body = {"name": name, "ssh_key_ids": [key_id]}
        return dict(http.post("/compute/containers", json=body, headers=headers).raise_for_status().json())

    mine = create(server.token, things.key, "mine")
    theirs = create(erin.token, key, "theirs")
    assert (mine["name"], theirs["name"]) == ("mine", "theirs")
    assert mine["id"] != theirs["id"]
    assert create(server.token, things.key, "mine")["id"] == mine["id"]
    assert create(erin.token, key, "theirs")["id"] == theirs["id"]
