"""The server without a network, for unit tests of programs."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import anyio
import httpx
import pytest

import ecompute
from ecompute_server.testing import in_process_client, in_process_server

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIw4MMLcdHldkzU4zV+PTyjxEW76OFXj6mMww2EamFgm"


@pytest.fixture
def client() -> Iterator[ecompute.Client]:
    with in_process_client() as client:
        yield client


def test_a_program_does_all_it_does_elsewhere(client: ecompute.Client) -> None:
    """Creating, waiting by events, commands, files and deleting."""
    key = client.ssh_keys.add("laptop", KEY)
    box = client.containers.create("web", ssh_key_ids=[key], wait=True)
    assert box.status == "running"
    assert box.run("echo hello; exit 3").exit_status == 3
    assert client.run(box, "cat", input=b"\0\r\n\xff" * 50_000).output == b"\0\r\n\xff" * 50_000
    with client.watch() as view:
        assert list(view) == [box.id]
        client.containers.delete(box)
    assert client.containers.list() == []


def test_no_address_is_used(client: ecompute.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither side binds or connects a socket."""

    def refuse(*arguments: object) -> None:
        raise AssertionError(arguments)

    for name in ("bind", "connect", "connect_ex", "listen"):
        monkeypatch.setattr(socket.socket, name, refuse)
    assert client.session().username == "alice"
    with client.events() as events:
        assert next(iter(events)).containers == ()  # type: ignore[union-attr]


def test_errors_are_those_of_the_api(client: ecompute.Client) -> None:
    """What a server refuses is refused, before an upgrade as well."""
    with pytest.raises(ecompute.NotFound):
        client.containers.get("zzzzzzzz")
    with pytest.raises(ecompute.NotFound), client.terminal("zzzzzzzz"):
        pass


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_asynchronous_clients_on_both_loops(backend: str) -> None:
    """The twin does the same, with more output than the pair of sockets holds."""

    async def program() -> None:
        with in_process_server() as server:
            async with server.async_client() as client:
                key = await client.ssh_keys.add("laptop", KEY)
                box = await client.containers.create("web", ssh_key_ids=[key], wait=True)
                done = await box.run("head -c 3000000 /dev/zero")
                assert done.output == bytes(3_000_000)

    anyio.run(program, backend=backend)


def test_users_and_tokens() -> None:
    """Several users see their own things, and a token what it grants."""
    with in_process_server() as server:
        bob = server.add_user("bob")
        token = server.api_token({"compute.<uid>.keys": ["read"]})
        with server.client() as alice, server.client(bob.token) as other, server.client(token) as narrow:
            alice.ssh_keys.add("laptop", KEY)
            assert other.ssh_keys.list() == []
            assert [key.name for key in narrow.ssh_keys.list()] == ["laptop"]
            with pytest.raises(ecompute.Forbidden):
                narrow.containers.list()


def test_httpx_itself() -> None:
    """A program that knows no library of ours uses the transport."""
    with (
        in_process_server() as server,
        httpx.Client(transport=server.transport(), base_url=server.url) as http,
    ):
        assert http.get("/compute/containers").status_code == 401
        answer = http.get("/compute/containers", headers={"Authorization": f"Bearer {server.token}"})
        assert answer.json() == {"containers": []}
