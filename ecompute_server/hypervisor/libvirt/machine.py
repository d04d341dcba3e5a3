"""One running machine as this process knows it: its agent and console, its way in, what has been told of it.

Lives from the start (or from being found again) until the domain is gone. Everything here happens on the
event loop.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import time

from ecompute_server.hypervisor.interface import Fact, FactKind, HypervisorError, Identity, Observe, Usage
from ecompute_server.hypervisor.libvirt import agent
from ecompute_server.hypervisor.libvirt.console import ConsoleLog
from ecompute_server.hypervisor.libvirt.domain import domain_name
from ecompute_server.hypervisor.libvirt.layout import MachineFiles
from ecompute_server.hypervisor.libvirt.link import Link, Pace
from ecompute_server.hypervisor.libvirt.network.interface import GuestNetwork
from ecompute_server.hypervisor.libvirt.usage import LastUsage

ENTROPY = 64
BETWEEN_IDENTITIES = 1.0
"""Seconds: a guest that asks for its identity over and over gets it once in that time."""

CONSOLE_RATE = 128 * 1024
"""Bytes per second; a boot with all kernel messages has 40 KiB."""
CONSOLE_BURST = 512 * 1024
AGENT_RATE = 256 * 1024
AGENT_BURST = 64 * 1024
AGENT_LINE = AGENT_RATE // 100
"""What reading one message counts for in bytes, so that it is a hundred messages per second."""


class LiveMachine:
    """`ending` is set when the end was asked for and is nobody's news; `gone` when the domain is no more;
    `dead` when its process is, which libvirt may take longer to see.
    """

    def __init__(
        self, container_id: str, generation: int, uuid: str, files: MachineFiles, observe: Observe
    ) -> None:
        self.container_id = container_id
        self.generation = generation
        self.uuid = uuid
        self.name = domain_name(container_id, generation)
        self.files = files
        self.identity: Identity | None = None
        self.ready = False
        self.started = False
        self.ending = False
        self.gone = asyncio.Event()
        self.dead = asyncio.Event()
        self.farewell: asyncio.Task[None] | None = None
        self._observe = observe
        self._conversation = agent.Conversation()
        self._lines = agent.Lines()
        self._agent_pace = Pace(rate=AGENT_RATE, burst=AGENT_BURST)
        self._agent: Link | None = None
        self._console: Link | None = None
        self._heard = False
        self._usage = LastUsage()
        self._again: asyncio.TimerHandle | None = None
        self._identified = float("-inf")
        self.network: GuestNetwork | None = None

    def tell(self, kind: FactKind, reason: str = "") -> None:
        if kind is FactKind.STARTED:
            self.started = True
        elif kind is FactKind.READY:
            self.ready = True
        self._observe(Fact(self.container_id, self.generation, kind, reason))

    @property
    def runs(self) -> bool:
        return self.started and not self.over

    @property
    def over(self) -> bool:
        return self.gone.is_set() or self.dead.is_set()

    @property
    def usage(self) -> Usage | None:
        """What the guest told lately, since it became ready."""
        return None if self.over else self._usage.get()

    async def wait_until_over(self) -> None:
        ways = [asyncio.ensure_future(way.wait()) for way in (self.gone, self.dead)]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()

    # Agent and console

    async def attach(self, *, fresh: bool) -> None:
        """Connects to the guest's sockets. A `fresh` guest has not run yet and gets its identity at once;
        one that was found running is asked who it is.

        Raises:
            OSError: QEMU does not answer there.
            HypervisorError: the identity does not fit into one message.
        """
        log = ConsoleLog(self.files.console_log)
        console_pace = Pace(rate=CONSOLE_RATE, burst=CONSOLE_BURST)
        self._console = await Link.connect(self.files.console, log.append, console_pace)
        self._agent = await Link.connect(self.files.agent, self._receive, self._agent_pace)
        if not fresh:
            # an earlier connection may have ended in the middle of a line
            self._agent.send(b"\n" + agent.hello(self._conversation.ask()))
        elif self.identity is not None:
            self._send_identity(self._conversation.configure(first=True))

    def identify(self, identity: Identity) -> None:
        """The identity of a guest that was found running: used when it asks, or has asked already."""
        self.identity = identity
        if self._conversation.waiting:
            self._send_identity(self._conversation.configure())

    def _receive(self, data: bytes) -> None:
        for line in self._lines.feed(data):
            self._agent_pace.spend(AGENT_LINE)
            message = agent.parse(line)
            if message is None:
                continue
            self._heard = True
            if isinstance(message, Usage):
                # What comes before a guest is ready was written for an earlier server, maybe long ago.
                if self.ready:
                    self._usage.note(message)
                continue
            match self._conversation.receive(message, identity_known=self.identity is not None):
                case agent.Hear() as hear:
                    self._send_identity_in_time(hear)
                case agent.Report(refused=None):
                    self.tell(FactKind.READY)
                case agent.Report(refused=str(reason)):
                    self.tell(FactKind.REFUSED, reason)

    def _send_identity_in_time(self, hear: agent.Hear) -> None:
        self.ready = False
        self._usage.forget()
        loop = asyncio.get_running_loop()
        if self._again is not None:
            self._again.cancel()
        wait = max(0.0, self._identified + BETWEEN_IDENTITIES - loop.time())
        self._again = loop.call_later(wait, self._send_identity_again, hear)

    def _send_identity_again(self, hear: agent.Hear) -> None:
        try:
            self._send_identity(hear)
        except HypervisorError as error:
            self.tell(FactKind.REFUSED, str(error))

    def _send_identity(self, hear: agent.Hear) -> None:
        if self._agent is None or self.identity is None:
            return
        self._identified = asyncio.get_running_loop().time()
        self._agent.send(
            agent.configure(
                hear.number, self.identity, clock=time.time(), entropy=secrets.token_bytes(ENTROPY)
            )
        )

    def ask_poweroff(self) -> bool:
        """Asks the agent, if there is one. False when it never said a word and should not be counted on."""
        if self._agent is not None:
            self._agent.send(agent.poweroff(self._conversation.next_number()))
        return self._heard

    # The way in

    async def connect(self, port: int) -> socket.socket:
        """Raises:
        HypervisorError: there is no way in (any more).
        OSError: QEMU does not take the connection.
        """
        if self.network is None:
            raise HypervisorError("The machine's network is not there yet.")
        return await self.network.connect(port)

    async def warm(self, port: int) -> None:
        """Makes ready what the first `connect` to that port needs. Failures show there."""
        if self.network is not None:
            await self.network.warm(port)

    # The end

    async def detach(self) -> None:
        """Lets go of sockets and helpers; the guest does not notice."""
        if self._again is not None:
            self._again.cancel()
        for link in (self._agent, self._console):
            if link is not None:
                await link.close()
        if self.network is not None:
            await self.network.close()
