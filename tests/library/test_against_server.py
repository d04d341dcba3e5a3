"""Both clients against the real server on the simulated host: the whole surface, from end to end."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from types import FrameType
from typing import Any

import anyio
import pytest

import ecompute
from ecompute import Grants, Scope
from ecompute_server.testing import RunningServer, running_server

from .fake_server import LIMIT
from .test_watch import reading

pytestmark = pytest.mark.anyio

Connect = Callable[..., Any]


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    """One server for all of these."""
    with running_server() as running:
        yield running


@pytest.fixture
async def client(server: RunningServer, connect: Connect) -> AsyncIterator[Any]:
    """A client of the kind, with a session."""
    async with connect(server.url, token=server.token) as made:
        yield made


async def test_ssh_access(client: Any) -> None:
    """Off until it is switched on; the container tells the same."""
    async with client.temporary() as box:
        assert not (await client.ssh_access.get(box.id)).ssh_enabled
        assert (await client.ssh_access.set(box.id, True)).ssh_enabled
        assert (await client.containers.get(box.id)).ssh_enabled
        assert not (await client.ssh_access.set(box.id, False)).ssh_enabled
        with pytest.raises(ecompute.NotFound):
            await client.ssh_access.get("nonesuch")


async def test_ingress(client: Any) -> None:
    """Published, changed in place, listed by port, withdrawn once."""
    async with client.temporary() as box:
        first = await client.ingress.add(box.id, 8081)
        assert (first.port, first.target_port) == (8081, 8081)
        other = await client.ingress.add(box.id, 8080, target_port=3000)
        changed = await client.ingress.add(box.id, 8081, target_port=22)
        assert (changed.id, changed.target_port) == (first.id, 22)
        assert await client.ingress.list(box.id) == [other, changed]
        await client.ingress.remove(box.id, 8080)
        assert await client.ingress.list(box.id) == [changed]
        with pytest.raises(ecompute.NotFound):
            await client.ingress.remove(box.id, 8080)
        with pytest.raises(ecompute.InvalidRequest) as caught:
            await client.ingress.add(box.id, 22, target_port=70000)
        assert [fault.path for fault in caught.value.fields] == ["port", "target_port"]


async def test_mounts(client: Any) -> None:
    """A change restarts a running container; what lies under the paths is there afterwards."""
    async with client.temporary() as box:
        assert (await client.mounts.get(box.id)).mount_paths == ("/root",)
        await client.run(box.id, "echo kept > /root/f", check=True)
        changed = await client.mounts.set(box.id, ["/root", "/data"])
        assert (sorted(changed.mount_paths), changed.restarted) == (["/data", "/root"], True)
        await client.containers.wait(box.id, "running", timeout=LIMIT)
        assert (await client.run(box.id, "cat /root/f", check=True)).text == "kept\n"
        assert (await client.mounts.set(box.id, ["/data", "/root"])).restarted is False


async def test_tokens(client: Any, server: RunningServer, connect: Connect) -> None:
    """Made with a part of the rights, good for that, managed by sessions only, revoked at once."""
    boxes = Scope.parse(f"compute.{server.user_id}.containers")
    made = await client.tokens.create("reader", Grants({boxes: ["read"]}), "never")
    assert (made.expires_at, dict(made.scopes)) == (0, {str(boxes): ("read",)})
    async with connect(server.url, token=made.token) as limited:
        assert await limited.containers.list() == []
        with pytest.raises(ecompute.Forbidden) as caught:
            await limited.ssh_keys.list()
        assert caught.value.needed is not None
        with pytest.raises(ecompute.Forbidden):
            await limited.tokens.list()
        with pytest.raises(ecompute.Forbidden):
            await limited.logout()
        (listed,) = [token for token in await client.tokens.list() if token.id == made.id]
        assert (listed.name, listed.token) == ("reader", None)
        assert listed.last_used_at > 0
        await client.tokens.delete(made.id)
        with pytest.raises(ecompute.Unauthenticated):
            await limited.containers.list()
    with pytest.raises(ecompute.NotFound):
        await client.tokens.delete(made.id)
    for wrong in ({"storage.u1": ["dance"]}, {"compute.someoneelse": ["read"]}, {}):
        with pytest.raises(ecompute.InvalidRequest):
            await client.tokens.create("x", wrong)


async def test_revocation_ends_a_view(client: Any, server: RunningServer, connect: Connect) -> None:
    """What a revoked token kept up to date says so."""
    made = await client.tokens.create("watcher", {f"compute.{server.user_id}": ["read"]})
    async with connect(server.url, token=made.token) as limited, limited.watch() as view:
        assert len(reading(view)) == 0
        await client.tokens.delete(made.id)
        with pytest.raises(ecompute.Unauthenticated):
            await view.wait(lambda view: False, LIMIT)


async def test_logging_out(server: RunningServer, connect: Connect, kind: str) -> None:
    """The session ends at once, for its views too."""
    other = server.add_user(f"user-of-{kind}")
    async with connect(server.url, token=other.token) as client:
        async with client.watch() as view:
            await client.logout()
            with pytest.raises(ecompute.Unauthenticated):
                await view.wait(lambda view: False, LIMIT)
        with pytest.raises(ecompute.Unauthenticated):
            await client.session()


async def test_a_command(client: Any) -> None:
    """Output, input, exit status and what the simulated shell knows."""
    async with client.temporary(instance_type="tiny") as box:
        result = await client.run(box.id, "uname -m")
        assert (result.exit_status, result.text, result.error) == (0, "x86_64\n", b"")
        with pytest.raises(ecompute.CommandFailed) as caught:
            await client.run(box.id, "exit 3", check=True)
        assert caught.value.result.exit_status == 3
        data = bytes(range(256)) * 8 * 1024
        assert (await client.run(box.id, "cat", input=data)).output == data
        with pytest.raises(ecompute.DeadlineExceeded):
            await client.run(box.id, "sleep 1000", timeout=1)
        await client.containers.stop(box.id)
        with pytest.raises(ecompute.NotRunning):
            await client.run(box.id, "true")


async def test_a_view_of_a_life(client: Any) -> None:
    """A container comes, in full, changes and goes."""
    async with client.watch() as view:
        async with client.temporary(name="seen", memory_mb=64) as box:
            await view.wait(lambda view: box.id in view and view[box.id].status == "running", LIMIT)
            await view.wait(lambda view: view[box.id].external_ip is not None, LIMIT)
            assert (reading(view)[box.id].name, reading(view)[box.id].memory_mb) == ("seen", 64)
            await client.containers.stop(box.id)
            await view.wait(lambda view: view[box.id].status == "stopped", LIMIT)
        await view.wait(lambda view: box.id not in view, LIMIT)


async def test_nothing_temporary_is_left(client: Any) -> None:
    """Neither a container nor a key, also of one whose block has failed."""
    with pytest.raises(ZeroDivisionError):
        async with client.temporary():
            raise ZeroDivisionError
    assert await client.containers.list() == []
    assert await client.ssh_keys.list() == []


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_nothing_cancelled_is_left(server: RunningServer, anyio_backend: str) -> None:
    """So it is after a cancellation while it boots."""
    async with server.async_client() as client, client.events() as events:
        await events.receive(LIMIT)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.temporary().__aenter__)
            assert isinstance(await events.receive(LIMIT), ecompute.StatusChanged)
            tasks.cancel_scope.cancel()
        assert await client.containers.list() == []
        assert await client.ssh_keys.list() == []


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_nothing_is_left_whenever_it_is_cancelled(server: RunningServer, anyio_backend: str) -> None:
    """At dozens of moments, some with a create on its way; asyncio's own cancellations heed no shield."""
    async with server.async_client() as client:

        async def use() -> None:
            async with client.temporary():
                await anyio.sleep_forever()

        async def pass_turns(number: int) -> None:
            for _ in range(number):
                await anyio.lowlevel.checkpoint()

        for turns in range(0, 3000, 60):
            if anyio_backend == "asyncio":
                task = asyncio.create_task(use())
                await pass_turns(turns)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            else:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(use)
                    await pass_turns(turns)
                    tasks.cancel_scope.cancel()
        assert await client.containers.list() == []
        assert await client.ssh_keys.list() == []


@pytest.fixture
def interrupt_after() -> Iterator[Callable[[float], object]]:
    """Ctrl-C for the main thread, some seconds from now, once it talks to the network; 0 calls it off."""

    def interrupt_or_later(_: int, frame: FrameType | None) -> None:
        # in other places the libraries below may not be able to bear it
        if frame is not None and frame.f_code.co_qualname in ("SyncStream.read", "SyncStream.write"):
            raise KeyboardInterrupt
        signal.setitimer(signal.ITIMER_REAL, 0.0003)

    before = signal.signal(signal.SIGALRM, interrupt_or_later)
    yield lambda seconds: signal.setitimer(signal.ITIMER_REAL, seconds)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def test_nothing_is_left_whenever_it_is_interrupted(
    server: RunningServer, interrupt_after: Callable[[float], object]
) -> None:
    """The same for Ctrl-C."""
    with server.client() as client:
        for number in range(1, 41):
            with suppress(KeyboardInterrupt):
                interrupt_after(number * 0.0007)
                with client.temporary():
                    pass
            interrupt_after(0)
        assert client.containers.list() == []
        assert client.ssh_keys.list() == []
