"""What watchers are told: in order, without loss, and no more than they take."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from attrs import evolve

from ecompute.contract.catalog import Status
from ecompute_server.broadcast import QUEUE_LENGTH, SNAPSHOT_SECONDS, Broadcast, Subscription
from ecompute_server.core.presentation import View
from ecompute_server.core.record import ContainerRecord
from ecompute_server.core.usage import Usage
from ecompute_server.http.frames import Prepared
from tests.server.records import record


class Store:
    """Records, and the broadcast that is told of their changes."""

    def __init__(self) -> None:
        self.records: dict[str, ContainerRecord] = {}
        self.usage: Usage | None = None
        self.now = 100.0
        view = View(usage=lambda container_id: self.usage)
        self.broadcast = Broadcast(view, self._of_user, monotonic=lambda: self.now)
        self.asked = 0

    def _of_user(self, user_id: str) -> list[ContainerRecord]:
        self.asked += 1
        mine = [r for r in self.records.values() if r.user_id == user_id and not r.life.deleted]
        return sorted(mine, key=lambda r: r.sort_key, reverse=True)

    def put(self, after: ContainerRecord) -> None:
        before = self.records.get(after.id)
        self.records[after.id] = after
        self.broadcast.publish(before, after)

    def set(self, container_id: str, **life: Any) -> None:
        old = self.records[container_id]
        self.put(old.with_life(evolve(old.life, **life)))


@pytest.fixture
def store() -> Store:
    return Store()


async def told(subscription: Subscription) -> Any:
    """The next message, without its envelope."""
    return _short(await asyncio.wait_for(subscription.next(), 10))


def _short(message: Prepared) -> Any:
    said = json.loads(message.text)
    if said["type"] == "containers":
        return {one["id"]: one["status"] for one in said["data"]}
    data = said["data"]
    return (data["container_id"], data["status"]) if said["type"] == "container_status" else data


STATUSES = (Status.INITIALIZING, Status.RUNNING, Status.STOPPED)

pytestmark = pytest.mark.anyio


async def test_first_all_then_every_change(store: Store) -> None:
    """In the order of the changes; a deletion has its own message, a new container its first status."""
    store.put(record("a"))
    subscription = store.broadcast.subscribe("u1")
    assert await told(subscription) == {"a": "pending"}
    for status in STATUSES:
        store.set("a", status=status)
    store.put(record("b"))
    store.set("a", deleted=True)
    expected = [*(("a", str(status)) for status in STATUSES), ("b", "pending"), {"container_id": "a"}]
    assert [await told(subscription) for _ in expected] == expected
    assert len(subscription) == 0


async def test_what_comes_before_the_snapshot_is_in_it_and_nowhere_else(store: Store) -> None:
    """A container that is made, changed or deleted between the opening and the first message."""
    store.put(record("old"))
    subscription = store.broadcast.subscribe("u1")
    store.put(record("new"))
    store.set("new", status=Status.RUNNING)
    store.set("old", deleted=True)
    assert await told(subscription) == {"new": "running"}
    store.set("new", status=Status.STOPPED)
    assert await told(subscription) == ("new", "stopped")


async def test_a_reader_too_slow_gets_a_snapshot_instead(store: Store) -> None:
    """Of the queue's length every change is told; one more, and what waited is replaced by the whole list."""
    store.put(record("a"))
    slow, patient = store.broadcast.subscribe("u1"), store.broadcast.subscribe("u1")
    assert await told(slow) == await told(patient) == {"a": "pending"}
    for number in range(QUEUE_LENGTH):
        store.set("a", status=STATUSES[number % 2])
    assert len(slow) == QUEUE_LENGTH
    assert store.broadcast.queue_depths() == [QUEUE_LENGTH] * 2
    assert await told(patient) == ("a", str(STATUSES[0]))
    store.set("a", status=Status.STOPPED)
    assert (len(slow), len(patient)) == (0, QUEUE_LENGTH)
    store.put(record("b"))
    assert await told(slow) == {"a": "stopped", "b": "pending"}
    store.set("b", deleted=True)
    assert await told(slow) == {"container_id": "b"}


async def test_a_snapshot_is_made_once_for_all_who_need_it(store: Store) -> None:
    """And anew after every change, also one that is no news."""
    store.put(record("a"))
    first = [store.broadcast.subscribe("u1") for _ in range(3)]
    assert [await told(each) for each in first] == [{"a": "pending"}] * 3
    assert store.asked == 1
    store.put(evolve(store.records["a"], name="renamed"))
    message = await store.broadcast.subscribe("u1").next()
    assert json.loads(message.text)["data"][0]["name"] == "renamed"
    assert all(len(each) == 0 for each in first)


async def test_a_list_that_was_made_already_does_not_tell_old_usage(store: Store) -> None:
    """Whoever comes later gets the figures of now, though no change of the container was published."""
    store.put(record("a"))
    store.set("a", status=Status.RUNNING)
    store.usage = Usage(memory_available=500 << 20, storage_used=0)

    async def memory_told() -> int:
        message = await store.broadcast.subscribe("u1").next()
        (container,) = json.loads(message.text)["data"]
        return int(container["memory_used_mb"])

    assert await memory_told() == 12
    store.usage = Usage(memory_available=400 << 20, storage_used=0)
    store.now += SNAPSHOT_SECONDS
    assert await memory_told() == 112


async def test_users_never_see_each_others(store: Store) -> None:
    """Neither in the list nor afterwards."""
    store.put(record("mine"))
    store.put(evolve(record("theirs"), user_id="u2"))
    mine, theirs = store.broadcast.subscribe("u1"), store.broadcast.subscribe("u2")
    assert (await told(mine), await told(theirs)) == ({"mine": "pending"}, {"theirs": "pending"})
    store.set("theirs", status=Status.RUNNING)
    assert (len(mine), len(theirs)) == (0, 1)


async def test_who_waits_is_sent_to_at_once(store: Store) -> None:
    """Without its task; what cannot be sent at once, and all that comes behind it, is queued."""
    store.put(record("a"))
    sent: list[Any] = []
    is_ready = True

    def offer(message: Prepared) -> bool:
        if is_ready:
            sent.append(_short(message))
        return is_ready

    subscription = store.broadcast.subscribe("u1", offer)
    await told(subscription)
    store.set("a", status=STATUSES[0])
    assert (sent, len(subscription)) == ([], 1)  # the reader may still be sending what it took last
    assert await told(subscription) == ("a", str(STATUSES[0]))
    waiting = asyncio.create_task(subscription.next())
    await asyncio.sleep(0)
    store.set("a", status=STATUSES[1])
    assert (sent, len(subscription)) == ([("a", str(STATUSES[1]))], 0)
    is_ready = False
    store.set("a", status=STATUSES[2])
    is_ready = True
    store.set("a", status=STATUSES[0])
    assert (len(sent), len(subscription)) == (1, 2)
    assert _short(await waiting) == ("a", str(STATUSES[2]))
    assert await told(subscription) == ("a", str(STATUSES[0]))


async def test_who_left_is_forgotten(store: Store) -> None:
    """Twice is no error, and others stay."""
    store.put(record("a"))
    gone, stays = store.broadcast.subscribe("u1"), store.broadcast.subscribe("u1")
    await told(gone)
    await told(stays)
    for _ in range(2):
        store.broadcast.unsubscribe(gone)
    store.set("a", status=Status.RUNNING)
    assert (len(gone), len(stays)) == (0, 1)
