"""Requests with an idempotency key: one effect, and the same answer each time."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from ecompute.contract.catalog import IDEMPOTENCY_SECONDS
from ecompute_server.hypervisor.simulated import gauge
from ecompute_server.store import receipts
from ecompute_server.store.database import SqliteFile
from ecompute_server.store.interface import LimitReached, Receipt, ReceiptTaken, TooManyReceipts
from ecompute_server.store.people import SqliteKeys
from ecompute_server.store.receipts import SqliteReceipts
from ecompute_server.testing import RunningServer, running_server
from tests.server.records import make_users


def create(http: httpx.Client, key: str, key_id: int, **more: Any) -> httpx.Response:
    body = {"name": "box", "ssh_key_ids": [key_id], **more}
    return http.post("/compute/containers", json=body, headers={"Idempotency-Key": key})


def test_every_answer_says_that_keys_are_honoured(http: httpx.Client) -> None:
    """Refusals and unknown paths too."""
    for path in ("/compute/containers", "/compute/ws", "/nothing", "/api/session"):
        assert http.get(path).headers["idempotency-supported"] == "true"


def test_a_repeated_create_makes_one_container(http: httpx.Client, key_id: int) -> None:
    """Its answer is the first one, byte for byte, also when the container has moved on or is gone."""
    first = create(http, "k1", key_id)
    id_ = first.json()["id"]
    assert create(http, "k1", key_id).content == first.content
    http.delete(f"/compute/containers/{id_}")
    assert create(http, "k1", key_id).content == first.content
    assert http.get("/compute/containers").json() == {"containers": []}
    other = create(http, "k2", key_id)
    assert other.json()["id"] != id_


def test_the_order_of_names_makes_no_other_body(http: httpx.Client, key_id: int) -> None:
    """It is JSON that is compared, not its spelling."""
    headers = {"Idempotency-Key": "k"}
    one = http.post(
        "/compute/containers", content=f'{{"name":"b","ssh_key_ids":[{key_id}]}}', headers=headers
    )
    other = http.post(
        "/compute/containers", content=f'{{ "ssh_key_ids": [{key_id}], "name": "b" }}', headers=headers
    )
    assert one.status_code == 200
    assert one.content == other.content


def test_the_same_key_with_another_body_is_a_conflict(http: httpx.Client, key_id: int) -> None:
    """And does nothing."""
    create(http, "k", key_id)
    answer = create(http, "k", key_id, name="other")
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert len(http.get("/compute/containers").json()["containers"]) == 1


def test_a_refusal_is_not_kept(http: httpx.Client, key_id: int) -> None:
    """The same key may try again, with the same body or a mended one."""
    ids = [create(http, f"k{n}", key_id).json()["id"] for n in range(3)]
    assert create(http, "late", key_id).json()["code"] == "limit_reached"
    assert create(http, "late", 99).status_code == 400
    http.delete(f"/compute/containers/{ids[0]}")
    assert create(http, "late", key_id).status_code == 200


@pytest.mark.parametrize("key", ["", "x" * 256, "\xe9", "a\tb"])
def test_a_malformed_key_is_refused(http: httpx.Client, key_id: int, key: str) -> None:
    """With the header's name, before anything happens."""
    body = {"name": "box", "ssh_key_ids": [key_id]}
    headers = [(b"Idempotency-Key", key.encode("latin-1"))]
    answer = http.post("/compute/containers", json=body, headers=headers)
    assert answer.status_code == 400
    assert answer.json()["fields"][0]["path"] == "Idempotency-Key"
    assert http.get("/compute/containers").json() == {"containers": []}


def test_a_key_belongs_to_one_user_and_one_path(
    server: RunningServer, http: httpx.Client, key_id: int, public_key: str
) -> None:
    """The same words of another user, or at another path, are another key."""
    bob = {"Authorization": f"Bearer {server.add_user('bob').token}", "Idempotency-Key": "k"}
    add = {"name": "k", "public_key": public_key}
    bobs = http.post("/compute/ssh-keys", json=add, headers=bob)
    assert bobs.status_code == 200
    mine = create(http, "k", key_id)
    assert mine.status_code == 200
    theirs = http.post(
        "/compute/containers", headers=bob, json={"name": "box", "ssh_key_ids": [bobs.json()["id"]]}
    )
    assert theirs.status_code == 200
    assert theirs.json()["id"] != mine.json()["id"]


def test_it_holds_on_every_post_under_compute(http: httpx.Client, key_id: int) -> None:
    """Start, stop and ingress rules as well; a repeated stop does not undo the start between."""
    id_ = create(http, "k", key_id).json()["id"]
    path, headers = f"/compute/containers/{id_}", {"Idempotency-Key": "s"}
    stopped = http.post(f"{path}/stop", headers=headers)
    assert stopped.json()["status"] == "stopped"
    assert http.post(f"{path}/start").json()["status"] == "pending"
    assert http.post(f"{path}/stop", headers=headers).content == stopped.content
    assert http.get(path).json()["status"] != "stopped"
    rule = http.post(f"{path}/ingress", json={"port": 8080}, headers=headers)
    http.delete(f"{path}/ingress/8080")
    assert http.post(f"{path}/ingress", json={"port": 8080}, headers=headers).content == rule.content
    assert http.get(f"{path}/ingress").json() == {"rules": []}


