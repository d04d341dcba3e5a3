"""Fixtures that many tests share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ecompute_server.http.serving import raise_open_files_limit
from ecompute_server.testing import RunningServer, running_server

# as `serve` does for itself: some tests hold the two ends of thousands of connections in this process
raise_open_files_limit()


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
