"""Who may do what: every row with every kind of credential, expected by the contract's rules alone."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any

import httpx
import pytest
from attrs import evolve, field, frozen
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ecompute.contract.endpoint import Auth, Channel, Endpoint, path_parameters
from ecompute.contract.endpoints import CREATE_CONTAINER, ENDPOINTS
from ecompute.contract.scopes import SERVICES, Action
from ecompute_server.testing import RunningServer, running_server
from tests.server.http.peers import (
    PATIENCE,
    ROWS,
    UPGRADE,
    Row,
    ask,
    bearer,
    forged_session,
    name_of,
    session_like,
)

ALL = tuple(Action)
MINE, THEIRS = "compute.<uid>", "compute.<other uid>"
PORT = 8080
PASSWORD = "correct horse"
VOLATILE = {"effects", "meta", "sqlite_sequence"}

Scopes = Mapping[str, tuple[Action, ...]]


# --- credentials, and what the contract says about each


@frozen
class Credential:
    """A credential to be made: whose it is and what it is good for. One without scopes is a session."""

    name: str
    kind: str = "valid"
    scopes: Scopes | None = None
    mine: bool = True


NOBODY = (
    Credential("none", "none"),
    Credential("malformed", "malformed"),
    Credential("damaged token", "damaged", {MINE: ALL}),
    Credential("damaged session", "damaged"),
    Credential("session signed by somebody else", "forged"),
    Credential("session signed by nobody", "unsigned"),
    Credential("expired token", "expired", {MINE: ALL}),
    Credential("expired session", "expired"),
    Credential("revoked token", "revoked", {MINE: ALL}),
    Credential("revoked session", "revoked"),
)
SOMEBODY = (
    Credential("session"),
    Credential("token with everything", scopes={MINE: ALL}),
    Credential("another's token with everything", scopes={THEIRS: ALL}, mine=False),
    Credential("another's session", mine=False),
    Credential("token for another's things", scopes={THEIRS: ALL}),
)


def credentials(row: Row) -> Iterator[Credential]:
    """Every kind of credential for one row."""
    yield from NOBODY
    yield from SOMEBODY
    if row.scope is None or row.action is None:
        return
    yield Credential("exact scope", scopes={row.scope: (row.action,)})
    for parent in above(row.scope):
        yield Credential(f"parent {parent}", scopes={parent: (row.action,)})
    for sibling in beside(row.scope):
        yield Credential(f"sibling {sibling}", scopes={sibling: ALL})
    for child in below(row.scope):
        yield Credential(f"child {child}", scopes={child: ALL})
    others = tuple(action for action in ALL if action is not row.action)
    yield Credential("wrong action", scopes={row.scope: others})
    yield Credential("wrong action above", scopes={MINE: others})


def above(scope: str) -> Iterator[str]:
    parts = scope.split(".")
    for length in range(2, len(parts)):
        yield ".".join(parts[:length])


def beside(scope: str) -> Iterator[str]:
    _, _, *rest = scope.split(".")
    if rest:
        yield from (f"{MINE}.{resource}" for resource in sorted(SERVICES["compute"] - {rest[0]}))
    if len(rest) == 2:
        yield f"{MINE}.{rest[0]}.<other id>"
        yield from (f"{MINE}.{resource}.<id>" for resource in sorted(SERVICES["compute"] - {rest[0]}))


def below(scope: str) -> Iterator[str]:
    _, _, *rest = scope.split(".")
    if not rest:
        yield from (f"{MINE}.{resource}" for resource in sorted(SERVICES["compute"]))
    if len(rest) == 1:
        yield f"{MINE}.{rest[0]}.<id>"


def needed_scope(row: Row, credential: Credential) -> str:
    assert row.scope is not None
    return row.scope if credential.mine else row.scope.replace(MINE, THEIRS)


def allows(row: Row, credential: Credential) -> bool:
    """A grant covers its own scope and everything below it; a session has every right of its user."""
    if row.scope is None or credential.scopes is None:
        return True
    needed = needed_scope(row, credential)
    return any(
        row.action in actions and (needed == held or needed.startswith(f"{held}."))
        for held, actions in credential.scopes.items()
    )


def expected(row: Row, credential: Credential) -> int:
    """The status that the contract gives a valid request for something of the first user's."""
    success = 101 if isinstance(row, Channel) else 200
    if row.auth is Auth.NONE:
        return success
    if credential.kind != "valid":
        return 401
    if (row.auth is Auth.SESSION and credential.scopes is not None) or not allows(row, credential):
        return 403
    return success if credential.mine or not path_parameters(row.path) else 404


