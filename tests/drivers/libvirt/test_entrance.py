"""Sockets carried out of a namespace of this test's own, without any guest."""

from __future__ import annotations

import asyncio
import os
import select
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ecompute_server.hypervisor.interface import HypervisorError
from ecompute_server.hypervisor.libvirt.network.entrance import Entrance
from ecompute_server.hypervisor.libvirt.network.handle import Handle

from .harness import DEADLINE, processes_of

LISTENER = """\
import socket, sys
with socket.create_server(("127.0.0.1", 7)) as server:
    print("in", flush=True)
    while True:
        server.accept()[0].sendall(b"inside")
"""


@pytest.fixture
def inside() -> Iterator[int]:
    """A process in a private network namespace that listens on port 7 there."""
    if subprocess.run(["unshare", "-rn", "true"], capture_output=True).returncode != 0:
        pytest.skip("this host allows no user namespaces")
    script = f"ip link set lo up; exec python3 -I -S -c '{LISTENER}'"
    process = subprocess.Popen(["unshare", "-rn", "sh", "-c", script], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"in\n"
    yield process.pid
    process.kill()
    process.wait()
    process.stdout.close()


def helpers_of(pid: int) -> set[int]:
    return {helper for helper in processes_of("send_fds") if _enters(helper, pid)}


def _enters(helper: int, pid: int) -> bool:
    try:
        return Path(f"/proc/{helper}/ns/net").readlink() == Path(f"/proc/{pid}/ns/net").readlink()
    except OSError:
        return False


def test_sockets_are_of_the_other_namespace_and_the_helper_ends_with_the_entrance(inside: int) -> None:
    async def scene() -> set[int]:
        loop, entrance = asyncio.get_running_loop(), Entrance(Handle(inside))
        made = await asyncio.gather(*(entrance.socket() for _ in range(20)))
        for each in made:
            await loop.sock_connect(each, ("127.0.0.1", 7))
            assert await loop.sock_recv(each, 6) == b"inside"
            each.close()
        helpers = helpers_of(inside)
        assert len(helpers) == 1
        await entrance.close()
        with pytest.raises(HypervisorError):
            await entrance.socket()
        return helpers

    [helper] = asyncio.run(scene())
    assert not Path(f"/proc/{helper}").exists()


def test_an_idle_helper_ends_by_itself_and_comes_back_when_needed(inside: int) -> None:
    async def scene() -> None:
        entrance = Entrance(Handle(inside), idle=0.01)
        (await entrance.socket()).close()
        for helper in helpers_of(inside):
            watch = os.pidfd_open(helper)
            ended = await asyncio.to_thread(select.select, [watch], [], [], DEADLINE)
            os.close(watch)
            assert ended[0]
        (await entrance.socket()).close()
        await entrance.close()

    asyncio.run(scene())


def test_a_namespace_that_is_gone_cannot_be_entered() -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()

    async def scene() -> None:
        entrance = Entrance(Handle(process.pid))
        with pytest.raises(HypervisorError, match="cannot be entered"):
            await entrance.socket()
        await entrance.close()

    asyncio.run(scene())
