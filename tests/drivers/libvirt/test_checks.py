"""The promises that every hypervisor driver keeps, kept by this one with real guests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ecompute_server.hypervisor.checks import CHECKS, Check

from .conftest import end_all
from .harness import Driver, Failed


@pytest.fixture(scope="module")
def driver(images: Path, place: Path) -> Iterator[Driver]:
    """One process for all checks, on the architecture that boots faster under emulation."""
    state = place / "checks"
    driver = Driver(state, images, "--arch", "arm64")
    yield driver
    driver.end()
    end_all(state)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_keeps_its_promises(check: Check, driver: Driver) -> None:
    try:
        driver.do("check", name=check.__name__)
    except (Failed, AssertionError):
        driver.do("clean")
        raise