# --- a world to ask in


@frozen
class Asker:
    """A user with a session and an SSH key."""

    user_id: str
    session: str = field(repr=False)
    key: int


def bodies(asker: Asker) -> dict[str, Any]:
    """The body of a valid request of each row; None for those that take none."""
    return {
        "containers.list": None,
        "containers.create": {"name": "made", "ssh_key_ids": [asker.key]},
        "containers.get": None,
        "containers.delete": None,
        "containers.start": None,
        "containers.stop": None,
        "ssh_keys.list": None,
        "ssh_keys.add": {"name": "added", "public_key": public_key()},
        "ssh_keys.delete": None,
        "ssh_access.get": None,
        "ssh_access.set": {"ssh_enabled": True},
        "ingress.list": None,
        "ingress.add": {"port": PORT + 1},
        "ingress.remove": None,
        "mounts.get": None,
        "mounts.set": {"mount_paths": ["/root", "/made"]},
        "login": {"username": "carol", "password": PASSWORD},
        "session": None,
        "logout": None,
        "tokens.list": None,
        "tokens.create": {
            "name": "made",
            "scopes": {f"compute.{asker.user_id}": ["read"]},
            "expires_in": "30d",
        },
        "tokens.delete": None,
        "events": None,
        "terminal": None,
    }


def public_key() -> str:
    key = ed25519.Ed25519PrivateKey.generate().public_key()
    return key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


