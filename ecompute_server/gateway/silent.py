"""A gateway that listens nowhere: for the simulated host, whose addresses are only told."""

from __future__ import annotations


class SilentGateway:
    """`Gateway` without listeners."""

    async def publish(self, container_id: str, address: str, port: int, target_port: int) -> None:
        """Nothing listens."""

    async def withdraw(self, container_id: str, port: int | None = None) -> None:
        """There is nothing to withdraw."""

    async def close(self) -> None:
        """There is nothing to close."""
