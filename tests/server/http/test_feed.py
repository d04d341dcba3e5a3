"""The events WebSocket, on the simulated host."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import suppress
from queue import Queue
from types import SimpleNamespace
from typing import Any

import pytest
from attrs import evolve
from starlette.websockets import WebSocket
from wsproto.events import Ping, Pong

import ecompute
from ecompute.contract.catalog import Status
from ecompute_server.broadcast import Broadcast
from ecompute_server.core.presentation import View
from ecompute_server.handlers import feed
from ecompute_server.http.sockets import Socket, SocketClosed
from ecompute_server.testing import RunningServer, running_server
from tests.server.http.wire import PATIENCE, Closed, Wire, hosted
from tests.server.records import record


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    """One server for all tests here."""
    with running_server(max_containers_per_user=100) as running:
        yield running


@pytest.fixture
def client(server: RunningServer) -> Iterator[ecompute.Client]:
    with server.client() as made:
        yield made
        for key in made.ssh_keys.list():
            made.ssh_keys.delete(key.id)
        for box in made.containers.list():
            made.containers.delete(box.id)


def next_of(wire: Wire) -> Any:
    """The next message, which must be a text."""
    message = wire.receive()
    assert isinstance(message, str)
    return json.loads(message)


def test_a_life_is_told_step_by_step(server: RunningServer, client: ecompute.Client, public_key: str) -> None:
    """Whole objects first, then each status in order, then the deletion."""
    key = client.ssh_keys.add("k", public_key)
    with Wire(server, "/compute/ws") as wire:
        assert next_of(wire) == {"type": "containers", "data": []}
        box = client.containers.create("box", [key.id])
        client.containers.wait(box.id, "running", timeout=PATIENCE)
        with Wire(server, "/compute/ws") as later:
            snapshot = next_of(later)
        client.containers.stop(box.id)
        client.containers.delete(box.id)
        told = [next_of(wire) for _ in range(5)]
    assert [one["id"] for one in snapshot["data"]] == [box.id]
    assert snapshot["data"][0]["name"] == "box"
    assert [message["type"] for message in told] == ["container_status"] * 4 + ["container_deleted"]
    assert {message["data"]["container_id"] for message in told} == {box.id}
    statuses = [message["data"]["status"] for message in told[:4]]
    assert statuses == ["pending", "initializing", "running", "stopped"]


def test_a_snapshot_and_what_follows_never_contradict(
    server: RunningServer, client: ecompute.Client, public_key: str
) -> None:
    """Feeds that are opened while containers come and go all end with the same view."""
    key = client.ssh_keys.add("k", public_key)
    wires = []
    for number in range(20):
        box = client.containers.create(f"box{number}", [key.id])
        wires.append(Wire(server, "/compute/ws"))
        if number % 2:
            client.containers.delete(box.id)
        else:
            client.containers.stop(box.id)
        wires.append(Wire(server, "/compute/ws"))
    last = client.containers.create("last", [key.id])
    client.containers.wait(last.id, "running", timeout=PATIENCE)
    views = []
    for wire in wires:
        with wire:
            view = {one["id"]: one["status"] for one in next_of(wire)["data"]}
            while view.get(last.id) != "running":
                message = next_of(wire)
                data = message["data"]
                if message["type"] == "container_deleted":
                    assert view.pop(data["container_id"])
                else:
                    assert view.get(data["container_id"]) != data["status"]
                    view[data["container_id"]] = data["status"]
            views.append(view)
    assert views == [{one.id: str(one.status) for one in client.containers.list()}] * len(wires)


def test_users_never_see_each_others(server: RunningServer, client: ecompute.Client, public_key: str) -> None:
    """Two feeds side by side."""
    bob = server.add_user("bob")
    with (
        server.client(bob.token) as other,
        Wire(server, "/compute/ws") as mine,
        Wire(server, "/compute/ws", token=bob.token) as theirs,
    ):
        assert next_of(mine) == next_of(theirs) == {"type": "containers", "data": []}
        boxes = {}
        for name, someone in (("mine", client), ("theirs", other)):
            key = someone.ssh_keys.add("k", public_key)
            boxes[name] = someone.containers.create(name, [key.id])
            someone.containers.delete(boxes[name].id)
        for wire, name in ((mine, "mine"), (theirs, "theirs")):
            while (message := next_of(wire))["type"] != "container_deleted":
                assert message["data"]["container_id"] == boxes[name].id
            assert message["data"]["container_id"] == boxes[name].id


def test_what_a_client_sends_is_not_heard(server: RunningServer) -> None:
    """The feed goes on whatever it is told."""
    with Wire(server, "/compute/ws") as wire:
        next_of(wire)
        for _ in range(100):
            wire.send(b"anything")
            wire.send("{")
        wire.control(Ping(b"done"))
        assert wire.receive() == Pong(bytearray(b"done"))


def test_a_revoked_credential_closes_the_feed(server: RunningServer, client: ecompute.Client) -> None:
    """1008, at once; feeds of other credentials stay."""
    token = client.tokens.create("t", {f"compute.{server.user_id}": ["read"]}, expires_in="30d")
    assert token.token is not None
    with Wire(server, "/compute/ws", token=token.token) as wire, Wire(server, "/compute/ws") as other:
        next_of(wire)
        next_of(other)
        client.tokens.delete(token.id)
        assert wire.until_closed()[1:] == ([], Closed(1008))
        other.control(Ping(b"here"))
        assert other.receive() == Pong(bytearray(b"here"))


def test_a_server_that_ends_says_so() -> None:
    """1001 to every feed."""
    with running_server() as ending:
        wires = [Wire(ending, "/compute/ws") for _ in range(20)]
        for wire in wires:
            next_of(wire)
    for wire in wires:
        with wire:
            assert wire.until_closed()[1:] == ([], Closed(1001))


def test_many_feeds_of_one_user_and_one_address(server: RunningServer, client: ecompute.Client) -> None:
    """More than a thousand, each with its snapshot."""
    wires = [Wire(server, "/compute/ws") for _ in range(1100)]
    for wire in wires:
        assert next_of(wire)["type"] == "containers"
    for wire in wires:
        wire.link.close()


class Feed:
    """The feed's handler as an application, with records that a test changes on its loop."""

    def __init__(self) -> None:
        self.records = {name: record(name) for name in ("a", "b")}
        self.broadcast = Broadcast(View(), lambda user_id: [*self.records.values()])
        self.loops: Queue[asyncio.AbstractEventLoop] = Queue()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        call: Any = SimpleNamespace(
            services=SimpleNamespace(broadcast=self.broadcast), caller=SimpleNamespace(user_id="u1")
        )
        converse = await feed.open_(call)
        socket = Socket(WebSocket(scope, receive, send))
        await socket.accept()
        self.loops.put(asyncio.get_running_loop())
        with suppress(SocketClosed):
            await converse(socket)

    async def change(self, times: int, last: Status) -> list[int]:
        """So many changes of one container without a pause; how much waits after each hundred."""
        statuses = [Status.RUNNING, Status.STOPPED]
        depths = []
        for number in range(times):
            status = last if number == times - 1 else statuses[number % 2]
            before = self.records["a"]
            self.records["a"] = after = before.with_life(evolve(before.life, status=status))
            self.broadcast.publish(before, after)
            if number % 100 == 0:
                await asyncio.sleep(0)
                depths += self.broadcast.queue_depths()
        return depths


def test_a_feed_that_is_not_read_costs_little_and_catches_up() -> None:
    """Of fifty thousand changes only some wait; when it reads again it sees the latest."""
    app = Feed()
    with hosted(app) as host, Wire(host, "/", receive_buffer=65536) as wire:
        loop = app.loops.get(timeout=PATIENCE)
        depths = asyncio.run_coroutine_threadsafe(app.change(50_000, Status.FAILED), loop).result(60)
        assert 0 < max(depths) <= 256
        view: dict[str, str] = {}
        snapshots = messages = 0
        while view.get("a") != "failed":
            message = next_of(wire)
            messages += 1
            if message["type"] == "containers":
                snapshots += 1
                view = {one["id"]: one["status"] for one in message["data"]}
            else:
                view[message["data"]["container_id"]] = message["data"]["status"]
        assert snapshots >= 2
        assert messages < 50_000
