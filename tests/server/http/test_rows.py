"""The rows over real HTTP, and the answers to whatever is wrong with a request."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ecompute_server.testing import RunningServer, running_server


def create(http: httpx.Client, key_id: int, **more: Any) -> httpx.Response:
    return http.post("/compute/containers", json={"name": "box", "ssh_key_ids": [key_id], **more})


def error(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/json"
    assert re.fullmatch(r"[0-9a-f]{16}", answer.headers["x-request-id"])
    assert answer.json()["error"]
    return answer.status_code, answer.json()["code"]


def test_a_container_from_create_to_delete(http: httpx.Client, key_id: int) -> None:
    """Every row of its life, each with a 200 and a JSON body."""
    made = create(http, key_id, ssh_enabled=True)
    assert made.status_code == 200
    container = made.json()
    assert container["status"] == "pending"
    assert re.fullmatch(r"[a-z0-9]{8}", container["id"])
    assert container["hostname"] == f"{container['id']}.compute.localhost"
    assert container["ssh_command"] == f"ssh root@{container['external_ip']}"
    path = f"/compute/containers/{container['id']}"
    assert http.get("/compute/containers").json()["containers"][0]["id"] == container["id"]
    assert http.get(path).json()["created_at"] == container["created_at"]
    assert http.post(f"{path}/stop").json()["status"] == "stopped"
    assert http.post(f"{path}/stop").json()["status"] == "stopped"
    assert http.post(f"{path}/start", content=b"whatever").json()["status"] in ("pending", "initializing")
    assert http.delete(path).json() == {"status": "ok"}
    assert http.get("/compute/containers").json() == {"containers": []}
    assert error(http.get(path)) == (404, "not_found")


def test_keys_from_add_to_delete(http: httpx.Client, public_key: str) -> None:
    """A key keeps its comment, is refused twice, and its id is never given again."""
    body = {"name": " laptop ", "public_key": f"{public_key} me@laptop"}
    key = http.post("/compute/ssh-keys", json=body).json()
    assert (key["id"], key["name"], key["public_key"]) == (1, "laptop", body["public_key"])
    assert error(http.post("/compute/ssh-keys", json={**body, "name": "other"})) == (409, "conflict")
    assert http.get("/compute/ssh-keys").json() == {"ssh_keys": [key]}
    assert http.delete("/compute/ssh-keys/1").json() == {"status": "ok"}
    assert error(http.delete("/compute/ssh-keys/1")) == (404, "not_found")
    assert http.post("/compute/ssh-keys", json=body).json()["id"] == 2


def test_what_breaks_a_rule_is_refused_and_nothing_is_stored(http: httpx.Client, key_id: int) -> None:
    """Unknown type, no key, somebody else's key, a broken key."""
    assert error(create(http, key_id, instance_type="huge")) == (400, "invalid_request")
    assert error(create(http, key_id, ssh_key_ids=[])) == (400, "invalid_request")
    answer = create(http, key_id, ssh_key_ids=[key_id, 99], memory_mb=1)
    assert error(answer) == (400, "invalid_request")
    assert error(create(http, key_id, ssh_key_ids=[99])) == (400, "invalid_request")
    broken = {"name": "k", "public_key": "ssh-ed25519 AAAA"}
    assert error(http.post("/compute/ssh-keys", json=broken)) == (400, "invalid_request")
    assert http.get("/compute/containers").json() == {"containers": []}
    assert len(http.get("/compute/ssh-keys").json()["ssh_keys"]) == 1


def test_another_user_s_key_is_no_key(server: RunningServer, http: httpx.Client, key_id: int) -> None:
    """It is refused as one that does not exist."""
    bob = {"Authorization": f"Bearer {server.add_user('bob').token}"}
    answers = [
        http.post("/compute/containers", json={"name": "x", "ssh_key_ids": [id_]}, headers=bob)
        for id_ in (key_id, 99)
    ]
    assert [answer.status_code for answer in answers] == [400, 400]
    assert answers[0].content == answers[1].content


