"""What a type checker knows of the async client."""

from __future__ import annotations

from typing import assert_type

import ecompute
from ecompute import (
    AsyncClient,
    AsyncContainer,
    CommandResult,
    IngressRule,
    Mounts,
    Session,
    SSHAccess,
    SSHKey,
    Token,
)


async def makes(client: AsyncClient) -> None:
    assert_type(AsyncClient("token", "https://compute.example.org"), AsyncClient)
    assert_type(client.with_options(timeout=3), AsyncClient)
    assert_type(await ecompute.login_async("https://compute.example.org", "ann", "secret"), Session)
    assert_type(await client.session(), Session)
    assert_type(client.stats.retries, int)
    async with client as entered:
        assert_type(entered, AsyncClient)


async def operations(client: AsyncClient, box: AsyncContainer, key: SSHKey, token: Token) -> None:
    assert_type(await client.containers.list(), list[AsyncContainer])
    assert_type(await client.containers.create("name", [1, key], wait=True), AsyncContainer)
    for one in (box, box.id):
        assert_type(await client.containers.get(one), AsyncContainer)
        assert_type(await client.containers.start(one), AsyncContainer)
        assert_type(await client.containers.stop(one), AsyncContainer)
        assert_type(await client.containers.wait(one), AsyncContainer)
        await client.containers.delete(one)
    assert_type(await client.containers.wait_all([box, "abc12345"]), list[AsyncContainer])
    assert_type(await client.ssh_keys.list(), list[SSHKey])
    assert_type(await client.ssh_keys.add("name", "ssh-ed25519 AAAA"), SSHKey)
    await client.ssh_keys.delete(key)
    assert_type(await client.ssh_access.set(box, True), SSHAccess)
    assert_type(await client.ingress.list(box), list[IngressRule])
    assert_type(await client.mounts.set(box, ["/srv"]), Mounts)
    assert_type(await client.tokens.create("name", {"compute.<uid>": ["read"]}), Token)
    await client.tokens.delete(token)


async def acting(box: AsyncContainer) -> None:
    assert_type(await box.refresh(), AsyncContainer)
    assert_type(await box.start(wait=True), AsyncContainer)
    assert_type(await box.run("uname -m"), CommandResult)
    assert_type(await box.list_ingress(), list[IngressRule])
    async with box.terminal() as terminal:
        assert_type(terminal, ecompute.AsyncTerminal)
    await box.delete()


async def takes_its_time(data: bytes) -> None: ...


async def conversations(client: AsyncClient, box: AsyncContainer) -> None:
    async with client.events() as events:
        assert_type(await events.receive(timeout=1), ecompute.Event[AsyncContainer])
        async for event in events:
            if isinstance(event, ecompute.Snapshot):
                assert_type(event.containers, tuple[AsyncContainer, ...])
    async with client.watch() as view:
        assert_type(view["abc12345"], AsyncContainer)
    async with client.terminal(box) as terminal:
        async for piece in terminal:
            assert_type(piece, bytes)
    async with client.temporary() as container:
        assert_type(container, AsyncContainer)
    assert_type(await client.run(box, "make", on_output=takes_its_time, on_error=print), CommandResult)
