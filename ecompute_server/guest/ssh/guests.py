"""`SSHGuests`: which connection a process is started on."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable

import asyncssh
from attrs import define

from ecompute_server.guest.interface import GuestError, GuestProcess, Login, Terminal
from ecompute_server.guest.ssh.banner import read_banner
from ecompute_server.guest.ssh.limits import Limits
from ecompute_server.guest.ssh.link import Keys, Link, NotOpened

SSH_PORT = 22

Connect = Callable[[str, int], Awaitable[socket.socket]]
"""A new connection to a port of a container's guest, as a non-blocking socket that the caller owns."""


@define(eq=False)
class _Entry:
    """A container's link, or the attempt to make it."""

    keys: Keys
    opening: asyncio.Task[Link]

    @property
    def link(self) -> Link | None:
        """The link, once it is made."""
        if not self.opening.done() or self.opening.cancelled() or self.opening.exception() is not None:
            return None
        return self.opening.result()

    def retire(self) -> None:
        """Let the link end with its last process."""
        if self.link is not None:
            self.link.retire()

    def serves(self, keys: Keys) -> bool:
        """Whether a process for these keys can be tried here."""
        if self.keys != keys:
            return False
        return not self.opening.done() or (self.link is not None and self.link.is_open)


class SSHGuests:
    """An `ecompute_server.guest.interface.Guests`. Lives on one event loop."""

    def __init__(self, connect: Connect, *, limits: Limits | None = None) -> None:
        self._connect = connect
        self._limits = limits or Limits()
        self._entries: dict[str, _Entry] = {}
        self._links: set[Link] = set()
        self._closed = False
        # at its default level asyncssh logs every command that is run
        asyncssh.set_log_level(logging.WARNING)

    async def answer(self, login: Login) -> None:
        try:
            async with asyncio.timeout(self._limits.banner):
                connection = await self._reach(login.container_id)
                with connection:
                    await read_banner(connection)
        except TimeoutError as error:
            raise GuestError("The guest's SSH server does not answer.") from error
        except OSError as error:
            raise GuestError("The connection to the guest's SSH server broke.") from error

    async def open(self, login: Login, *, command: str | None, terminal: Terminal | None) -> GuestProcess:
        link, is_new = await self._link(login)
        try:
            return await link.start(command, terminal)
        except NotOpened:
            # broken without our knowing, or the guest allows no more sessions on one connection
            link.retire()
            if is_new:
                raise
        link, _ = await self._link(login)
        return await link.start(command, terminal)

    async def close(self) -> None:
        self._closed = True
        openings = [entry.opening for entry in self._entries.values()]
        self._entries.clear()
        for opening in openings:
            opening.cancel()
        await asyncio.gather(*openings, return_exceptions=True)
        links = list(self._links)
        for link in links:
            link.hang_up()
        await asyncio.gather(*(link.wait_closed() for link in links))

    async def _link(self, login: Login) -> tuple[Link, bool]:
        """A connection that may be used, and whether it was made for this call."""
        if self._closed:
            raise GuestError("The server is closing.")
        keys = Keys.of(login)
        entry = self._entries.get(login.container_id)
        is_new = entry is None or not entry.serves(keys)
        if entry is None or is_new:
            entry = self._renew(entry, login.container_id, keys)
        # one who leaves must not take the connection from the others who wait for it
        return await asyncio.shield(entry.opening), is_new

    def _renew(self, old: _Entry | None, container_id: str, keys: Keys) -> _Entry:
        entry = _Entry(keys, asyncio.create_task(self._open(container_id, keys)))
        self._entries[container_id] = entry

        def opened(_: asyncio.Task[Link]) -> None:
            if entry.link is None:
                self._forget(container_id, entry)

        entry.opening.add_done_callback(opened)
        if old is not None:
            old.opening.add_done_callback(lambda opening: old.retire())
        return entry

    async def _open(self, container_id: str, keys: Keys) -> Link:
        connection = await self._reach(container_id)
        link = await Link.open(container_id, keys, connection, self._limits, self._gone)
        self._links.add(link)
        return link

    async def _reach(self, container_id: str) -> socket.socket:
        try:
            async with asyncio.timeout(self._limits.login):
                return await self._connect(container_id, SSH_PORT)
        except Exception as error:
            # what connects is not ours, and neither are its errors; each means the same here
            raise GuestError("The guest cannot be reached: no connection to its SSH port.") from error

    def _gone(self, link: Link) -> None:
        self._links.discard(link)
        entry = self._entries.get(link.container_id)
        if entry is not None and entry.link is link:
            self._forget(link.container_id, entry)

    def _forget(self, container_id: str, entry: _Entry) -> None:
        if self._entries.get(container_id) is entry:
            del self._entries[container_id]
