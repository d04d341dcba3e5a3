"""Guests that are servers on this host's loopback, and visitors who come through the gateway."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from ecompute.contract.catalog import HTTPS_PORT
from ecompute_server.gateway.limits import Limits
from ecompute_server.gateway.listeners import ListeningGateway, SharedListener
from ecompute_server.gateway.tls.authority import Authority
from ecompute_server.gateway.tls.certificates import MadeCertificates

DEADLINE = 30.0
"""Seconds within which anything ends even on a busy host."""
LOOPBACK = "127.0.0.1"
DOMAIN = "compute.localhost"

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def reset(writer: asyncio.StreamWriter) -> None:
    """Ends a connection as a peer that died does."""
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Gives back what comes, to its end."""
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


class Fleet:
    """What the gateway leads into: servers by container and port, and all connections made to them."""

    def __init__(self) -> None:
        self.made: list[socket.socket] = []
        self.asked = 0
        self._ports: dict[tuple[str, int], int] = {}
        self._servers: list[asyncio.Server] = []
        self._talks: set[asyncio.Task[None]] = set()

    async def serve(self, container_id: str, port: int, handler: Handler) -> None:
        """Have `handler` answer on a port of a guest."""

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._talks.add(task)
            try:
                await handler(reader, writer)
            except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                pass
            finally:
                self._talks.discard(task)
                writer.close()

        server = await asyncio.start_server(talk, LOOPBACK, 0, backlog=512)
        self._servers.append(server)
        self._ports[container_id, port] = server.sockets[0].getsockname()[1]

    async def connect(self, container_id: str, port: int) -> socket.socket:
        """What a hypervisor's `connect` does. Ports without a server refuse."""
        self.asked += 1
        connection = socket.socket()
        connection.setblocking(False)
        try:
            target = self._ports.get((container_id, port)) or free_port()
            await asyncio.get_running_loop().sock_connect(connection, (LOOPBACK, target))
        except BaseException:
            connection.close()
            raise
        self.made.append(connection)
        return connection

    async def close(self) -> None:
        for server in self._servers:
            server.close()
        for talk in list(self._talks):
            talk.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)


class Place:
    """A gateway before a fleet."""

    def __init__(self, fleet: Fleet, gateway: ListeningGateway, port_offset: int, keys: Path) -> None:
        self.fleet = fleet
        self.gateway = gateway
        self.port_offset = port_offset
        self._keys = keys

    async def publish(self, handler: Handler, *, container_id: str = "box", target: int = 80) -> int:
        """A new guest server behind a new port; the port."""
        await self.fleet.serve(container_id, target, handler)
        port = free_port()
        await self.gateway.publish(container_id, LOOPBACK, port, target)
        return port

    async def publish_site(
        self, handler: Handler, *, container_id: str = "box", target: int = 80, address: str = LOOPBACK
    ) -> int:
        """A new guest server behind HTTPS; the port on the container's address."""
        await self.fleet.serve(container_id, target, handler)
        await self.gateway.publish(container_id, address, HTTPS_PORT, target)
        return HTTPS_PORT + self.port_offset

    @property
    def trusting(self) -> ssl.SSLContext:
        """What a visitor has who trusts this gateway's authority and nobody else."""
        root = Authority.open(self._keys, DOMAIN).root_pem
        return ssl.create_default_context(cadata=root)


def new_gateway(
    fleet: Fleet, keys: Path, port_offset: int = 0, limits: Limits | None = None
) -> ListeningGateway:
    """A gateway before a fleet, not open yet; its authority lies in `keys`."""
    return ListeningGateway(
        fleet.connect,
        certificates=MadeCertificates(keys, DOMAIN),
        domain=DOMAIN,
        port_offset=port_offset,
        shared=SharedListener(LOOPBACK, 0, required=True),
        limits=limits,
    )


@asynccontextmanager
async def place(limits: Limits | None = None, *, port_offset: int = 0) -> AsyncIterator[Place]:
    """Closed at the end, when no task and no socket of the gateway may be left."""
    before = asyncio.all_tasks()
    fleet = Fleet()
    with tempfile.TemporaryDirectory() as keys:
        gateway = new_gateway(fleet, Path(keys), port_offset, limits)
        async with asyncio.timeout(DEADLINE):
            try:
                await gateway.open()
                yield Place(fleet, gateway, port_offset, Path(keys))
            finally:
                await gateway.close()
                await fleet.close()
            assert all(connection.fileno() == -1 for connection in fleet.made)
            left = {task for task in asyncio.all_tasks() - before if "gateway" in repr(task)}
            assert left == set()


@asynccontextmanager
async def visit(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A visitor's connection, ended at the end."""
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def is_turned_away(port: int) -> bool:
    """Whether a visitor's connection ends without a byte; that may be before it even knows it as open."""
    try:
        async with visit(port) as (reader, _):
            return await reader.read() == b""
    except ConnectionError:
        return True


async def until(condition: Callable[[], bool]) -> None:
    """Let things happen until the condition holds; the deadline of the place ends a wait in vain."""
    while not condition():  # noqa: ASYNC110 - what is waited for has no event of its own
        await asyncio.sleep(0)


async def turns(count: int = 200) -> None:
    """Let everything that is ready on the loop happen."""
    for _ in range(count):
        await asyncio.sleep(0)
