"""A process with one libvirt driver in it, told what to do by JSON lines: the real-guest tests' other half.

A driver needs a process of its own (a mount namespace, libvirt's thread, a root that is opened once), and a
test needs to see it end. Reads `{"id": 1, "do": "start", ...}` and answers `{"id": 1, "ok": ...}` or
`{"id": 1, "error": [class, sentence]}`; facts come between as `{"fact": [container, generation, kind,
reason]}`. Ends, guests running on, when its input does.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from ecompute_server.hypervisor.checks import CHECKS, FIRST, SECOND, Bench
from ecompute_server.hypervisor.interface import Fact, Hypervisor, Identity, MachineSpec
from ecompute_server.hypervisor.libvirt import LibvirtHypervisor, LibvirtSettings, prepare_process
from ecompute_server.hypervisor.libvirt.network.interface import Mode
from ecompute_server.images.catalogue import Catalogue

_KEY = """\
-----BEGIN OPENSSH PRIVATE KEY-----
b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW
QyNTUxOQAAACA0Pas0M8GHOdxdAUKlDpROp+Ys8QZyJYMbtFNiTq5djwAAAJg9x87LPcfO
ywAAAAtzc2gtZWQyNTUxOQAAACA0Pas0M8GHOdxdAUKlDpROp+Ys8QZyJYMbtFNiTq5djw
AAAEAkRKU/VG7G4TCS/IXhAGP9ybfQK6z8gBmI3c+25Nvt/TQ9qzQzwYc53F0BQqUOlE6n
5izxBnIlgxu0U2JOrl2PAAAAFGxpYnZpcnQgZHJpdmVyIHRlc3RzAQ==
-----END OPENSSH PRIVATE KEY-----
"""
"""Made for these tests, used nowhere else; also the key that may log in."""

_PUBLIC_KEY = (
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDQ9qzQzwYc53F0BQqUOlE6n5izxBnIlgxu0U2JOrl2P libvirt driver tests"
)


def spec_of(
    container: str, generation: int, arch: str, *, image: str = "micro", hostname: str = "guest", **more: Any
) -> MachineSpec:
    return MachineSpec(
        container_id=container,
        generation=generation,
        arch=arch,
        vcpus=more.get("vcpus", 1),
        cpu_share=more.get("cpu_share", 1.0),
        memory_mb=more.get("memory_mb", 512),
        storage_gb=more.get("storage_gb", 2),
        image=image,
        identity=Identity(
            hostname=hostname,
            machine_id="0123456789abcdef0123456789abcdef",
            host_key=more.get("host_key", _KEY),
            authorized_keys=tuple(more.get("authorized_keys", (_PUBLIC_KEY,))),
            mount_paths=tuple(more.get("mount_paths", ("/root",))),
        ),
    )


class Child:
    def __init__(self, settings: LibvirtSettings, arch: str) -> None:
        self.settings = settings
        self.arch = arch
        self.hypervisor = LibvirtHypervisor(settings)

    async def serve(self) -> None:
        reader = asyncio.StreamReader(limit=1 << 20)
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        tasks: set[asyncio.Task[None]] = set()
        async for line in reader:
            task = asyncio.create_task(self.handle(json.loads(line)))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await asyncio.gather(*tasks)
        await self.hypervisor.close()

    async def handle(self, request: dict[str, Any]) -> None:
        number, verb = request.pop("id"), request.pop("do")
        try:
            say(id=number, ok=await getattr(self, f"do_{verb}")(**request))
        except Exception as error:
            say(id=number, error=[type(error).__name__, str(error)])

    async def do_open(self) -> None:
        await self.hypervisor.open(tell)

    async def do_close(self) -> None:
        await self.hypervisor.close()

    async def do_machines(self) -> list[list[Any]]:
        return [[m.container_id, m.generation] for m in await self.hypervisor.machines()]

    async def do_start(self, container: str, generation: int, arch: str | None = None, **more: Any) -> None:
        await self.hypervisor.start(spec_of(container, generation, arch or self.arch, **more))

    async def do_stop(self, container: str, grace: float) -> None:
        await self.hypervisor.stop(container, grace=grace)

    async def do_delete(self, container: str) -> None:
        await self.hypervisor.delete(container)

    async def do_console(self, container: str, **more: Any) -> str:
        return await self.hypervisor.console_tail(container, **more)

    async def do_probe(self) -> list[list[str]]:
        return [[f.check, f.severity, f.detail, f.remedy] for f in await self.hypervisor.probe()]

    async def do_exchange(self, container: str, port: int, send: str = "", until: str = "\n") -> str:
        """What a new connection says up to `until`, or up to its end."""
        loop, heard = asyncio.get_running_loop(), b""
        with await self.hypervisor.connect(container, port) as connection:
            await loop.sock_sendall(connection, send.encode())
            while until.encode() not in heard and (more := await loop.sock_recv(connection, 4096)):
                heard += more
        return heard.decode(errors="replace")

    async def do_run(self, container: str, command: str) -> str:
        """What a command in the guest prints, its errors too."""
        return await run(self.hypervisor, container, command)

    async def do_clean(self) -> None:
        """Deletes what a check that failed left behind."""
        hypervisor = LibvirtHypervisor(self.settings)
        await hypervisor.open(lambda fact: None)
        for container in (FIRST, SECOND):
            await hypervisor.delete(container)
        await hypervisor.close()

    async def do_check(self, name: str) -> None:
        """One of the checks that every driver passes."""
        check = next(each for each in CHECKS if each.__name__ == name)
        await check(
            Bench(
                make=lambda: LibvirtHypervisor(self.settings),
                spec=lambda container, generation: spec_of(container, generation, self.arch),
                write=write,
                deadline=60,
            )
        )


async def run(hypervisor: Hypervisor, container: str, command: str) -> str:
    import asyncssh

    async with asyncssh.connect(
        sock=await hypervisor.connect(container, 22),
        username="root",
        known_hosts=None,
        config=None,
        client_keys=[asyncssh.import_private_key(_KEY)],
    ) as connection:
        done = await connection.run(command, stderr=asyncssh.STDOUT)
        return str(done.stdout)


async def write(hypervisor: Hypervisor, container: str, path: str, size: int) -> None:
    said = await run(hypervisor, container, f"head -c {size} /dev/urandom >{path}")
    assert said == "", said


def tell(fact: Fact) -> None:
    say(fact=[fact.container_id, fact.generation, fact.kind, fact.reason])


def say(**message: Any) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--state", type=Path, required=True)
    arguments.add_argument("--images", type=Path, required=True)
    arguments.add_argument("--arch", default="amd64")
    arguments.add_argument("--uri", default="embed")
    arguments.add_argument("--outbound")
    arguments.add_argument("--walls", type=Mode)
    given = arguments.parse_args()
    settings = LibvirtSettings(
        state=given.state,
        find_image=Catalogue(given.images).find,
        uri=given.uri,
        outbound=given.outbound,
        walls=given.walls,
    )
    prepare_process(settings)
    asyncio.run(Child(settings, given.arch).serve())


if __name__ == "__main__":
    main()
