"""The ways into the guests of a simulated hypervisor."""

from __future__ import annotations

import asyncio
from collections import deque
from functools import lru_cache

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_private_key

from ecompute_server.guest.interface import GuestError, GuestProcess, Login, Terminal
from ecompute_server.guest.simulated.process import SimulatedProcess
from ecompute_server.hypervisor.interface import HypervisorError, NoSuchMachine
from ecompute_server.hypervisor.simulated import SimulatedHypervisor, SimulatedMachine


class SimulatedGuests:
    """Opens shells in the machines of a `SimulatedHypervisor`, on the event loop that opened it.

    Keys are checked as an SSH client and server check them: the machine's host key must be the one of the
    login, and the login's key must be among the machine's authorized keys.
    """

    def __init__(self, hypervisor: SimulatedHypervisor) -> None:
        self._hypervisor = hypervisor
        self._processes: set[SimulatedProcess] = set()
        self._next_answers: deque[str] = deque()

    async def answer(self, login: Login) -> None:
        await asyncio.sleep(0)
        if self._next_answers:
            raise GuestError(self._next_answers.popleft())
        self._machine(login)

    async def open(self, login: Login, *, command: str | None, terminal: Terminal | None) -> GuestProcess:
        await asyncio.sleep(0)
        machine = self._machine(login)
        identity = machine.spec.identity
        if _public(identity.host_key) != _without_comment(login.host_key):
            raise GuestError("the guest shows another host key than it was created with")
        if _public(login.client_key) not in map(_without_comment, identity.authorized_keys):
            raise GuestError("the guest refused the key")
        try:
            process = SimulatedProcess(machine, command, terminal)
        except OSError as error:
            raise GuestError(f"the guest could not start a shell: {error.strerror}") from error
        self._processes.add(process)
        process.when_ended(self._processes.discard)
        return process

    async def close(self) -> None:
        await asyncio.gather(*(process.close() for process in list(self._processes)))

    def fail_next_answer(self, reason: str) -> None:
        """For tests: the next `answer` raises `GuestError` with that reason. Several calls add up."""
        self._next_answers.append(reason)

    def _machine(self, login: Login) -> SimulatedMachine:
        try:
            machine = self._hypervisor.machine(login.container_id)
        except NoSuchMachine:
            raise GuestError("the guest's machine does not run") from None
        except HypervisorError as error:
            raise GuestError(f"the guest cannot be reached: {error}") from error
        if not machine.ready:
            raise GuestError("the guest refused the connection")
        return machine


@lru_cache(maxsize=4096)
def _public(private: str) -> str:
    """The public line of an OpenSSH private key, without a comment."""
    try:
        key = load_ssh_private_key(private.encode(), password=None).public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise GuestError("a key is no OpenSSH private key without a passphrase") from None
    return key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def _without_comment(line: str) -> str:
    return " ".join(line.split()[:2])
