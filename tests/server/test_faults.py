"""The faults of an embedded server, as its users' tests meet them."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

import ecompute
from ecompute_server.faults import Faults
from ecompute_server.testing import RunningServer, running_server

LIMIT = 20.0


@pytest.fixture
def client(server: RunningServer) -> Iterator[ecompute.Client]:
    """A client that tries again at once."""
    retries = ecompute.Retries(first=0, longest=0)
    with ecompute.Client(server.token, server.url, retries=retries) as client:
        yield client


@pytest.fixture
def key(client: ecompute.Client, public_key: str) -> int:
    """A registered key."""
    return client.ssh_keys.add("key", public_key).id


def raw(server: RunningServer, path: str = "/api/session") -> httpx.Response:
    """One GET without a library that tries again."""
    return httpx.get(server.url + path, headers={"Authorization": f"Bearer {server.token}"})


def test_an_answer_is_lost_and_its_effect_is_not(server: RunningServer, public_key: str) -> None:
    """The connection breaks after as many bytes as were asked for, and what was asked has happened."""
    headers = {"Authorization": f"Bearer {server.token}"}
    server.faults.lose_answer("ssh_keys.add")
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.post(
            f"{server.url}/compute/ssh-keys", json={"name": "k", "public_key": public_key}, headers=headers
        )
    assert len(raw(server, "/compute/ssh-keys").json()["ssh_keys"]) == 1
    server.faults.lose_answer("session", after_bytes=60)
    with pytest.raises(
        httpx.RemoteProtocolError,
    ):
        raw(server)
    assert raw(server).status_code == 200
    assert [injection.call for injection in server.faults.history] == [
        "lose_answer('ssh_keys.add', after_bytes=0)",
        "lose_answer('session', after_bytes=60)",
    ]


def test_an_answer_that_is_shorter_than_the_cut(server: RunningServer) -> None:
    """It comes whole, and the connection ends behind it although it was to be kept."""
    server.faults.lose_answer("session", after_bytes=1_000_000)
    request = f"GET /api/session HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.token}\r\n\r\n"
    came = b""
    with socket.create_connection(("127.0.0.1", urlsplit(server.url).port or 0), LIMIT) as link:
        link.sendall(request.encode())
        while data := link.recv(65536):
            came += data
    assert came.startswith(b"HTTP/1.1 200 ")
    assert came.endswith(b"}")
    assert raw(server).status_code == 200


def test_a_short_name_means_containers_first(server: RunningServer) -> None:
    """`create` is a container's, `set` is said of two, and a name of nothing is told with all that is."""
    assert server.faults.lose_answer("create").call.startswith("lose_answer('containers.create'")
    for name, told in (("set", "ssh_access.set, mounts.set"), ("dance", "containers.list")):
        with pytest.raises(ValueError, match=told):
            server.faults.lose_answer(name)


def test_a_create_survives_its_lost_answer(server: RunningServer, client: ecompute.Client, key: int) -> None:
    """The library asks again under the same key, and there is one container."""
    server.faults.lose_answer("create")
    box = client.containers.create("box", [key])
    assert [box.id] == [each.id for each in client.containers.list()]


def test_a_refusal_is_an_answer_without_an_effect(
    server: RunningServer, client: ecompute.Client, key: int
) -> None:
    """A refused request has done nothing; outside of the block everything is as always."""
    with server.faults.refuse(503, "create", times=None), pytest.raises(ecompute.Unavailable):
        client.containers.create("box", [key])
    assert client.containers.list() == []
    server.faults.refuse(429, retry_after=7)
    answer = raw(server)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")
    assert answer.json()["code"] == "rate_limited"
    server.faults.refuse(502)
    assert raw(server).headers["content-type"] == "text/html"
    client.containers.create("box", [key])


def test_a_refused_websocket(server: RunningServer, client: ecompute.Client) -> None:
    """A refusal of a feed comes before the upgrade, as an ordinary answer."""
    server.faults.refuse(403, "events")
    with pytest.raises(ecompute.Forbidden), client.events():
        pass
    with client.events() as events:
        assert isinstance(events.receive(LIMIT), ecompute.Snapshot)


