"""API tokens, from their making to their end."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from typing import Any

import httpx
import pytest

from ecompute_server.identity.credentials import TOKEN_PREFIX, checksum
from ecompute_server.testing import RunningServer


def make(http: httpx.Client, scopes: Any, **more: Any) -> httpx.Response:
    return http.post("/api/tokens", json={"name": "ci", "scopes": scopes, "expires_in": "30d", **more})


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_a_token_from_create_to_delete(server: RunningServer, http: httpx.Client) -> None:
    """Its text is told once; its use is remembered; deleted, it is worthless at once."""
    scope = f"compute.{server.user_id}.containers"
    made = make(http, {scope: ["read", "create", "read"]}, name=" ci ").json()
    assert set(made) == {"id", "name", "scopes", "expires_at", "created_at", "last_used_at", "token"}
    assert (made["name"], made["scopes"]) == ("ci", {scope: ["create", "read"]})
    assert made["expires_at"] == made["created_at"] + 30 * 24 * 3600
    assert made["last_used_at"] == 0
    assert http.get("/compute/containers", headers=bearer(made["token"])).status_code == 200
    (listed,) = http.get("/api/tokens").json()["tokens"]
    assert "token" not in listed
    assert listed["last_used_at"] >= made["created_at"]
    assert {**listed, "last_used_at": 0} == {name: made[name] for name in made if name != "token"}
    assert http.delete(f"/api/tokens/{made['id']}").json() == {"status": "ok"}
    assert http.get("/compute/containers", headers=bearer(made["token"])).status_code == 401
    assert http.delete(f"/api/tokens/{made['id']}").status_code == 404
    assert http.get("/api/tokens").json() == {"tokens": []}


def test_its_form_is_recognisable_and_has_a_checksum(server: RunningServer, http: httpx.Client) -> None:
    """So that a scanner of secrets finds one that leaked; one with a wrong checksum is no token."""
    text = make(http, {f"compute.{server.user_id}": ["read"]}).json()["token"]
    assert re.fullmatch(r"ecloud_[0-9A-Za-z]{46}", text)
    secret = text.removeprefix(TOKEN_PREFIX)
    assert checksum(secret[:-6]) == secret[-6:]
    wrong = text[:-1] + ("a" if text[-1] != "a" else "b")
    assert http.get("/api/session", headers=bearer(wrong)).status_code == 401


def test_nothing_in_the_database_opens_anything(server: RunningServer, http: httpx.Client) -> None:
    """Neither the token's text nor a part of it, nor a session, nor a password is in any table."""
    server.add_user("carol", "a good password")
    text = make(http, {f"compute.{server.user_id}": ["read"]}).json()["token"]
    http.get("/compute/containers", headers=bearer(text))
    with closing(sqlite3.connect(server.state / "ecompute.db")) as db:
        dump = "\n".join(db.iterdump())
    for secret in (text, text.removeprefix(TOKEN_PREFIX), server.token, "a good password"):
        assert secret not in dump


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"scopes": {}}, "scopes"),
        ({"scopes": []}, "scopes"),
        ({"scopes": {"compute.<uid>": []}}, "scopes"),
        ({"scopes": {"compute.<uid>": "read"}}, "scopes"),
        ({"scopes": {"compute.<uid>": ["fly"]}}, "scopes"),
        ({"scopes": {"compute": ["read"]}}, "scopes"),
        ({"scopes": {"storage.<uid>": ["read"]}}, "scopes"),
        ({"scopes": {"compute.<uid>.boxes": ["read"]}}, "scopes"),
        ({"scopes": {"compute.someoneelse": ["read"]}}, "scopes"),
        ({"scopes": {"compute.<uid>.containers.a.b": ["read"]}}, "scopes"),
        ({"name": " "}, "name"),
        ({"name": "x" * 65}, "name"),
        ({"name": None}, "name"),
        ({"expires_in": "1d"}, "expires_in"),
        ({"expires_in": ""}, "expires_in"),
        ({"expires_in": 30}, "expires_in"),
    ],
)
def test_what_breaks_a_rule_makes_no_token(
    server: RunningServer, http: httpx.Client, body: dict[str, Any], path: str
) -> None:
    """The fault is named; what was sent is not repeated."""
    scopes = body.get("scopes", {"compute.<uid>": ["read"]})
    if isinstance(scopes, dict):
        scopes = {scope.replace("<uid>", server.user_id): actions for scope, actions in scopes.items()}
    answer = make(http, **{"scopes": scopes, **{name: body[name] for name in body if name != "scopes"}})
    assert answer.status_code == 400
    assert [fault["path"].split("[")[0].split(".")[0] for fault in answer.json()["fields"]] == [path]
    assert "someoneelse" not in answer.text
    assert http.get("/api/tokens").json() == {"tokens": []}


@pytest.mark.parametrize("missing", ["name", "scopes", "expires_in"])
def test_every_field_is_needed(server: RunningServer, http: httpx.Client, missing: str) -> None:
    """A token's reach and life are never guessed."""
    body = {"name": "ci", "scopes": {f"compute.{server.user_id}": ["read"]}, "expires_in": "never"}
    del body[missing]
    answer = http.post("/api/tokens", json=body)
    assert answer.json()["fields"] == [{"path": missing, "problem": "is required"}]


def test_never_is_zero(server: RunningServer, http: httpx.Client) -> None:
    """As the contract writes it."""
    made = make(http, {f"compute.{server.user_id}": ["read"]}, expires_in="never").json()
    assert made["expires_at"] == 0


def test_an_expired_token_is_listed_until_it_is_deleted(server: RunningServer, http: httpx.Client) -> None:
    """But opens nothing."""
    text = server.api_token({"compute.<uid>": ["read"]}, expires_in=-1)
    assert http.get("/compute/containers", headers=bearer(text)).status_code == 401
    assert len(http.get("/api/tokens").json()["tokens"]) == 1


def test_another_user_s_token_is_as_good_as_none(server: RunningServer, http: httpx.Client) -> None:
    """It cannot be deleted, and is not listed."""
    bob = bearer(server.add_user("bob").token)
    made = make(http, {f"compute.{server.user_id}": ["read"]}).json()
    foreign = http.delete(f"/api/tokens/{made['id']}", headers=bob)
    unknown = http.delete("/api/tokens/zzzzzzzzzzzz", headers=bob)
    assert foreign.status_code == 404
    assert foreign.content == unknown.content
    assert http.get("/api/tokens", headers=bob).json() == {"tokens": []}
    assert http.get("/compute/containers", headers=bearer(made["token"])).status_code == 200


def test_a_token_never_makes_another(server: RunningServer, http: httpx.Client) -> None:
    """Only sessions manage tokens, whatever the token may do."""
    text = server.api_token({"compute.<uid>": ["create", "read", "update", "delete"]})
    answer = make(http, {f"compute.{server.user_id}": ["read"]})
    assert answer.status_code == 200
    for method, path in (("GET", "/api/tokens"), ("POST", "/api/tokens"), ("DELETE", "/api/tokens/x")):
        refused = http.request(method, path, headers=bearer(text), json={} if method == "POST" else None)
        assert refused.status_code == 403
        assert "needed" not in refused.json()
