"""A server with two users, one of whom has something of everything."""

from __future__ import annotations

import sqlite3
from typing import Any

import httpx
from attrs import evolve, field, frozen
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ecompute.contract.endpoint import path_parameters
from ecompute.contract.scopes import Action
from ecompute_server.testing import RunningServer
from tests.server.http.peers import PATIENCE, Row, bearer, forged_session, session_like
from tests.server.http.rights import ALL, MINE, Credential, Scopes

PORT = 8080
PASSWORD = "correct horse"
VOLATILE = {"effects", "meta", "sqlite_sequence"}


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
            case Credential(mine=False, scopes=granted) if granted is not None:
                return str(self.make_token(asker, granted)["token"])
            case _:
                granted = credential.scopes or {}
                scopes = {self.fill_scope(scope, id_): actions for scope, actions in granted.items()}
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
