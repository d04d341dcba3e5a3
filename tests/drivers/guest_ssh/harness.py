"""A guest that is an SSH server in this process, with commands of its own that misbehave on request."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import asyncssh
from attrs import evolve

from ecompute_server.guest.interface import Login, Stream
from ecompute_server.guest.keys import make_key_pair
from ecompute_server.guest.ssh import Limits, SSHGuests
from ecompute_server.guest.ssh.process import SSHProcess

DEADLINE = 30.0
"""Seconds within which anything ends even on a busy host."""
LOOPBACK = "127.0.0.1"

HOST, CLIENT, OTHER = make_key_pair("host@box"), make_key_pair("server@box"), make_key_pair("somebody")
LOGIN = Login("box", CLIENT.private, HOST.public)
STRANGER = evolve(LOGIN, client_key=OTHER.private)
IMPOSTOR = evolve(LOGIN, host_key=OTHER.public)

Command = Callable[[asyncssh.SSHServerProcess[bytes]], Awaitable[None]]
Session = tuple[asyncssh.SSHServerChannel[bytes], asyncssh.SSHServerSession[bytes]]
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Guest:
    """The SSH server. What happens to it can be awaited: each connection and session that it saw."""

    def __init__(self) -> None:
        self.commands: dict[str, Command] = {}
        self.sessions_allowed = 100
        self.connections: list[Connection] = []
        self.signals: asyncio.Queue[str] = asyncio.Queue()
        self.killers: list[str] = []
        self.port = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        server = await asyncssh.listen(
            LOOPBACK,
            0,
            server_factory=lambda: Connection(self),
            server_host_keys=[asyncssh.import_private_key(HOST.private)],
            authorized_client_keys=asyncssh.import_authorized_keys(CLIENT.public),
        )
        self.port = server.get_port()
        try:
            yield
        finally:
            server.close()
            for connection in self.connections:
                connection.link.abort()
            await server.wait_closed()
            await asyncio.gather(*(connection.link.wait_closed() for connection in self.connections))

    async def run(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        command = process.command or "shell"
        if "LC_ECOMPUTE_PROCESS" in command:
            # the second way to send a signal; here nothing has /proc, so the first one must follow
            self.killers.append(command)
            process.exit(1)
            return
        try:
            await self.commands[command](process)
        except asyncssh.SignalReceived as signal:
            self.signals.put_nowait(signal.signal)
            process.exit_with_signal(signal.signal)
        except (asyncssh.BreakReceived, BrokenPipeError, ConnectionError):
            pass


class Connection(asyncssh.SSHServer):
    """One connection to the guest."""

    link: asyncssh.SSHServerConnection

    def __init__(self, guest: Guest) -> None:
        self._guest = guest
        self.sessions = 0
        self.ended = asyncio.Event()

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self.link = conn
        self._guest.connections.append(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set()

    def session_requested(self) -> Session | bool:
        self.sessions += 1
        if self.sessions > self._guest.sessions_allowed:
            return False
        # a window like this is what a guest may announce, too
        channel = self.link.create_server_channel(encoding=None, window=1 << 30)
        return channel, asyncssh.SSHServerProcess(self._guest.run, None, 3, False)


class Bench:
    """The guest, and the way into it."""

    def __init__(self, guest: Guest, guests: SSHGuests) -> None:
        self.guest = guest
        self.guests = guests

    async def open(self, command: str | None = None, login: Login = LOGIN) -> SSHProcess:
        process = await self.guests.open(login, command=command, terminal=None)
        assert isinstance(process, SSHProcess)
        return process


@asynccontextmanager
async def bench(limits: Limits | None = None) -> AsyncIterator[Bench]:
    """A guest that runs; at the end no task is left."""
    before = asyncio.all_tasks()
    guest = Guest()

    async def connect(container_id: str, port: int) -> socket.socket:
        assert port == 22
        if container_id != LOGIN.container_id:
            raise LookupError(container_id)
        return await connection_to(guest.port)

    guests = SSHGuests(connect, limits=limits)
    async with asyncio.timeout(DEADLINE), guest.running():
        try:
            yield Bench(guest, guests)
        finally:
            await guests.close()
    assert asyncio.all_tasks() == before


@asynccontextmanager
async def something_else(talk: Talk, limits: Limits | None = None) -> AsyncIterator[SSHGuests]:
    """The way into a guest in which no SSH server, or an odd one, stands on the port."""
    async with asyncio.timeout(DEADLINE):
        ended = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await talk(reader, writer)
            except ConnectionError:
                pass
            finally:
                writer.close()
                ended.set()

        server = await asyncio.start_server(serve, LOOPBACK, 0)

        async def connect(container_id: str, port: int) -> socket.socket:
            return await connection_to(server.sockets[0].getsockname()[1])

        guests = SSHGuests(connect, limits=limits)
        try:
            yield guests
        finally:
            await guests.close()
            server.close()
            await ended.wait()


async def connection_to(port: int) -> socket.socket:
    connection = socket.socket()
    connection.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(connection, (LOOPBACK, port))
    except BaseException:
        connection.close()
        raise
    return connection


async def all_output(process: SSHProcess) -> bytes:
    """Everything on the first stream, to its end."""
    output = b""
    while (piece := await process.read()) is not None:
        assert piece[0] is Stream.OUTPUT
        output += piece[1]
    return output


async def turns(count: int = 500) -> None:
    """Let everything that is ready on the loop happen."""
    for _ in range(count):
        await asyncio.sleep(0)
