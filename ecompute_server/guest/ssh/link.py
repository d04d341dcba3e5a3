"""`Link`: one SSH connection into one guest, shared by the processes that run there.

A handshake costs an emulated guest a third of a second, so the connection is kept while it is used, and for a
while after.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from functools import partial

import asyncssh
from attrs import field, frozen

from ecompute_server.guest.interface import GuestError, Login, Terminal
from ecompute_server.guest.ssh.errors import FOREIGN, sentence
from ecompute_server.guest.ssh.limits import READ, WINDOW, Limits
from ecompute_server.guest.ssh.pressure import Pressure
from ecompute_server.guest.ssh.process import SSHProcess
from ecompute_server.guest.ssh.signals import VARIABLE, kill_command

KEX = ["curve25519-sha256", "curve25519-sha256@libssh.org"]
"""No key exchange against quantum computers: it is the dearest there is for an emulated guest, and the bytes
never leave this host."""
CIPHERS = ["chacha20-poly1305@openssh.com", "aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr"]
MACS = ["hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com", "umac-128-etm@openssh.com"]
HOST_KEYS = ["ssh-ed25519"]

_CLOSING = 5.0
"""Seconds for an orderly goodbye."""


class NotOpened(GuestError):
    """The guest opened no channel on this connection, so nothing was started; another one may help."""


@frozen
class Keys:
    """A login's keys as they are used. Equal ones open the same; their texts may differ."""

    host: asyncssh.SSHKey
    client: asyncssh.SSHKey = field(eq=lambda key: key.public_data, repr=False)

    @classmethod
    def of(cls, login: Login) -> Keys:
        """
        Raises:
            GuestError: a text is no key.
        """
        try:
            return cls(
                asyncssh.import_public_key(login.host_key), asyncssh.import_private_key(login.client_key)
            )
        except asyncssh.KeyImportError:
            # without its cause, which might quote the text
            raise GuestError("The keys of this container cannot be read.") from None


class _Ear(asyncssh.SSHClient):
    """Hears the end of a connection."""

    def __init__(self) -> None:
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.lost.done():
            self.lost.set_result(None)