def test_a_running_container_is_told_with_its_usage(
    server: RunningServer, http: httpx.Client, key_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer that is kept is made where no machine may be measured, however old the last measure is."""
    monkeypatch.setattr(gauge, "BETWEEN_MEASURES", 0.0)
    monkeypatch.setattr(gauge, "MOST_OF_THE_TIME", 1e9)
    with server.client() as client:
        box = client.containers.create("web", key_id, wait=True)
    answer = http.post(f"/compute/containers/{box.id}/start", headers={"Idempotency-Key": "again"})
    assert answer.status_code == 200
    assert answer.json()["status"] == "running"
    assert "memory_used_mb" in answer.json()


def test_twenty_at_once_with_one_key_make_one(server: RunningServer, key_id: int) -> None:
    """Each gets the first answer, or hears that it is under way."""

    def one(_: int) -> httpx.Response:
        with httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {server.token}"}) as http:
            return create(http, "k", key_id)

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(one, range(20)))
    assert {answer.status_code for answer in answers} <= {200, 409}
    made = {answer.json()["id"] for answer in answers if answer.status_code == 200}
    assert len(made) == 1


def test_a_kept_answer_outlives_the_server(tmp_path: Path, public_key: str) -> None:
    """A client that lost the answer and its server asks the next one."""
    contents = []
    for _ in range(2):
        with running_server(state=tmp_path) as server:
            headers = {"Authorization": f"Bearer {server.token}", "Idempotency-Key": "k"}
            body = {"name": "k", "public_key": public_key}
            contents.append(httpx.post(f"{server.url}/compute/ssh-keys", json=body, headers=headers).content)
    assert contents[0] == contents[1]


# --- the store ------------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path: Path) -> Iterator[SqliteFile]:
    opened = SqliteFile(tmp_path / "ecompute.db")
    asyncio.run(make_users(opened, "u1"))
    yield opened
    opened.close()


def receipt(key: str = "k", *, now: int = 1_000_000) -> Receipt[Any]:
    return Receipt("u1", "/compute/ssh-keys", key, "asked", now, lambda added: str(added.id).encode())


async def add(file: SqliteFile, name: str, limit: int = 10, **more: Any) -> None:
    await SqliteKeys(file).add(
        user_id="u1", name=name, public_key=name, fingerprint=name, created_at=1, limit=limit, **more
    )


def test_effect_and_answer_are_one_transaction(file: SqliteFile) -> None:
    """Neither is there without the other."""

    async def scenario() -> None:
        await add(file, "one", receipt=receipt())
        with pytest.raises(ReceiptTaken):
            await add(file, "two", receipt=receipt())
        with pytest.raises(LimitReached):
            await add(file, "three", limit=1, receipt=receipt("other"))

    asyncio.run(scenario())
    assert [key.name for key in SqliteKeys(file).of_user("u1")] == ["one"]
    found = SqliteReceipts(file).find("u1", "/compute/ssh-keys", "k", since=0)
    assert found is not None
    assert (found.asked, found.body) == ("asked", b"1")
    assert SqliteReceipts(file).find("u1", "/compute/ssh-keys", "other", since=0) is None


def test_a_key_is_free_again_after_a_day(file: SqliteFile) -> None:
    """Also before its old answer is swept away."""
    day = IDEMPOTENCY_SECONDS

    async def scenario() -> None:
        await add(file, "one", receipt=receipt(now=1_000_000))
        with pytest.raises(ReceiptTaken):
            await add(file, "two", receipt=receipt(now=1_000_000 + day))
        await add(file, "two", receipt=receipt(now=1_000_001 + day))
        await SqliteReceipts(file).forget(before=1_000_001 + day)

    asyncio.run(scenario())
    kept = SqliteReceipts(file).find("u1", "/compute/ssh-keys", "k", since=0)
    assert kept is not None
    assert kept.body == b"2"


def test_receipts_are_bounded(file: SqliteFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody can fill the disk with keys."""
    monkeypatch.setattr(receipts, "MAX_RECEIPTS_PER_USER", 2)

    async def scenario() -> None:
        await add(file, "one", receipt=receipt("1"))
        await add(file, "two", receipt=receipt("2"))
        with pytest.raises(TooManyReceipts):
            await add(file, "three", receipt=receipt("3"))
        await add(file, "four")

    asyncio.run(scenario())
    with closing(sqlite3.connect(file._path)) as db, db:
        assert db.execute("SELECT count(*) FROM receipts").fetchone() == (2,)