def test_feeds_are_cut_and_come_back(server: RunningServer, client: ecompute.Client, key: int) -> None:
    """All open feeds break off at once, and what happens meanwhile is told after they are back."""
    with client.events() as one, client.events() as other:
        for events in (one, other):
            assert isinstance(events.receive(LIMIT), ecompute.Snapshot)
        assert server.faults.cut_feed() == 2
        client.containers.create("box", [key])
        for events in (one, other):
            told = events.receive(LIMIT)
            assert isinstance(told, ecompute.StatusChanged)


def test_feeds_stay_cut_for_a_block(server: RunningServer, client: ecompute.Client) -> None:
    """As a context manager it keeps every feed away until the end of the block."""
    with client.events() as events:
        assert isinstance(events.receive(LIMIT), ecompute.Snapshot)
        with server.faults.cut_feed() as cut:
            assert cut == 1
            with pytest.raises(ecompute.ConnectError), client.events():
                pass
    with client.events() as events:
        assert isinstance(events.receive(LIMIT), ecompute.Snapshot)


def test_a_boot_fails_for_a_reason(server: RunningServer, client: ecompute.Client, key: int) -> None:
    """The next container is failed with the reason that was given, the one behind it runs."""
    server.faults.fail_boot("It burnt.")
    broken = client.containers.create("broken", [key])
    with pytest.raises(ecompute.ContainerFailed) as caught:
        client.containers.wait(broken.id, "running", timeout=LIMIT)
    assert caught.value.reason == "It burnt."
    sound = client.containers.create("sound", [key])
    assert client.containers.wait(sound.id, "running", timeout=LIMIT).status == "running"


def test_a_slow_boot_takes_its_time(server: RunningServer, client: ecompute.Client, key: int) -> None:
    """A container that boots slowly is on its way until then; faults that were taken away do not come."""
    with server.faults.slow_boot(3600, times=None):
        slow = client.containers.create("slow", [key])
        other = client.containers.create("slow as well", [key])
        with pytest.raises(ecompute.DeadlineExceeded):
            client.containers.wait(other.id, "running", timeout=0.5)
    quick = client.containers.create("quick", [key])
    client.containers.wait(quick.id, "running", timeout=LIMIT)
    assert client.containers.get(slow.id).status in ("pending", "initializing")


def test_chances_are_drawn_from_the_seed(server: RunningServer) -> None:
    """The same seed, calls and requests lead to the same faults, and another seed to others."""

    def statuses(seed: int) -> list[int]:
        with running_server() as fresh:
            fresh.faults.seed = seed
            fresh.faults.refuse(503, chance=0.5, times=None)
            return [raw(fresh).status_code for _ in range(24)]

    first = statuses(1)
    assert set(first) == {200, 503}
    assert statuses(1) == first
    assert statuses(2) != first
    # a test that fails shows it
    server.faults.refuse(503)
    raw(server)
    assert f"seed {server.faults.seed}" in repr(server)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda faults: faults.refuse(503, times=0), "times"),
        (lambda faults: faults.refuse(503, chance=1.5), "chance"),
        (lambda faults: faults.refuse(503, "nothing"), "names no single operation"),
    ],
)
def test_what_makes_no_sense_is_refused(
    server: RunningServer, wrong: Callable[[Faults], None], told: str
) -> None:
    """A fault that could never come is no fault."""
    with pytest.raises(ValueError, match=told):
        wrong(server.faults)
    assert raw(server).status_code == 200


def test_clearing(server: RunningServer) -> None:
    """No fault comes after all were taken away; taking one away again is no fault."""
    fault = server.faults.refuse(503, times=None)
    server.faults.clear()
    fault.remove()
    assert raw(server).status_code == 200


def test_only_here(tmp_path: Path) -> None:
    """A server in a process of its own has no faults to put on, and says so."""
    with running_server(in_process=False) as server, pytest.raises(RuntimeError, match="in this process"):
        _ = server.faults.history


def test_a_state_that_is_kept_is_as_durable_as_ever(tmp_path: Path) -> None:
    """Only a state that ends with its block is written without waiting for the disk."""
    with running_server(state=tmp_path) as server:
        first = server.user_id
    with running_server(state=tmp_path) as server:
        assert server.user_id == first
