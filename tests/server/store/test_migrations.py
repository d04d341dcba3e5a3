"""A database of an earlier version is taken over with all that it holds."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from sqlite_utils import Database

from ecompute.contract.catalog import Status
from ecompute_server.store.containers import SqliteContainers
from ecompute_server.store.credentials import Revocations, SqliteSessions, SqliteTokens
from ecompute_server.store.database import SqliteFile, StoreError
from ecompute_server.store.people import SqliteUsers
from ecompute_server.store.schema import migrations


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database as the first version left it: one user with one token and one container."""
    path = tmp_path / "ecompute.db"
    db = Database(path)
    migrations.apply(db, stop_before="every_right")
    db.table("users").insert(
        {"id": "u1", "username": "a", "display_name": "", "password_hash": "", "is_admin": 0, "created_at": 1}
    )
    db.table("tokens").insert(
        {
            "user_id": "u1",
            "name": "ci",
            "secret_hash": "h",
            "scopes": json.dumps({"compute.u1": ["read"]}),
            "created_at": 1,
            "expires_at": 0,
            "last_used_at": 0,
        }
    )
    db.table("containers").insert(
        {
            "id": "aaaaaaaa",
            "user_id": "u1",
            "name": "box",
            "instance_type": "nano",
            "memory_mb": 512,
            "storage_gb": 5,
            "mount_paths": '["/root"]',
            "ssh_enabled": 1,
            "authorized_keys": "[]",
            "created_at": 1,
            "external_ip": "127.77.0.1",
            "ssh_host_key": "k",
            "image": "micro",
            "status": "running",
            "generation": 3,
            "reason": "",
            "deleted": 0,
        }
    )
    db.close()
    return path


def test_everything_of_the_first_version_is_there(path: Path) -> None:
    """Containers without rules, tokens under the same ids as texts, sessions' key under its old name."""
    file = SqliteFile(path)
    try:
        record = SqliteContainers(file).get("aaaaaaaa")
        assert record is not None
        assert (record.life.status, record.life.generation) == (Status.RUNNING, 3)
        assert (record.ingress, record.rules_made) == ((), 0)
        token = SqliteTokens(file).by_hash("h")
        assert token is not None
        assert (token.id, token.user_id, token.scopes) == ("1", "u1", {"compute.u1": ["read"]})
        assert [key.id for key in SqliteSessions(file).signing_keys()] == ["1"]
        user = SqliteUsers(file).by_id("u1")
        assert user is not None
        assert user.sessions_since == 0
    finally:
        file.close()


def test_a_database_of_a_later_version_is_left_alone(path: Path) -> None:
    """With a sentence that says which program can use it."""
    SqliteFile(path).close()
    db = Database(path)
    db.conn.execute("UPDATE _sqlite_migrations SET name = 'from_the_future' WHERE name = 'every_right'")
    db.conn.commit()
    db.close()
    with pytest.raises(StoreError, match="newer version"):
        SqliteFile(path)


def test_what_makes_credentials_worthless_is_counted(path: Path) -> None:
    """By whatever process wrote it; the time of a token's last use is not."""
    file, other = SqliteFile(path), SqliteFile(path)
    try:
        count = Revocations(file)
        before = count()
        asyncio.run(SqliteTokens(other).used({"1": 7}))
        assert count() == before
        asyncio.run(SqliteSessions(other).end("jti", expires_at=9, now=1))
        assert count() == before + 1
        asyncio.run(SqliteTokens(other).remove("u1", "1"))
        assert count() == before + 2
        asyncio.run(SqliteUsers(other).update("u1", sessions_since=2.0))
        assert count() == before + 3
    finally:
        file.close()
        other.close()
