"""The simulated hypervisor keeps the promises that every driver makes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from ecompute_server.hypervisor.checks import CHECKS, Bench, Check
from ecompute_server.hypervisor.interface import MachineSpec
from ecompute_server.hypervisor.simulated import SimulatedHypervisor


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: str(check.__name__))
def test_the_simulated_hypervisor_keeps_a_promise(
    check: Check, tmp_path: Path, make_spec: Callable[..., MachineSpec]
) -> None:
    """Each public check passes."""
    asyncio.run(check(Bench(make=lambda: SimulatedHypervisor(tmp_path), spec=make_spec)))