class Link:
    """An open connection. Closes itself when nothing has used it for some time."""

    def __init__(
        self,
        container_id: str,
        connection: asyncssh.SSHClientConnection,
        lost: asyncio.Future[None],
        limits: Limits,
        gone: Callable[[Link], None],
    ) -> None:
        self.container_id = container_id
        self._gone = gone
        self._connection = connection
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._processes: set[SSHProcess] = set()
        self._opening = 0
        self._retired = False
        self._farewells: set[asyncio.Task[bool]] = set()
        self._idle: asyncio.TimerHandle | None = None
        self._pressure = Pressure(connection, limits.keepalive * limits.keepalive_count)
        lost.add_done_callback(self._lost)
        self._settle()

    @classmethod
    async def open(
        cls, container_id: str, keys: Keys, sock: socket.socket, limits: Limits, gone: Callable[[Link], None]
    ) -> Link:
        """Log in as root over a connected socket, which the link owns from now on. `gone` is called when the
        connection is closed or broken.

        Raises:
            GuestError: the guest shows another host key, refuses the key, or does not answer in time.
        """
        ear = _Ear()
        try:
            async with asyncio.timeout(limits.login):
                connection = await asyncssh.connect(
                    sock=sock,
                    client_factory=lambda: ear,
                    # nothing of this host's own SSH set-up: no files, no agent, no other way to log in
                    config=None,
                    known_hosts=([keys.host], [], []),
                    server_host_key_algs=HOST_KEYS,
                    x509_trusted_certs=None,
                    x509_trusted_cert_paths=[],
                    username="root",
                    client_keys=[keys.client],
                    client_username="root",
                    agent_path=None,
                    preferred_auth="publickey",
                    gss_host=None,
                    kex_algs=KEX,
                    encryption_algs=CIPHERS,
                    mac_algs=MACS,
                    compression_algs=["none"],
                    login_timeout=limits.login,
                    keepalive_interval=limits.keepalive,
                    keepalive_count_max=limits.keepalive_count,
                )
        except BaseException as error:
            sock.close()
            if isinstance(error, FOREIGN):
                raise GuestError(sentence(error)) from error
            raise
        return cls(container_id, connection, ear.lost, limits, gone)

    @property
    def is_open(self) -> bool:
        """Whether new processes may be tried here."""
        return not self._retired and self.is_connected

    @property
    def is_connected(self) -> bool:
        """Whether it is neither closed nor known as broken."""
        return not self._connection.is_closed()

    async def start(self, command: str | None, terminal: Terminal | None) -> SSHProcess:
        """Start a process.

        Raises:
            NotOpened: the guest opened no channel; nothing was started.
            GuestError: the guest did not start it, or broke the connection meanwhile.
        """
        process = SSHProcess(self, has_terminal=terminal is not None)
        self._opening += 1
        self._settle()
        starting = asyncio.create_task(self._create(process, command, terminal))
        try:
            async with asyncio.timeout(self._limits.login):
                await asyncio.shield(starting)
        except FOREIGN as error:
            starting.add_done_callback(partial(self._abandoned, process))
            kind = GuestError if process.has_channel else NotOpened
            raise kind(sentence(error)) from error
        except asyncio.CancelledError:
            # asyncssh would leave the channel open, and the guest a process that nobody reads
            starting.add_done_callback(partial(self._abandoned, process))
            raise
        finally:
            self._opening -= 1
            self._settle()
        return process

    def retire(self) -> None:
        """Take no new processes, and close with the last one that runs."""
        self._retired = True
        self._settle()

    def hang_up(self) -> None:
        """Close at once; the processes are lost. Safe to call twice."""
        self._retired = True
        if self._idle is not None:
            self._idle.cancel()
        for farewell in self._farewells:
            farewell.cancel()
        for process in list(self._processes):
            process.hang_up()
        self._connection.close()

    async def wait_closed(self) -> None:
        """Returns when nothing of the connection is left, after `hang_up`."""
        await asyncio.gather(*self._farewells, return_exceptions=True)
        try:
            async with asyncio.timeout(_CLOSING):
                await self._connection.wait_closed()
        except TimeoutError:
            self._connection.abort()
            await self._connection.wait_closed()

    # --- called by the processes

    async def clear(self) -> None:
        await self._pressure.clear()

    async def kill(self, process: SSHProcess, name: str) -> bool:
        command = kill_command(process.mark, name)
        if command is None:
            return False
        try:
            killer = await self.start(command, None)
            try:
                async with asyncio.timeout(self._limits.login):
                    return await killer.wait() == 0
            finally:
                killer.hang_up()
        except (GuestError, TimeoutError):
            return False

    def left(self, process: SSHProcess) -> None:
        if self.is_connected:
            task = asyncio.create_task(self.kill(process, "HUP"))
            self._farewells.add(task)
            task.add_done_callback(self._farewells.discard)

    def ended(self, process: SSHProcess) -> None:
        self._processes.discard(process)
        self._settle()

    # ---

    async def _create(self, process: SSHProcess, command: str | None, terminal: Terminal | None) -> None:
        def channel_opened() -> SSHProcess:
            self._processes.add(process)
            return process

        await self._connection.create_session(
            channel_opened,
            command,
            request_pty="force" if terminal else False,
            term_type=terminal.type if terminal else None,
            term_size=(terminal.cols, terminal.rows) if terminal else None,
            env={VARIABLE: process.mark},
            send_env=[],
            encoding=None,
            window=WINDOW,
            max_pktsize=READ,
        )

    def _lost(self, _: asyncio.Future[None]) -> None:
        self._pressure.release()
        self._settle()
        self._gone(self)

    def _settle(self) -> None:
        """Have the timer run exactly while nothing uses the connection."""
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        if self._processes or self._opening or not self.is_connected:
            return
        self._idle = self._loop.call_later(0 if self._retired else self._limits.idle, self.hang_up)

    def _abandoned(self, process: SSHProcess, starting: asyncio.Task[None]) -> None:
        """Nobody waits any more for this process, which may have been started meanwhile."""
        if not starting.cancelled() and starting.exception() is None:
            process.hang_up()
            self.left(process)
