"""How a container is reached from outside: listeners on its own address that lead into its guest."""

from __future__ import annotations

from typing import Protocol


class GatewayError(Exception):
    """A listener could not be opened; `str()` is one sentence for the operator."""


class Gateway(Protocol):
    """The listeners of all containers. Everything is idempotent."""

    async def open(self) -> None:
        """Take up work, before everything else: open what containers share.

        Raises:
            GatewayError: it cannot be had, and the settings ask for it.
        """

    async def publish(self, container_id: str, address: str, port: int, target_port: int) -> None:
        """Listen on `address:port` and lead each connection to `target_port` in the guest; on port 443 end
        TLS first, and lead plain HTTP there.

        A listener of the same container and port stays open and leads to the new target from now on;
        connections that are open are not touched.

        Raises:
            GatewayError: the port is taken by somebody else, or may not be bound by this user.
        """

    def published(self, container_id: str) -> set[int]:
        """The ports that a container is listened for now."""

    async def withdraw(self, container_id: str, port: int | None = None) -> None:
        """Stop listening on one port, or on all of the container's, and end the connections behind them."""

    async def close(self) -> None:
        """Withdraw everything."""
