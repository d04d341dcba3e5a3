"""The simulated hypervisor keeps the promises that every driver makes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ecompute_server.hypervisor.checks import CHECKS, Bench, Check
from ecompute_server.hypervisor.interface import Hypervisor, MachineSpec
from ecompute_server.hypervisor.simulated import SimulatedHypervisor


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: str(check.__name__))
def test_the_simulated_hypervisor_keeps_a_promise(
    check: Check, tmp_path: Path, make_spec: Callable[..., MachineSpec]
) -> None:
    """Each public check passes."""
    asyncio.run(check(Bench(make=lambda: SimulatedHypervisor(tmp_path), spec=make_spec, write=write)))


async def write(hypervisor: Hypervisor, container_id: str, path: str, size: int) -> None:
    assert isinstance(hypervisor, SimulatedHypervisor)
    with hypervisor.machine(container_id).files.open(path, os.O_WRONLY | os.O_CREAT) as file:
        file.write(b"x" * size)
