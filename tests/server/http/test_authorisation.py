"""Who may do what: every row with every kind of credential, expected by the contract's rules alone."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any

import httpx
import pytest

from ecompute.contract.endpoint import Auth, Channel, Endpoint, path_parameters
from ecompute.contract.endpoints import CREATE_CONTAINER, ENDPOINTS
from ecompute_server.testing import running_server
from tests.server.http.peers import ROWS, UPGRADE, Row, ask, bearer, name_of
from tests.server.http.rights import ALL, MINE, Credential, credentials, expected, needed_scope
from tests.server.http.world import World, bodies, public_key


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """One world for all tests here."""
    with running_server(max_containers_per_user=1000, max_ssh_keys_per_user=1000) as server:
        database = sqlite3.connect(f"file:{server.state}/ecompute.db?mode=ro", uri=True)
        with closing(database), httpx.Client(base_url=server.url) as http:
            yield World(server, http, database)


TRIALS = [(row, credential) for row in ROWS for credential in credentials(row)]


def places(row: Row) -> tuple[str, ...]:
    """Where a credential of this row may stand."""
    return ("header", "query") if isinstance(row, Channel) else ("header",)


def in_place(place: str, credential: str | None) -> dict[str, Any]:
    if credential is None:
        return {}
    return {"headers": bearer(credential)} if place == "header" else {"query": {"token": credential}}


def json_of(body: Any) -> bytes | None:
    return None if body is None else json.dumps(body).encode()


def test_every_row_has_a_valid_request(world: World) -> None:
    """A row that is forgotten here is found here."""
    assert bodies(world.mine).keys() == {row.name for row in ROWS}
    for row in ENDPOINTS:
        assert (bodies(world.mine)[row.name] is not None) == row.has_body, row.name


def test_every_kind_of_answer_is_expected_somewhere() -> None:
    """The rules above do not all come to the same."""
    for row in ROWS:
        statuses = {expected(row, credential) for credential in credentials(row)}
        if row.auth is Auth.NONE:
            assert statuses == {200}
            continue
        assert {401, 101 if isinstance(row, Channel) else 200} <= statuses
        assert (403 in statuses) == (row.scope is not None or row.auth is Auth.SESSION)
        assert (404 in statuses) == bool(path_parameters(row.path))


@pytest.mark.parametrize(("row", "credential"), TRIALS, ids=[f"{r.name}: {c.name}" for r, c in TRIALS])
def test_a_row_opens_to_whom_it_should(world: World, row: Row, credential: Credential) -> None:
    """With the status that follows from the row; a refusal changes nothing, and another user's success
    changes nothing of the first one's.
    """
    status = expected(row, credential)
    succeeds = status in (101, 200)
    asker = world.mine if credential.mine else world.theirs
    for place in places(row):
        path = world.fresh_path(row) if succeeds else world.path(row)
        text = world.make(credential, path.get("id"))
        content = json_of(bodies(asker)[row.name])
        before, first_user_s = world.contents(), world.first_user_s()
        answer = ask(world.http, row, path, content=content, **in_place(place, text))
        assert answer.status_code == status, answer.content
        if not succeeds:
            assert world.contents() == before
            check_refusal(world, row, credential, path, answer)
        if not credential.mine:
            assert world.first_user_s() == first_user_s
        if row.method == "GET" and isinstance(row, Endpoint):
            head = ask(world.http, row, path, method="HEAD", **in_place(place, text))
            assert (head.status_code, head.content) == (status, b"")
        if succeeds and row.method != "GET":
            world.tidy()


def check_refusal(
    world: World, row: Row, credential: Credential, path: Mapping[str, Any], answer: httpx.Response
) -> None:
    """A refusal has its status's code and headers, and says what was lacking, if anything was."""
    body = answer.json()
    codes = {401: "unauthenticated", 403: "forbidden", 404: "not_found"}
    assert body["code"] == codes[answer.status_code]
    assert answer.headers.get("www-authenticate") == ("Bearer" if answer.status_code == 401 else None)
    if answer.status_code == 403 and row.scope is not None:
        scope = world.fill_scope(needed_scope(row, credential), path.get("id"))
        assert body["needed"] == {"scope": scope, "action": row.action}
    else:
        assert "needed" not in body
    # a refused upgrade ends its connection, which a client must not take for an idle one
    assert (answer.headers.get("connection") == "close") == isinstance(row, Channel)


