"""A server that is asked too much, and somebody else who is not to notice."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import httpx
import pytest
from wsproto.events import Ping, Pong

from ecompute_server.testing import RunningServer, running_server
from tests.server.http.peers import PATIENCE, ROWS_BY_NAME, bearer, connected, head, read_answer, valid
from tests.server.http.wire import Wire


class Bystander:
    """Another client, on a connection of its own that was there before."""

    def __init__(self, server: RunningServer) -> None:
        self._server = server
        self._feed = Wire(server, "/compute/ws")

    def notices_nothing(self) -> bool:
        """Whether the old connection answers as ever, and a new one does."""
        self._feed.control(Ping())
        while isinstance(told := self._feed.receive(), str):
            pass
        with connected(self._server) as link:
            link.sendall(head("GET", "/compute/containers", token=self._server.token))
            return isinstance(told, Pong) and "containers" in read_answer(link).body

    def close(self) -> None:
        self._feed.leave()


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    """One server for all tests here."""
    with running_server(max_containers_per_user=1000) as running:
        yield running


@pytest.fixture(scope="module")
def box(server: RunningServer) -> str:
    """The id of a running container."""
    with server.client() as client:
        key = client.ssh_keys.add("k", valid(ROWS_BY_NAME["ssh_keys.add"])["public_key"])
        made = client.containers.create("box", ssh_key_ids=[key.id])
        client.containers.wait(made.id, "running", timeout=PATIENCE)
        return made.id


@pytest.fixture(autouse=True)
def others_notice_nothing(server: RunningServer, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """After each test here: who was connected before is served, and the server logged no failure."""
    bystander = Bystander(server)
    try:
        assert bystander.notices_nothing()
        yield
        assert bystander.notices_nothing()
    finally:
        bystander.close()
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


@pytest.fixture(scope="module")
def mine(server: RunningServer) -> Iterator[httpx.Client]:
    """A client with the first user's session."""
    with httpx.Client(base_url=server.url, headers=bearer(server.token)) as client:
        yield client
