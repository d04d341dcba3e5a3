"""The store of containers, on a real file."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from ecompute.contract.catalog import Status
from ecompute_server.core.lifecycle import Command, EffectKind, Happening, Observation
from ecompute_server.core.record import ContainerRecord
from ecompute_server.store.containers import SqliteContainers
from ecompute_server.store.database import SqliteFile, StoreError
from ecompute_server.store.interface import Change, Duplicate, LimitReached
from tests.server.records import make_users, order, record


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ecompute.db"


@pytest.fixture
def file(path: Path) -> Iterator[SqliteFile]:
    opened = SqliteFile(path)
    asyncio.run(make_users(opened, "u1", "u2"))
    yield opened
    opened.close()


def test_a_committed_container_is_there_after_a_restart(file: SqliteFile, path: Path) -> None:
    """With all its fields and its journal."""
    asyncio.run(SqliteContainers(file).create(record(), limit=3))
    again = SqliteFile(path)
    try:
        stored = SqliteContainers(again)
        assert stored.get("aaaaaaaa") == record()
        (effect,) = asyncio.run(stored.journal())
        assert (effect.kind, effect.generation) == (EffectKind.POWER_ON, 1)
    finally:
        again.close()


def test_reads_see_a_write_when_it_returns(file: SqliteFile) -> None:
    """And listeners have heard of it, in the order of the commits."""
    containers = SqliteContainers(file)
    heard: list[Change] = []
    containers.listen(heard.append)

    async def scenario() -> None:
        await containers.create(record(), limit=3)
        await containers.observe("aaaaaaaa", Observation(Happening.MACHINE_STARTED, 1))
        assert containers.get("aaaaaaaa") == heard[-1].after
        await asyncio.gather(
            containers.observe("aaaaaaaa", Observation(Happening.GUEST_ANSWERED, 1)),
            order(containers, "aaaaaaaa", Command.STOP),
            order(containers, "aaaaaaaa", Command.START),
        )

    asyncio.run(scenario())
    told = [change.after.life.status for change in heard if change.after]
    assert told == ["pending", "initializing", "running", "stopped", "pending"]
    assert all(b.before == a.after for a, b in itertools.pairwise(heard))


def test_a_limit_holds_under_concurrency(file: SqliteFile) -> None:
    """Twenty at once and a limit of three give three."""
    containers = SqliteContainers(file)

    async def scenario() -> list[object]:
        many = [record(chr(97 + n) * 8) for n in range(20)]
        return await asyncio.gather(
            *(containers.create(one, limit=3) for one in many), return_exceptions=True
        )

    results = asyncio.run(scenario())
    assert sum(result is None for result in results) == 3
    assert sum(isinstance(result, LimitReached) for result in results) == 17
    assert len(containers.of_user("u1")) == 3


def test_a_deleted_container_counts_no_more_but_is_not_forgotten(file: SqliteFile) -> None:
    """Its limit is free at once; its record waits for the clean-up."""
    containers = SqliteContainers(file)

    async def scenario() -> None:
        await containers.create(record(), limit=1)
        await order(containers, "aaaaaaaa", Command.DELETE)
        assert containers.of_user("u1") == []
        await containers.create(record("bbbbbbbb"), limit=1)
        assert containers.get("aaaaaaaa") is not None
        await containers.purge("aaaaaaaa")
        assert containers.get("aaaaaaaa") is None
        assert {effect.container_id for effect in await containers.journal()} == {"bbbbbbbb"}

    asyncio.run(scenario())


def test_an_id_or_an_address_is_given_once(file: SqliteFile) -> None:
    """A collision stores nothing."""
    containers = SqliteContainers(file)

    async def scenario() -> None:
        await containers.create(record(), limit=9)
        for other in (record(external_ip="127.77.9.9"), record("bbbbbbbb", external_ip=record().external_ip)):
            with pytest.raises(Duplicate):
                await containers.create(other, limit=9)

    asyncio.run(scenario())
    assert len(containers.all()) == 1


def test_lists_are_newest_first(file: SqliteFile) -> None:
    """Ties by id, highest first; other users' containers are not in them."""
    containers = SqliteContainers(file)
    made = [
        record("aaaaaaaa", created_at=5),
        record("cccccccc", created_at=5),
        record("bbbbbbbb", created_at=7),
        record("dddddddd", user_id="u2"),
    ]

    async def scenario() -> None:
        for one in made:
            await containers.create(one, limit=9)

    asyncio.run(scenario())
    assert [one.id for one in containers.of_user("u1")] == ["bbbbbbbb", "cccccccc", "aaaaaaaa"]


def test_an_event_for_nobody_is_no_error(file: SqliteFile) -> None:
    """A machine's last words may come after its container is purged."""
    lost = Observation(Happening.MACHINE_LOST, 1, "gone")
    assert asyncio.run(SqliteContainers(file).observe("nobodyxx", lost)) is None


def test_the_step_is_taken_on_what_is_stored(file: SqliteFile) -> None:
    """Not on what a caller has read earlier."""
    containers = SqliteContainers(file)

    async def scenario() -> ContainerRecord | None:
        await containers.create(record(), limit=3)
        await order(containers, "aaaaaaaa", Command.STOP)
        return await containers.observe("aaaaaaaa", Observation(Happening.GUEST_ANSWERED, 1))

    after = asyncio.run(scenario())
    assert after is not None
    assert after.life.status is Status.STOPPED


def test_a_cancelled_request_leaves_a_whole_write(file: SqliteFile) -> None:
    """The change is committed and told, or it is not there at all."""
    containers = SqliteContainers(file)
    heard: list[Change] = []
    containers.listen(heard.append)

    async def scenario() -> None:
        task = asyncio.create_task(containers.create(record(), limit=3))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        # a later write comes after it
        await containers.create(record("bbbbbbbb"), limit=3)

    asyncio.run(scenario())
    assert [change.after.id for change in heard if change.after] == ["aaaaaaaa", "bbbbbbbb"]


def test_a_newer_version_s_file_is_refused(file: SqliteFile, path: Path) -> None:
    """Rather than written to with old eyes."""
    file.reader.conn.execute("PRAGMA query_only = OFF")
    file.reader.table("_sqlite_migrations").insert(
        {"migration_set": "ecompute_server", "name": "from_the_future", "applied_at": "2100-01-01"}
    )
    with pytest.raises(StoreError, match="newer version"):
        SqliteFile(path)


def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    """With one sentence."""
    junk = tmp_path / "ecompute.db"
    junk.write_bytes(b"not a database at all" * 100)
    with pytest.raises(StoreError):
        SqliteFile(junk)


def test_records_are_compared_by_value() -> None:
    """So that a change is seen as one."""
    assert record() == record()
    assert attrs.evolve(record(), name="other") != record()