class World:
    """A server with two users. What the first one has stays as it is: requests that succeed get things of
    their own.
    """

    def __init__(self, server: RunningServer, http: httpx.Client, database: sqlite3.Connection) -> None:
        self.server = server
        self.http = http
        self._database = database
        server.add_user("carol", PASSWORD)
        other = server.add_user("bob")
        self.mine = self._asker(server.user_id, server.token)
        self.theirs = self._asker(other.user_id, other.token)
        with server.client() as client:
            self.box = client.containers.create("box", ssh_key_ids=[self.mine.key]).id
            client.ingress.add(self.box, PORT)
            client.containers.wait(self.box, "running", timeout=PATIENCE)
        self.token = self.make_token(self.mine, {MINE: ALL})["id"]

    def _asker(self, user_id: str, session: str) -> Asker:
        body = {"name": "first", "public_key": public_key()}
        return Asker(user_id, session, self.post("/compute/ssh-keys", session, body)["id"])

    def post(self, path: str, session: str, body: Any = None) -> dict[str, Any]:
        answer = self.http.post(path, headers=bearer(session), json=body)
        return dict(answer.raise_for_status().json())

    def make_token(self, asker: Asker, scopes: Scopes) -> dict[str, Any]:
        body = {"name": "token", "scopes": self.fill(scopes), "expires_in": "30d"}
        return self.post("/api/tokens", asker.session, body)

    def fill(self, scopes: Scopes) -> dict[str, tuple[Action, ...]]:
        return {self.fill_scope(scope, self.box): actions for scope, actions in scopes.items()}

    def fill_scope(self, scope: str, id_: Any) -> str:
        for mark, value in {
            "<uid>": self.mine.user_id,
            "<other uid>": self.theirs.user_id,
            "<id>": str(id_),
            "<other id>": "zzzzzzzz",
        }.items():
            scope = scope.replace(mark, value)
        return scope

    def make(self, credential: Credential, id_: Any) -> str | None:
        """The text of a credential; `id_` is what its scopes may name."""
        asker = self.mine if credential.mine else self.theirs
        match credential:
            case Credential(kind="none"):
                return None
            case Credential(kind="malformed"):
                return "nonsense"
            case Credential(kind="damaged"):
                whole = self.make(evolve(credential, kind="valid"), id_)
                assert whole is not None
                # not the last character, whose low bits base64 may drop
                return whole[:-9] + ("x" if whole[-9] != "x" else "y") + whole[-8:]
            case Credential(kind="forged" | "unsigned"):
                algorithm = "HS256" if credential.kind == "forged" else "none"
                return forged_session(asker.session, algorithm=algorithm)
            case Credential(kind="expired", scopes=None):
                return session_like(self.server, asker.session, lifetime=-1)
            case Credential(kind="revoked", scopes=None):
                session = session_like(self.server, asker.session)
                self.post("/api/logout", session)
                return session
            case Credential(kind="revoked"):
                assert credential.scopes is not None
                made = self.make_token(asker, credential.scopes)
                self.http.delete(f"/api/tokens/{made['id']}", headers=bearer(asker.session))
                return str(made["token"])
            case Credential(scopes=None):
                # a session of its own, since a row may end it
                return session_like(self.server, asker.session)
            case Credential(mine=False):
                return str(self.make_token(asker, credential.scopes)["token"])
            case _:
                scopes = {
                    self.fill_scope(scope, id_): actions for scope, actions in credential.scopes.items()
                }
                lifetime = -1 if credential.kind == "expired" else None
                return self.server.api_token(scopes, expires_in=lifetime)

    def path(self, row: Row) -> dict[str, Any]:
        """The first user's lasting things, as a row's path names them."""
        return {name: value for name, value in self._things(row).items() if name in path_parameters(row.path)}

    def _things(self, row: Row) -> dict[str, Any]:
        if row.name.startswith("ssh_keys."):
            return {"id": self.mine.key}
        return {"id": self.token if row.name.startswith("tokens.") else self.box, "port": PORT}

    def fresh_path(self, row: Row) -> dict[str, Any]:
        """The same for a request that will change what it names."""
        if row.method == "GET" or not path_parameters(row.path):
            return self.path(row)
        if row.name.startswith("ssh_keys."):
            made = self.post(
                "/compute/ssh-keys", self.mine.session, {"name": "k", "public_key": public_key()}
            )
            return {"id": made["id"]}
        if row.name.startswith("tokens."):
            return {"id": self.make_token(self.mine, {MINE: ALL})["id"]}
        made = self.post("/compute/containers", self.mine.session, bodies(self.mine)["containers.create"])
        self.post(f"/compute/containers/{made['id']}/ingress", self.mine.session, {"port": PORT})
        return {"id": made["id"], **({"port": PORT} if "port" in path_parameters(row.path) else {})}

    def tidy(self) -> None:
        """Delete all containers but the lasting one, and all keys but the first ones."""
        for asker in (self.mine, self.theirs):
            mine = bearer(asker.session)
            for container in self.http.get("/compute/containers", headers=mine).json()["containers"]:
                if container["id"] != self.box:
                    self.http.delete(f"/compute/containers/{container['id']}", headers=mine)
            for key in self.http.get("/compute/ssh-keys", headers=mine).json()["ssh_keys"]:
                if key["id"] != asker.key:
                    self.http.delete(f"/compute/ssh-keys/{key['id']}", headers=mine)

    def contents(self) -> dict[str, list[Any]]:
        """All that is stored, without what changes by itself: effects under way, clean-up, times of use."""
        names = [
            name for (name,) in self._database.execute("SELECT name FROM sqlite_master WHERE type='table'")
        ]
        assert {"containers", "ssh_keys", "tokens", "users", "receipts", "ended_sessions"} <= {*names}
        found = {}
        for name in names:
            if name in VOLATILE:
                continue
            rows = self._database.execute(
                f"SELECT * FROM {name}" + (" WHERE deleted = 0" if name == "containers" else "")
            )
            columns = [column for (column, *_) in rows.description]
            found[name] = [
                {
                    column: value
                    for column, value in zip(columns, row, strict=True)
                    if column != "last_used_at"
                }
                for row in rows
            ]
        return found

    def first_user_s(self) -> dict[str, list[Any]]:
        """What is stored of the first user."""
        return {
            name: [row for row in rows if row["user_id"] == self.mine.user_id]
            for name, rows in self.contents().items()
            if rows and "user_id" in rows[0]
        }


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


def in_place(place: str, credential: str | None) -> dict[str, dict[str, str]]:
    if credential is None:
        return {}
    return {"headers": bearer(credential)} if place == "header" else {"query": {"token": credential}}


def json_of(body: Any) -> bytes | None:
    return None if body is None else json.dumps(body).encode()


# --- the tests


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
