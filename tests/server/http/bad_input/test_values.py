"""Values of the right type that break a rule."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from ecompute_server.testing import RunningServer
from tests.server.http.peers import (
    ROWS_BY_NAME,
    bearer,
    connected,
    fields,
    key_ids,
    path_of,
    problem,
    read_answer,
    tells_nothing,
    valid,
    with_field,
)

TEXTS = {
    "NUL": "a\0b",
    "a line break": "a\nb",
    "an escape": "a\x1b[31m",
    "a bidirectional override": "a\u202eb",
    "a lone surrogate": "\ud800",
    "too long": "x" * 300,
    "nothing": " \t ",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize(
    ("row", "field"),
    [
        ("containers.create", "name"),
        ("ssh_keys.add", "name"),
        ("ssh_keys.add", "public_key"),
        ("tokens.create", "name"),
        ("tokens.create", "expires_in"),
        ("containers.create", "instance_type"),
    ],
)
def test_texts_that_are_no_names(mine: httpx.Client, box: str, row: str, field: str, text: str) -> None:
    """400 for the very field, and the text is not repeated."""
    asked = ROWS_BY_NAME[row]
    body = json.loads(with_field(asked, field, json.dumps(text).encode()))
    if "ssh_key_ids" in body:
        body["ssh_key_ids"] = key_ids(mine)
    if "scopes" in body:
        body["scopes"] = {f"compute.{mine.get('/api/session').json()['user_id']}": ["read"]}
    answer = mine.request(asked.method, path_of(asked, box), content=json.dumps(body))
    assert problem(answer) == (400, "invalid_request")
    assert fields(answer) == [field]
    assert not text.strip() or text.encode("utf-8", "replace") not in answer.content


@pytest.mark.parametrize(
    "path",
    [
        "/a\0b",
        "relative",
        "",
        "/",
        "//",
        "/a/../b",
        "/etc",
        "/lib64/x",
        "/proc/self",
        "/x" * 200,
        "/\ud800",
        ".",
        "~",
    ],
)
def test_paths_that_cannot_be_mounted(mine: httpx.Client, box: str, path: str) -> None:
    """400 at its place in the list, on both rows that take one."""
    for row in (ROWS_BY_NAME["containers.create"], ROWS_BY_NAME["mounts.set"]):
        body = {**valid(row), "mount_paths": ["/fine", path]}
        if "ssh_key_ids" in body:
            body["ssh_key_ids"] = key_ids(mine)
        answer = mine.request(row.method, path_of(row, box), content=json.dumps(body))
        assert problem(answer) == (400, "invalid_request")
        assert fields(answer) == ["mount_paths[1]"]


@pytest.mark.parametrize(
    "scopes",
    [
        {},
        {"compute.UID": []},
        {"compute.UID": ["fly"]},
        {"compute.UID": "read"},
        {"compute.UID": [["read"]]},
        {"compute.UID\0": ["read"]},
        {"compute": ["read"]},
        {"": ["read"]},
        {"*": ["read"]},
        {"compute.*": ["read"]},
        {"compute.UID.*": ["read"]},
        {"compute.UID.containers.a.b": ["read"]},
        {"compute.UID.containers.": ["read"]},
        {"compute..containers": ["read"]},
        {"storage.UID": ["read"]},
        {"compute.UID.volumes": ["read"]},
        {"compute.UID\n": ["read"]},
        {"Compute.UID": ["read"]},
        {"\ud800": ["read"]},
    ],
    ids=str,
)
def test_scopes_that_cannot_be_granted(server: RunningServer, mine: httpx.Client, scopes: Any) -> None:
    """400, and no token is made."""
    filled = json.dumps({"name": "t", "scopes": scopes, "expires_in": "30d"}).replace("UID", server.user_id)
    before = mine.get("/api/tokens").json()
    assert problem(mine.post("/api/tokens", content=filled)) == (400, "invalid_request")
    assert mine.get("/api/tokens").json() == before


@pytest.mark.parametrize(
    "credential",
    [
        b"\xff\xfe",
        b"ecloud_\xff",
        b"ecloud_",
        b"ecloud_" + b"x" * 5_000,
        b"a.b.c",
        b"." * 5_000,
        b"e30.e30.e30",
        b"eyJhbGciOiJIUzI1NiIsImtpZCI6W119.e30.x",
        b"eyJhbGciOiJIUzI1NiIsImtpZCI6bnVsbH0.e30.",
        b"a b",
        b"%00",
    ],
)
def test_credentials_that_are_none(server: RunningServer, credential: bytes) -> None:
    """401, and nothing of it comes back."""
    for place in (b"GET /api/session", b"GET /compute/ws"):
        with connected(server) as link:
            link.sendall(place + b" HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + credential + b"\r\n\r\n")
            answer = read_answer(link)
            assert answer.refusal == (401, "unauthenticated")
            assert tells_nothing(answer.content)


@pytest.mark.parametrize(
    "given_",
    [[b""], [b"x" * 256], [b"\xff"], [b"a\tb"], [b"a", b"b"], ["\u00e9".encode("latin-1")]],
    ids=repr,
)
def test_idempotency_keys_that_are_none(server: RunningServer, box: str, given_: list[bytes]) -> None:
    """400, and nothing happens."""
    headers = [(b"Authorization", f"Bearer {server.token}".encode())]
    headers += [(b"Idempotency-Key", value) for value in given_]
    path = f"{server.url}/compute/containers/{box}/ingress"
    answer = httpx.post(path, json={"port": 8002}, headers=headers)
    assert problem(answer) == (400, "invalid_request")
    assert fields(answer) == ["Idempotency-Key"]
    rules = httpx.get(path, headers=bearer(server.token)).json()["rules"]
    assert 8002 not in [rule["port"] for rule in rules]


@pytest.mark.parametrize(
    "username", ["a\0b", "", " ", "x" * 10_000, "' OR 1=1 --", "\u202e", "\U0001f600" * 100]
)
def test_user_names_that_nobody_has(server: RunningServer, username: str) -> None:
    """401 as for every wrong pair, whatever the password is."""
    answer = httpx.post(f"{server.url}/api/login", json={"username": username, "password": f"\0{username}"})
    assert problem(answer) == (401, "unauthenticated")