@pytest.mark.parametrize("row", [row for row in ENDPOINTS if row.auth is not Auth.NONE], ids=name_of)
def test_a_credential_in_the_query_of_an_ordinary_request_counts_for_nothing(world: World, row: Row) -> None:
    """401, as without one; a valid one in the header counts whatever the query says."""
    before = world.contents()
    content = json_of(bodies(world.mine)[row.name])
    in_query = ask(world.http, row, world.path(row), content=content, query={"token": world.mine.session})
    assert (in_query.status_code, in_query.json()["code"]) == (401, "unauthenticated")
    assert world.contents() == before
    unknown = ask(
        world.http,
        row,
        dict.fromkeys(path_parameters(row.path), 99999999),
        content=content,
        headers=bearer(world.server.api_token({MINE: ALL})),
        query={"token": "nonsense"},
    )
    assert unknown.status_code != 401
    world.tidy()


# --- which check comes first


def test_an_unknown_path_or_method_comes_before_the_credential(world: World) -> None:
    """404 and 405 to somebody unknown, where a known path would answer 401."""
    for row in ROWS:
        path = row.path.format(**world.path(row))
        assert world.http.get(f"{path}/nowhere/at/all").status_code == 404
        assert world.http.request("BREW", path).status_code == 405
    assert world.http.get("/compute/containers").status_code == 401


@pytest.mark.parametrize("row", [row for row in ROWS if row.scope], ids=name_of)
def test_the_credential_comes_before_its_rights(world: World, row: Row) -> None:
    """401 for an expired token that would have been too weak as well."""
    weak = world.server.api_token({"compute.<uid>.keys.none": ["read"]}, expires_in=-1)
    assert ask(world.http, row, world.path(row), headers=bearer(weak)).status_code == 401


@pytest.mark.parametrize("row", [row for row in ROWS if path_parameters(row.path)], ids=name_of)
def test_rights_come_before_the_id(world: World, row: Row) -> None:
    """403 whether or not there is such a thing."""
    weak = bearer(world.server.api_token({f"{MINE}.keys.none": ["read"]}))
    for path in (world.path(row), {"id": 99999999, "port": 1}):
        assert ask(world.http, row, path, headers=weak).status_code == 403


@pytest.mark.parametrize(
    "row", [row for row in ROWS if (row.scope or "").endswith(".containers.<id>")], ids=name_of
)
def test_the_id_comes_before_the_rest_of_the_request(world: World, row: Row) -> None:
    """404 for an unknown container, however broken the body, the query or the port is."""
    broken = {"content": b"{", "query": {"rows": "none"}}
    mine = bearer(world.mine.session)
    unknown = {"id": "zzzzzzzz", "port": "none"}
    assert ask(world.http, row, unknown, headers=mine, **broken).status_code == 404  # type: ignore[arg-type]
    if row.method in ("POST", "PUT"):
        large = b"x" * 70_000
        assert ask(world.http, row, unknown, headers=mine, content=large).status_code == 404


def test_the_body_comes_before_the_present_state(world: World) -> None:
    """400 where a sound request would be 409: at the limit, for a key that is there, for a container that
    does not run.
    """
    mine = bearer(world.mine.session)

    def status(method: str, path: str, body: Any = None, **more: Any) -> int:
        return world.http.request(method, path, json=body, headers={**mine, **more}).status_code

    keys = world.http.get("/compute/ssh-keys", headers=mine).json()["ssh_keys"]
    known = {"name": "again", "public_key": keys[0]["public_key"]}
    assert status("POST", "/compute/ssh-keys", {**known, "name": ""}) == 400
    assert status("POST", "/compute/ssh-keys", known) == 409
    sound = bodies(world.mine)["containers.create"]
    made = world.http.post(
        CREATE_CONTAINER.path, json=sound, headers={**mine, "Idempotency-Key": "order of checks"}
    ).json()
    assert (
        status("POST", CREATE_CONTAINER.path, {"name": ""}, **{"Idempotency-Key": "order of checks"}) == 400
    )
    other = {**sound, "name": "other"}
    assert status("POST", CREATE_CONTAINER.path, other, **{"Idempotency-Key": "order of checks"}) == 409
    path = f"/compute/containers/{made['id']}"
    assert status("POST", f"{path}/stop") == 200
    assert status("GET", f"{path}/terminal?rows=0", **UPGRADE) == 400
    assert status("GET", f"{path}/terminal", **UPGRADE) == 409
    world.tidy()


def test_the_limit_comes_after_the_body() -> None:
    """400 for a broken create of a user who may have no container, 409 for a sound one."""
    with running_server(max_containers_per_user=0) as server, httpx.Client(base_url=server.url) as http:
        mine = bearer(server.token)
        key = http.post(
            "/compute/ssh-keys", json={"name": "k", "public_key": public_key()}, headers=mine
        ).json()["id"]
        broken = http.post("/compute/containers", json={"name": "x", "ssh_key_ids": []}, headers=mine)
        sound = http.post("/compute/containers", json={"name": "x", "ssh_key_ids": [key]}, headers=mine)
        assert (broken.status_code, sound.status_code) == (400, 409)