def test_another_user_s_container_is_as_good_as_none(
    server: RunningServer, http: httpx.Client, key_id: int
) -> None:
    """Byte for byte, on every row with an id."""
    id_ = create(http, key_id).json()["id"]
    bob = {"Authorization": f"Bearer {server.add_user('bob').token}"}
    for method, rest in [
        ("GET", ""),
        ("DELETE", ""),
        ("POST", "/start"),
        ("POST", "/stop"),
        ("GET", "/terminal"),
    ]:
        foreign = http.request(method, f"/compute/containers/{id_}{rest}", headers=bob)
        unknown = http.request(method, f"/compute/containers/zzzzzzzz{rest}", headers=bob)
        assert error(foreign) == (404, "not_found")
        assert foreign.content == unknown.content
    assert http.get(f"/compute/containers/{id_}").status_code == 200


def test_limits_hold_when_everybody_asks_at_once(
    server: RunningServer, http: httpx.Client, key_id: int
) -> None:
    """Twenty parallel creates with a limit of three give three successes, and twenty keys with ten ten."""
    headers = dict(http.headers)

    def ask(path: str, body: dict[str, Any]) -> int:
        return httpx.post(server.url + path, json=body, headers=headers, timeout=60).status_code

    keys = [ed25519.Ed25519PrivateKey.generate().public_key() for _ in range(20)]
    lines = [key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode() for key in keys]
    with ThreadPoolExecutor(20) as pool:
        made = [
            pool.submit(ask, "/compute/containers", {"name": "box", "ssh_key_ids": [key_id]})
            for _ in range(20)
        ]
        added = [pool.submit(ask, "/compute/ssh-keys", {"name": "k", "public_key": line}) for line in lines]
        assert sorted(one.result() for one in made) == [200] * 3 + [409] * 17
        assert sorted(one.result() for one in added) == [200] * 9 + [409] * 11
    assert len(http.get("/compute/containers").json()["containers"]) == 3
    assert len(http.get("/compute/ssh-keys").json()["ssh_keys"]) == 10


def test_a_user_s_own_limits(server: RunningServer, http: httpx.Client, key_id: int) -> None:
    """Set by the operator's command while the server runs."""
    limits = [sys.executable, "-m", "ecompute_server", "user", "limits", "alice"]
    state = ["--state", str(server.state)]
    more = ["--max-containers", "1", "--max-ssh-keys", "1"]
    subprocess.run([*limits, *more, *state], check=True, capture_output=True)
    assert create(http, key_id).status_code == 200
    assert error(create(http, key_id)) == (409, "limit_reached")
    subprocess.run([*limits, "--default", *state], check=True, capture_output=True)
    assert create(http, key_id).status_code == 200


def test_the_container_limit(http: httpx.Client, key_id: int) -> None:
    """The fourth is refused; a deleted one makes room at once."""
    first, *_ = (create(http, key_id).json()["id"] for _ in range(3))
    assert error(create(http, key_id)) == (409, "limit_reached")
    http.delete(f"/compute/containers/{first}")
    assert create(http, key_id).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer nonsense"},
        {"Authorization": "Basic YTpi"},
        {"Authorization": "Bearer ecloud_nonsense"},
        {"Authorization": "Bearer a.b.c"},
    ],
)
def test_without_a_valid_credential_there_is_a_401(server: RunningServer, headers: dict[str, str]) -> None:
    """Which says what to bring, on every path that needs one."""
    for path in ("/compute/containers", "/compute/ws", "/compute/containers/x", "/api/session"):
        answer = httpx.get(server.url + path, headers=headers)
        assert error(answer) == (401, "unauthenticated")
        assert answer.headers["www-authenticate"] == "Bearer"


def test_a_credential_in_the_query_counts_on_websockets_only(server: RunningServer) -> None:
    """Ordinary requests do not look there."""
    query = {"token": server.token}
    assert httpx.get(f"{server.url}/compute/containers", params=query).status_code == 401
    assert httpx.get(f"{server.url}/compute/ws", params=query).status_code == 400


def test_the_scheme_s_case_does_not_matter(server: RunningServer) -> None:
    """RFC 9110 §11.1."""
    headers = {"Authorization": f"bEARER {server.token}"}
    assert httpx.get(f"{server.url}/api/session", headers=headers).json()["user_id"] == server.user_id


