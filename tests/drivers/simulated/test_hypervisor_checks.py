"""The simulated hypervisor keeps the promises that every driver makes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from ecompute_server.hypervisor.checks import CHECKS, Bench, Check
from ecompute_server.hypervisor.interface import Identity, MachineSpec
from ecompute_server.hypervisor.simulated import SimulatedHypervisor


def spec(container_id: str, generation: int) -> MachineSpec:
    identity = Identity(
        hostname=f"{container_id}.compute.localhost",
        machine_id="0" * 32,
        host_key="",
        authorized_keys=(),
        mount_paths=("/root",),
    )
    return MachineSpec(container_id, generation, "arm64", 1, 0.5, 512, 5, "micro", identity)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: str(check.__name__))
def test_the_simulated_hypervisor_keeps_a_promise(check: Check, tmp_path: Path) -> None:
    """Each public check passes."""
    asyncio.run(check(Bench(make=lambda: SimulatedHypervisor(tmp_path), spec=spec)))
