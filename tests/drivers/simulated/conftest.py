"""Machines and keys for the tests of the simulated drivers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
from attrs import evolve, frozen
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from ecompute_server.guest.checks import Bench
from ecompute_server.guest.interface import Login
from ecompute_server.guest.simulated import SimulatedGuests
from ecompute_server.hypervisor.checks import Facts
from ecompute_server.hypervisor.interface import FactKind, Identity, MachineSpec
from ecompute_server.hypervisor.simulated import SimulatedHypervisor

NAME = "abcd1234"


@frozen
class KeyPair:
    """An OpenSSH key: the private PEM text and the public line."""

    private: str
    public: str


def key_pair() -> KeyPair:
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()
    return KeyPair(private, key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode())


HOST, CLIENT, OTHER = key_pair(), key_pair(), key_pair()


@pytest.fixture
def make_spec() -> Callable[..., MachineSpec]:
    """Makes the spec of a machine; arguments replace the parts."""

    def make(
        container_id: str = NAME,
        generation: int = 1,
        *,
        arch: str = "arm64",
        vcpus: int = 1,
        memory_mb: int = 512,
        mount_paths: tuple[str, ...] = ("/root",),
    ) -> MachineSpec:
        identity = Identity(
            hostname=f"{container_id}.compute.localhost",
            machine_id="0123456789abcdef" * 2,
            host_key=HOST.private,
            authorized_keys=(f"{CLIENT.public} someone@somewhere",),
            mount_paths=mount_paths,
        )
        return MachineSpec(container_id, generation, arch, vcpus, 0.5, memory_mb, 5, "micro", identity)

    return make


@pytest.fixture
def login() -> Login:
    """Opens the machines of `make_spec` that have its default id."""
    return Login(NAME, CLIENT.private, f"{HOST.public} comment")


@pytest.fixture
def running(
    tmp_path: Path, make_spec: Callable[..., MachineSpec], login: Login
) -> Callable[..., AbstractAsyncContextManager[Bench]]:
    """Runs a machine, on the same state directory each time; arguments are those of `make_spec`."""

    @asynccontextmanager
    async def run(**parts: object) -> AsyncIterator[Bench]:
        hypervisor, facts = SimulatedHypervisor(tmp_path, boot_time=0, disk_limit=4 << 20), Facts(deadline=10)
        await hypervisor.open(facts)
        spec = make_spec(**parts)
        await hypervisor.start(spec)
        await facts.until(NAME, spec.generation, FactKind.STARTED, FactKind.READY)
        guests = SimulatedGuests(hypervisor)

        async def restart() -> None:
            await hypervisor.stop(NAME, grace=10)
            following = evolve(spec, generation=spec.generation + 1)
            await hypervisor.start(following)
            await facts.until(NAME, following.generation, FactKind.STARTED, FactKind.READY)

        try:
            yield Bench(
                guests=guests,
                login=login,
                stranger=evolve(login, client_key=OTHER.private),
                impostor=evolve(login, host_key=OTHER.public),
                absent=evolve(login, container_id="nobody00"),
                halt=lambda: hypervisor.stop(NAME, grace=0),
                restart=restart,
            )
        finally:
            await guests.close()
            await hypervisor.close()

    return run
