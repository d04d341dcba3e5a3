"""Accounts and their passwords."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from ecompute_server.identity import passwords
from ecompute_server.identity.accounts import MAX_PASSWORD_BYTES, log_in, new_user
from ecompute_server.store.containers import SqliteContainers
from ecompute_server.store.credentials import SqliteTokens
from ecompute_server.store.database import SqliteFile
from ecompute_server.store.interface import NoSuchUser, TokenRecord
from ecompute_server.store.people import SqliteKeys, SqliteUsers
from tests.server.records import record, user


@pytest.fixture
def file(tmp_path: Path) -> Iterator[SqliteFile]:
    opened = SqliteFile(tmp_path / "ecompute.db")
    yield opened
    opened.close()


def test_an_account_without_a_password_is_opened_by_none(
    file: SqliteFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even by the one that stands in for unknown users."""
    hashed = passwords.hash_password("stand-in")
    monkeypatch.setattr(passwords, "_nobody", lambda: hashed)

    async def scenario() -> None:
        users = SqliteUsers(file)
        await users.add(user())
        for password in ("", "stand-in"):
            assert await log_in(users, "u1", password) is None

    asyncio.run(scenario())


def test_a_password_is_not_cut(file: SqliteFile) -> None:
    """One that goes on behind the longest that there can be is another one."""
    longest = "x" * MAX_PASSWORD_BYTES

    async def scenario() -> None:
        users = SqliteUsers(file)
        await users.add(new_user("bob", longest, now=1))
        assert await log_in(users, "bob", longest) is not None
        assert await log_in(users, "bob", longest + "y") is None

    asyncio.run(scenario())


def test_who_is_gone_gets_nothing_any_more(file: SqliteFile) -> None:
    """Also where the request was admitted before: neither container nor key nor token is written."""
    token = TokenRecord("t", "u1", "ci", {"compute.u1": ["read"]}, 1, 0)

    async def scenario() -> None:
        users = SqliteUsers(file)
        await users.add(user())
        assert await users.remove("u1") == 0
        with pytest.raises(NoSuchUser):
            await SqliteContainers(file).create(record(), limit=3)
        with pytest.raises(NoSuchUser):
            await SqliteTokens(file).add(token, secret_hash="h", limit=3)
        with pytest.raises(NoSuchUser):
            await SqliteKeys(file).add(
                user_id="u1", name="k", public_key="k", fingerprint="k", created_at=1, limit=3
            )

    asyncio.run(scenario())


def test_who_has_containers_is_not_removed(file: SqliteFile) -> None:
    """The number is told, and nothing of the account is gone."""

    async def scenario() -> None:
        users = SqliteUsers(file)
        await users.add(user())
        await SqliteContainers(file).create(record(), limit=3)
        assert await users.remove("u1") == 1
        assert users.by_id("u1") == user()

    asyncio.run(scenario())


def test_two_changes_of_an_account_do_not_undo_each_other(file: SqliteFile) -> None:
    """A command that read the account before another's change writes only its own columns."""

    async def scenario() -> None:
        users = SqliteUsers(file)
        await users.add(user())
        await users.update("u1", password_hash="new", sessions_since=5.0)
        await users.update("u1", max_containers=7)
        expected = attrs.evolve(user(), password_hash="new", sessions_since=5.0, max_containers=7)
        assert users.by_id("u1") == expected

    asyncio.run(scenario())