def test_a_token_does_what_its_scopes_allow(server: RunningServer, key_id: int, http: httpx.Client) -> None:
    """And a refusal names what was lacking."""
    id_ = create(http, key_id).json()["id"]
    token = server.api_token({f"compute.<uid>.containers.{id_}": ["read"]})
    headers = {"Authorization": f"Bearer {token}"}
    assert httpx.get(f"{server.url}/compute/containers/{id_}", headers=headers).status_code == 200
    answer = httpx.post(f"{server.url}/compute/containers/{id_}/stop", headers=headers)
    assert error(answer) == (403, "forbidden")
    needed = {"scope": f"compute.{server.user_id}.containers.{id_}", "action": "update"}
    assert answer.json()["needed"] == needed
    assert error(httpx.get(f"{server.url}/compute/ws", headers=headers)) == (403, "forbidden")
    expired = server.api_token({"compute.<uid>": ["read"]}, expires_in=-1)
    answer = httpx.get(f"{server.url}/api/session", headers={"Authorization": f"Bearer {expired}"})
    assert error(answer) == (401, "unauthenticated")


def test_unknown_paths_and_methods(http: httpx.Client) -> None:
    """404 and 405 come before everything else, with the methods that there are."""
    for path in (
        "/",
        "/compute",
        "/compute/containers/",
        "/compute/containers/a/b",
        "/compute/containers/a%2Fb/start",
    ):
        assert error(http.get(path, headers={"Authorization": ""})) == (404, "not_found")
    answer = http.patch("/compute/containers", headers={"Authorization": ""})
    assert error(answer) == (405, "method_not_allowed")
    assert answer.headers["allow"] == "GET, HEAD, POST"
    assert error(http.request("BREW", "/compute/ws")) == (405, "method_not_allowed")


def test_head_answers_as_get_without_a_body(http: httpx.Client) -> None:
    """With the length that the body would have."""
    got, head = http.get("/compute/ssh-keys"), http.head("/compute/ssh-keys")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == got.headers["content-length"]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", 400),
        (b"[]", 400),
        (b"null", 400),
        (b'"x"', 400),
        (b"{", 400),
        (b"\xff\xfe", 400),
        (b"[" * 60_000, 400),
        (b'{"name": "a", "name": "b", "ssh_key_ids": [1]}', 400),
        (b"x" * 65_536, 400),
        (b"x" * 65_537, 413),
    ],
)
def test_bodies_that_are_no_request(http: httpx.Client, body: bytes, expected: int) -> None:
    """Each is refused, and the connection or the next one goes on."""
    assert http.post("/compute/containers", content=body).status_code == expected
    assert http.get("/compute/containers").status_code == 200


def test_a_body_without_a_length_is_bounded_while_it_is_read(http: httpx.Client) -> None:
    """A sender that never ends is cut off, not collected."""

    def endless() -> Iterator[bytes]:
        while True:
            yield b" " * 8192

    try:
        answer = http.post("/compute/containers", content=endless())
    except httpx.TransportError:
        # the server hung up before the answer was read
        return
    assert error(answer) == (413, "too_large")


def test_logging_in(server: RunningServer) -> None:
    """The right pair gives a session, a wrong one the same answer whoever it names."""
    user = server.add_user("bob", "correct horse")
    answer = httpx.post(f"{server.url}/api/login", json={"username": "bob", "password": "correct horse"})
    assert answer.json()["user_id"] == user.user_id
    session = httpx.get(
        f"{server.url}/api/session", headers={"Authorization": f"Bearer {answer.json()['token']}"}
    )
    assert session.json() == {k: v for k, v in answer.json().items() if k != "token"}
    wrong = [
        httpx.post(f"{server.url}/api/login", json={"username": name, "password": "wrong"})
        for name in ("bob", "nobody")
    ]
    assert [error(answer) for answer in wrong] == [(401, "unauthenticated")] * 2
    assert wrong[0].content == wrong[1].content


def test_a_missing_image_is_told_with_the_command_that_builds_it(
    tmp_path_factory: pytest.TempPathFactory, public_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """503, and nothing is stored."""
    monkeypatch.setenv("ECOMPUTE_CACHE", str(tmp_path_factory.mktemp("empty-cache")))
    with running_server(hypervisor="libvirt") as server, httpx.Client(base_url=server.url) as http:
        http.headers["Authorization"] = f"Bearer {server.token}"
        key = http.post("/compute/ssh-keys", json={"name": "k", "public_key": public_key}).json()
        answer = create(http, key["id"])
        assert error(answer) == (503, "unavailable")
        assert "ecompute-server images build" in answer.json()["error"]
        assert int(answer.headers["retry-after"]) > 0
        assert http.get("/compute/containers").json() == {"containers": []}
