"""Logging in and out, and the end of credentials: at once, and for what they hold open as well."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import httpx
import jwt
import pytest

from ecompute_server.testing import RunningServer, running_server
from tests.server.http.wire import Closed, Wire


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def log_in(server: RunningServer, name: str, password: str) -> httpx.Response:
    return httpx.post(f"{server.url}/api/login", json={"username": name, "password": password}, timeout=60)


def session(server: RunningServer, token: str) -> int:
    return httpx.get(f"{server.url}/api/session", headers=bearer(token)).status_code


def command(server: RunningServer, *arguments: str, stdin: str = "") -> str:
    done = subprocess.run(
        [sys.executable, "-m", "ecompute_server", *arguments, "--state", str(server.state)],
        input=stdin,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout.strip()


def test_a_session_from_login_to_logout(server: RunningServer) -> None:
    """It says who it is; after the logout its token is worthless, and other sessions are not touched."""
    bob = server.add_user("bob", "a good password")
    answer = log_in(server, "bob", "a good password")
    told = answer.json()
    assert set(told) == {"token", "username", "display_name", "user_id", "is_admin"}
    assert (told["username"], told["user_id"], told["is_admin"]) == ("bob", bob.user_id, False)
    token = told.pop("token")
    assert httpx.get(f"{server.url}/api/session", headers=bearer(token)).json() == told
    out = httpx.post(f"{server.url}/api/logout", headers=bearer(token))
    assert out.json() == {"status": "ok"}
    assert session(server, token) == 401
    assert httpx.post(f"{server.url}/api/logout", headers=bearer(token)).status_code == 401
    assert session(server, bob.token) == 200


def test_a_wrong_name_and_a_wrong_password_are_one_answer(server: RunningServer) -> None:
    """Byte for byte."""
    server.add_user("bob", "a good password")
    wrong, unknown = log_in(server, "bob", "nonsense"), log_in(server, "nobody", "nonsense")
    assert (wrong.status_code, wrong.content) == (unknown.status_code, unknown.content)
    assert wrong.status_code == 401
    assert wrong.headers["www-authenticate"] == "Bearer"


def test_the_eleventh_wrong_try_in_a_minute_is_refused(server: RunningServer) -> None:
    """Even with the right password; the answer says how long to wait."""
    server.add_user("bob", "a good password")
    for _ in range(10):
        assert log_in(server, "bob", "nonsense").status_code == 401
    answer = log_in(server, "bob", "a good password")
    assert (answer.status_code, answer.json()["code"]) == (429, "rate_limited")
    assert 1 <= int(answer.headers["retry-after"]) <= 60


def test_only_a_named_proxy_says_where_a_client_is(tmp_path: Path) -> None:
    """Otherwise everybody could get round the throttle, and lock others out."""

    def guess(server: RunningServer, address: str, name: str) -> int:
        body = {"username": name, "password": "nonsense"}
        headers = {"X-Forwarded-For": address}
        return httpx.post(f"{server.url}/api/login", json=body, headers=headers, timeout=60).status_code

    with running_server(state=tmp_path / "a") as server:
        assert [guess(server, f"9.9.9.{n}", f"user{n}") for n in range(11)] == [401] * 10 + [429]
    with running_server(state=tmp_path / "b", trusted_proxies=("127.0.0.1",)) as server:
        assert [guess(server, f"9.9.9.{n}", f"user{n}") for n in range(11)] == [401] * 11


def test_who_logs_in_rightly_at_the_same_time_is_let_in(server: RunningServer) -> None:
    """Twelve at once."""
    server.add_user("bob", "a good password")
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: log_in(server, "bob", "a good password"), range(12)))
    assert [answer.status_code for answer in answers] == [200] * 12


def test_a_forged_session_is_none(server: RunningServer) -> None:
    """Another key, another algorithm, another key id, no key id, or a body that was changed."""
    claims = jwt.decode(server.token, options={"verify_signature": False})
    head, body, signature = server.token.split(".")
    key = "x" * 64
    forged = [
        jwt.encode(claims, key, algorithm="HS256", headers={"kid": "1"}),
        jwt.encode(claims, key, algorithm="HS256"),
        jwt.encode(claims, key, algorithm="HS512", headers={"kid": "1"}),
        jwt.encode(claims, None, algorithm="none", headers={"kid": "1"}),
        jwt.encode(claims, key, algorithm="HS256", headers={"kid": "../../secret.key"}),
        f"{head}.{body}.",
        f"{head}.{body[:-4]}AAAA.{signature}",
        f"{head}.{body}",
        "..",
    ]
    assert {session(server, token) for token in forged} == {401}
    assert session(server, server.token) == 200


def test_signing_keys_can_be_rotated(server: RunningServer) -> None:
    """Sessions of the old key stay valid while the new one signs; after a leak they can be ended at once."""
    server.add_user("bob", "a good password")
    command(server, "rotate-keys")
    assert session(server, server.token) == 200
    fresh = log_in(server, "bob", "a good password").json()["token"]
    old_id, new_id = (jwt.get_unverified_header(token)["kid"] for token in (server.token, fresh))
    assert old_id != new_id
    api_token = server.api_token({"compute.<uid>": ["read"]})
    command(server, "rotate-keys", "--end-sessions")
    assert (session(server, server.token), session(server, fresh)) == (401, 401)
    assert session(server, api_token) == 200
    assert session(server, log_in(server, "bob", "a good password").json()["token"]) == 200


def test_two_installations_have_different_keys(tmp_path: Path) -> None:
    """A session of one opens nothing at the other, though user and key have the same ids."""
    with running_server(state=tmp_path / "a") as one, running_server(state=tmp_path / "b") as other:
        with closing(sqlite3.connect(other.state / "ecompute.db")) as db, db:
            db.execute("UPDATE users SET id = ?", [one.user_id])
        assert session(one, one.token) == 200
        assert session(other, one.token) == 401


# --- what a credential holds open -----------------------------------------------------------------


def log_out(server: RunningServer, token: str) -> None:
    httpx.post(f"{server.url}/api/logout", headers=bearer(token))


def new_password(server: RunningServer, token: str) -> None:
    command(server, "user", "passwd", "bob", "--password-stdin", stdin="another password\n")


def remove_user(server: RunningServer, token: str) -> None:
    command(server, "user", "remove", "bob")


def end_sessions(server: RunningServer, token: str) -> None:
    command(server, "rotate-keys", "--end-sessions")


@pytest.mark.parametrize("end", [log_out, new_password, remove_user, end_sessions])
def test_a_session_s_end_closes_what_it_opened(
    server: RunningServer, end: Callable[[RunningServer, str], None]
) -> None:
    """With 1008, whoever ended it; a feed of another session stays open."""
    bob = server.add_user("bob")
    with Wire(server, "/compute/ws", token=bob.token) as his, Wire(server, "/compute/ws") as hers:
        his.receive()
        hers.receive()
        end(server, bob.token)
        assert isinstance(closed := his.receive(), Closed)
        assert closed.code == 1008
        assert session(server, bob.token) == 401
        if end is not end_sessions:
            httpx.post(f"{server.url}/api/logout", headers=bearer(server.token))
        assert isinstance(closed := hers.receive(), Closed)
        assert closed.code == 1008


def test_a_revoked_token_s_feeds_and_terminals_are_closed(server: RunningServer, public_key: str) -> None:
    """By the API at once, and by the operator's command soon."""
    with server.client() as client:
        box = client.containers.create("box", [client.ssh_keys.add("k", public_key).id])
        client.containers.wait(box.id, "running")
        by_api = client.tokens.create("a", {f"compute.{server.user_id}": ["read", "update"]})
        by_command = client.tokens.create("b", {f"compute.{server.user_id}": ["read", "update"]})
        for token in (by_api, by_command):
            with (
                Wire(server, "/compute/ws", token=token.token) as feed,
                Wire(server, f"/compute/containers/{box.id}/terminal", token=token.token) as terminal,
            ):
                feed.receive()
                terminal.send("echo ready\n")
                terminal.receive()
                if token is by_api:
                    client.tokens.delete(token.id)
                else:
                    command(server, "token", "revoke", token.id, "--user", "alice")
                assert feed.until_closed()[2] == Closed(1008)
                assert terminal.until_closed()[2] == Closed(1008)


def test_a_token_s_time_ends_what_it_opened(server: RunningServer) -> None:
    """Nobody stays in past the expiry."""
    token = server.api_token({"compute.<uid>": ["read"]}, expires_in=2)
    with Wire(server, "/compute/ws", token=token) as feed:
        feed.receive()
        assert isinstance(closed := feed.receive(), Closed)
        assert closed.code == 1008
    assert time.time() > expiry_of(server)


def expiry_of(server: RunningServer) -> float:
    """When the token expires, by the server's own record."""
    answer = httpx.get(f"{server.url}/api/tokens", headers=bearer(server.token))
    return float(answer.json()["tokens"][0]["expires_at"])


def test_tokens_are_listed_and_revoked_by_the_operator(server: RunningServer) -> None:
    """By their ids; the list never shows a token."""
    token = server.api_token({"compute.<uid>": ["read"]})
    listed = command(server, "token", "list", "--user", "alice")
    scope = f"compute.{server.user_id}=read"
    id_, *rest = listed.split()
    assert rest == ["test", "expires", "never", "used", "never", scope]
    assert token not in command(server, "token", "list", "--user", "alice", "--json")
    command(server, "token", "revoke", id_, "--user", "alice")
    assert session(server, token) == 401
