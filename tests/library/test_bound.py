"""Containers that can act: values with a client behind them."""

from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest

import ecompute
from ecompute.contract import codec, resources

from .fake_server import FakeServer, Request

pytestmark = pytest.mark.anyio

Serve = Callable[..., FakeServer]
Connect = Callable[..., Any]

BOX = {"id": "a", "name": "a", "status": "running", "memory_mb": 512, "colour": "green"}


def handle(request: Request) -> None:
    if request.target == "/compute/containers" and request.method == "GET":
        request.answer({"containers": [BOX]})
    elif request.target.endswith("/ingress") and request.method == "GET":
        request.answer({"rules": []})
    elif request.target.endswith("/ingress"):
        request.answer({"id": 1, "port": 8080, "target_port": 80})
    elif request.target.endswith("/ssh"):
        request.answer({"ssh_enabled": True})
    elif request.target.endswith("/mounts"):
        request.answer({"mount_paths": ["/root"]})
    elif request.method == "DELETE":
        request.answer({"status": "ok"})
    else:
        request.answer(BOX)


async def test_a_container_acts(serve: Serve, kind: str) -> None:
    """Each method is the client's operation on it; acting changes no value that is there already."""
    server = serve(handle)

    async def do(result: Any) -> Any:
        return result if kind == "sync" else await result

    if kind == "sync":
        client: Any = ecompute.Client("t", server.url, verify=False)
    else:
        client = ecompute.AsyncClient("t", server.url, verify=False)
    (box,) = await do(client.containers.list())
    before = copy.copy(box)
    for method in (box.start, box.stop, box.refresh):
        assert await do(method()) == box
    assert await do(box.set_ssh_access(True)) == await do(box.get_ssh_access()) == ecompute.SSHAccess(True)
    assert await do(box.set_mounts(["/root"])) == await do(box.get_mounts())
    assert await do(box.list_ingress()) == []
    assert (await do(box.add_ingress(8080, 80))).target_port == 80
    assert await do(box.remove_ingress(8080)) is None
    assert await do(box.delete()) is None
    assert box == before
    await do(client.close() if kind == "sync" else client.aclose())
    path = "/compute/containers/a"
    assert [(r.method, r.target.removeprefix(path)) for r in server.seen[1:]] == [
        ("POST", "/start"),
        ("POST", "/stop"),
        ("GET", ""),
        ("PUT", "/ssh"),
        ("GET", "/ssh"),
        ("PUT", "/mounts"),
        ("GET", "/mounts"),
        ("GET", "/ingress"),
        ("POST", "/ingress"),
        ("DELETE", "/ingress/8080"),
        ("DELETE", ""),
    ]


async def test_it_is_a_value(serve: Serve, connect: Connect) -> None:
    """It compares by value, also with plain ones, hashes, pickles, and keeps what a newer server tells."""
    async with connect(serve(handle)) as client:
        box = await client.containers.get("a")
        again = await client.containers.get("a")
    plain = resources.Container("a", "a", "running", memory_mb=512, extra={"colour": "green"})
    assert box == again == plain
    assert plain == box
    assert len({box, again, plain}) == 1
    assert box.extra == {"colour": "green"}
    assert box != attrs.evolve(plain, status="stopped")
    assert box != "a"
    travelled = pickle.loads(pickle.dumps(box))
    assert (travelled, type(travelled)) == (box, type(box))
    with pytest.raises(ecompute.Closed, match="came without a client"):
        travelled.terminal()
    assert "status='running'" in repr(box)
    assert "t0ken" not in repr(box)


async def test_it_stands_for_its_id(serve: Serve, connect: Connect) -> None:
    """Wherever a container, a key or a token is named; the wrong kind of thing is refused."""
    server = serve(lambda r: r.answer({"status": "ok"}))
    key, token = ecompute.SSHKey(7, "k", "ssh-ed25519 A"), ecompute.Token("t1", "ci", {})
    box = resources.Container("a", "a", "running")
    async with connect(server) as client:
        await client.containers.delete(box)
        await client.ssh_keys.delete(key)
        await client.tokens.delete(token)
        await client.ingress.remove(box, 80)
        for wrong in (key, token):
            with pytest.raises(ecompute.InvalidArgument):
                await client.containers.delete(wrong)
    assert [r.target for r in server.seen] == [
        "/compute/containers/a",
        "/compute/ssh-keys/7",
        "/api/tokens/t1",
        "/compute/containers/a/ingress/80",
    ]


@pytest.mark.parametrize("given", [7, [7], (ecompute.SSHKey(7, "k", "x"),), ecompute.SSHKey(7, "k", "x")])
async def test_keys_of_a_create(serve: Serve, connect: Connect, given: Any) -> None:
    """One or several, by id or by themselves."""
    server = serve(handle)
    async with connect(server) as client:
        await client.containers.create("a", given)
        for bad in (True, "7", [True], [None], None):
            with pytest.raises(ecompute.InvalidArgument):
                await client.containers.create("a", bad)
    assert [r.json()["ssh_key_ids"] for r in server.seen] == [[7]]


async def test_a_key_from_a_file(serve: Serve, connect: Connect, tmp_path: Path) -> None:
    """The line in it is sent; a private key never is."""
    server = serve(lambda r: r.answer({"id": 7, "name": "k", "public_key": "ssh-ed25519 AAAA me"}))
    file = tmp_path / "id.pub"
    file.write_text("ssh-ed25519 AAAA me\n")
    secret = tmp_path / "id"
    secret.write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n")
    large = tmp_path / "large"
    large.write_bytes(b"x" * 100_000)
    async with connect(server) as client:
        await client.ssh_keys.add("k", file)
        for bad in (secret, secret.read_text(), large, tmp_path, tmp_path / "none"):
            with pytest.raises(ecompute.InvalidArgument):
                await client.ssh_keys.add("k", bad)
    assert [r.json()["public_key"] for r in server.seen] == ["ssh-ed25519 AAAA me"]


async def test_their_json_is_the_apis(serve: Serve, connect: Connect) -> None:
    """As that of a container that cannot act: alone, in a list, within an answer."""
    async with connect(serve(handle)) as client:
        (box,) = await client.containers.list()
    plain = codec.structure(BOX, resources.Container)
    assert isinstance(box, ecompute.Container | ecompute.AsyncContainer)
    assert codec.unstructure(box) == codec.unstructure(plain)
    assert codec.unstructure(box).items() >= BOX.items()
    assert codec.unstructure([box]) == [codec.unstructure(plain)]
    listed = resources.ContainerList((box,))
    assert codec.unstructure(listed) == {"containers": [codec.unstructure(plain)]}


@pytest.mark.parametrize("bound", [ecompute.Container, ecompute.AsyncContainer])
def test_the_methods_take_what_the_operations_take(bound: type) -> None:
    """All but the id."""
    prefix = "Async" if bound is ecompute.AsyncContainer else ""
    client = getattr(ecompute, f"{prefix}Client")
    groups = client.__annotations__
    module = inspect.getmodule(client).__dict__  # type: ignore[union-attr]
    for name, method in vars(bound).items():
        if name.startswith("_") or not inspect.isfunction(method):
            continue
        told = (inspect.getdoc(method) or "").rpartition("as `")[2].partition("`")[0]
        group, _, verb = told.rpartition(".")
        owner = client if group == "client" else module[groups[group]]
        wanted = [*inspect.signature(getattr(owner, verb)).parameters.values()]
        given = [*inspect.signature(method).parameters.values()]
        assert given[1:] == [p for p in wanted[1:] if p.name != "id"], name
