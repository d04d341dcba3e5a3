"""What the server asks of whatever runs its machines.

Only machines are spoken of here: no files, processes, addresses or domains of one host, so that an engine
on other hosts can stand behind the same names. A driver is told what should be and brings it about; every
call may be repeated after a crash with the same effect as once. Facts that nobody asked for (a guest that
powered itself off) go to the `observe` callback given to `open`.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Protocol

from attrs import field, frozen

from ecompute_server.core.usage import Usage as Usage


class HypervisorError(Exception):
    """The hypervisor refused or failed; `str()` is one sentence that may be shown to the operator."""


class NotReady(HypervisorError):
    """Something the operator must provide is missing (an image, a package); the sentence names the command
    that helps.
    """


class NoSuchMachine(HypervisorError):
    """No machine of that container is running here."""


@frozen
class Identity:
    """What makes a started guest one particular container; pushed to the agent, never baked into a disk
    (docs/guest-agent.md).
    """

    hostname: str
    machine_id: str
    host_key: str = field(repr=False)
    authorized_keys: tuple[str, ...]
    mount_paths: tuple[str, ...]


@frozen
class MachineSpec:
    """One machine as it should be.

    `generation` grows with each start of the container; the driver keeps it with the machine and tells it
    back. `cpu_share` is in cores and may be a fraction of `vcpus`.
    """

    container_id: str
    generation: int
    arch: str
    vcpus: int
    cpu_share: float
    memory_mb: int
    storage_gb: int
    image: str
    identity: Identity


@frozen
class Machine:
    """A machine that exists: running, with the generation that it was started as."""

    container_id: str
    generation: int


class FactKind(StrEnum):
    STARTED = "started"
    """The machine executes; its guest is booting."""
    READY = "ready"
    """The guest took its identity and its SSH server listens. Told again after a reboot inside the guest."""
    STOPPED = "stopped"
    """The machine is gone in an orderly way: the guest powered off."""
    LOST = "lost"
    """The machine is gone in any other way; `reason` says which."""
    REFUSED = "refused"
    """The guest could not take its identity; `reason` is the agent's sentence."""


@frozen
class Fact:
    """Something seen on a machine, in the order in which it happened for that container."""

    container_id: str
    generation: int
    kind: FactKind
    reason: str = ""


Observe = Callable[[Fact], None]
"""Called on the event loop that `Hypervisor.open` ran on; must not block."""


class Severity(StrEnum):
    OK = "ok"
    WARNING = "warning"
    """Works, with something missing; the finding says what."""
    ERROR = "error"
    """No machine of this kind can run until it is mended."""


@frozen
class Finding:
    """One line of `doctor`: what was looked at, how it is, and the command that mends it (empty when there
    is nothing to mend).
    """

    check: str
    severity: Severity
    detail: str
    remedy: str = ""


class Hypervisor(Protocol):
    """Runs machines, one per container at most.

    All methods but `usage` are coroutines of the event loop that called `open`, and any of them may raise
    `HypervisorError`. Calls for one container are made one at a time by the supervisor; `connect`,
    `console_tail` and `usage` may come at any moment.
    """

    async def open(self, observe: Observe) -> None:
        """Take up work: must be called once, before everything else.

        Machines left running by an earlier process are found again and reported by `machines`; facts about
        them flow from now on. A machine whose guest has its identity already is told `READY` once more.

        Raises:
            NotReady: a package, a right or a library is missing.
            HypervisorError: another process holds the same machines, or the hypervisor refuses.
        """

    async def close(self) -> None:
        """Let go without ending any machine. Safe to call twice, and after a failed `open`."""

    async def machines(self) -> Sequence[Machine]:
        """The machines that run now, in no particular order."""

    async def start(self, spec: MachineSpec) -> None:
        """See to it that exactly this generation of the container runs, and push its identity in the
        background.

        Returns when the machine executes (`STARTED` is told before that). An older generation still running
        is ended first. Calling it again for a running generation changes nothing and tells `STARTED` again,
        and `READY` if the guest is.

        Raises:
            NotReady: the image is not there.
        """

    async def stop(self, container_id: str, *, grace: float) -> None:
        """End the machine: ask the guest to power off, after `grace` seconds cut it off. Nothing happens
        when none runs.

        Returns when the machine is gone and its data volume is closed. A machine ended so is not told as
        `STOPPED` or `LOST`.
        """

    async def delete(self, container_id: str) -> None:
        """End the machine at once and remove all that it owned, the data volume included. Nothing happens
        when nothing is there.
        """

    async def connect(self, container_id: str, port: int) -> socket.socket:
        """A new TCP connection to `port` of the guest, as a connected non-blocking socket that the caller
        owns.

        Works for every guest whose machine runs, published or not; nothing has to listen on any address of
        this host for it.

        Raises:
            NoSuchMachine: the container has no running machine.
            OSError: the guest did not take the connection.
        """

    async def console_tail(self, container_id: str, *, max_bytes: int = 4096) -> str:
        """The end of the guest's console output, empty when there is none. Kept until `delete` or the next
        `start`.
        """

    def usage(self, container_id: str) -> Usage | None:
        """What the guest last told of its memory and storage; never waits, and costs next to nothing.

        None when no machine runs, when its guest is not `READY` or has not told yet, and when it has not told
        anything for half a minute. A guest that is `READY` tells every few seconds.
        """

    async def ping(self) -> None:
        """Return when the hypervisor has answered a small question, which does not wait for a start, a stop
        or a delete that is under way.

        Raises:
            HypervisorError: the driver is not open, or the hypervisor is gone.
        """

    async def probe(self) -> Sequence[Finding]:
        """Look at what this hypervisor needs on this host. Works before `open`; changes nothing."""
