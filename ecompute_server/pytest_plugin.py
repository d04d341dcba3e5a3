"""Fixtures for tests of programs that use the Compute API. Loads nothing of the server until one is used."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ecompute import Client

    from .testing import RunningServer


@pytest.fixture
def compute_server() -> Iterator[RunningServer]:
    """A server on the simulated host, for one test."""
    from .testing import running_server

    with running_server() as server:
        yield server


@pytest.fixture
def compute_client(compute_server: RunningServer) -> Iterator[Client]:
    """A client of `compute_server` with its first user's session."""
    with compute_server.client() as client:
        yield client
