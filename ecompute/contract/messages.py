"""What travels on the events WebSocket.

The terminal's frames are bytes and have no class. A type of message that is not listed here is to be ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

from .resources import Container


@frozen
class ContainerSnapshot:
    """The whole list, newest first: the first message, and again when a slow reader has missed changes."""

    containers: tuple[Container, ...]


@frozen
class ContainerStatus:
    """A container is new or has changed its status. `status_reason` comes with `failed`."""

    container_id: str
    status: str
    external_ip: str | None = None
    status_reason: str | None = None
    extra: Mapping[str, Any] = field(factory=dict, kw_only=True, repr=False, hash=False)


@frozen
class ContainerDeleted:
    """A container is gone."""

    container_id: str
    extra: Mapping[str, Any] = field(factory=dict, kw_only=True, repr=False, hash=False)


FeedMessage = ContainerSnapshot | ContainerStatus | ContainerDeleted
"""Every message of the feed."""

MESSAGE_TYPES: Mapping[str, type[ContainerSnapshot | ContainerStatus | ContainerDeleted]] = {
    "containers": ContainerSnapshot,
    "container_status": ContainerStatus,
    "container_deleted": ContainerDeleted,
}
"""The `type` on the wire of each message class."""
