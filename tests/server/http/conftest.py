"""What most tests over HTTP begin with."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from ecompute_server.testing import RunningServer


@pytest.fixture
def http(server: RunningServer) -> Iterator[httpx.Client]:
    """A bare HTTP client with the first user's session."""
    with httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {server.token}"}) as client:
        yield client


@pytest.fixture
def key_id(http: httpx.Client, public_key: str) -> int:
    """A registered key of the first user."""
    answer = http.post("/compute/ssh-keys", json={"name": "laptop", "public_key": public_key})
    return int(answer.json()["id"])
