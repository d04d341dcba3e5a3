"""Fixtures that many tests share."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import settings
from xdist.scheduler import LoadFileScheduling

from ecompute_server.http.serving import raise_open_files_limit
from ecompute_server.testing import RunningServer, running_server

# as `serve` does for itself: some tests hold the two ends of thousands of connections in this process
raise_open_files_limit()

# how long an example takes says something about the machine only
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


IN_TURN = ("tests/scenarios/", "tests/drivers/libvirt/")
"""Where tests have a whole host's worth of machines, or give this host addresses for a while."""


class ByModule(LoadFileScheduling):
    """Of several processes each gets whole modules, whose fixtures are so made once; and one of them gets all
    those that are to run in turn.
    """

    def _split_scope(self, nodeid: str) -> str:
        return "in turn" if nodeid.startswith(IN_TURN) else super()._split_scope(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByModule:
    return ByModule(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What cannot be shared out begins at once, so that no process is left with it in the end."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: not item.nodeid.startswith(IN_TURN))


def pytest_collection_finish() -> None:
    """Thousands of tests stay to the end: whoever looks for garbage need not look at them each time."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def server() -> Iterator[RunningServer]:
    """A server on the simulated host, for this test alone."""
    with running_server() as running:
        yield running


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Tests of the server run on asyncio; those of the library name both backends."""
    return "asyncio", {}


@pytest.fixture
def public_key() -> str:
    """A fresh public key in OpenSSH's one-line form."""
    key = ed25519.Ed25519PrivateKey.generate().public_key()
    return key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
