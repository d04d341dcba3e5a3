"""The gateway of a host without machines that anybody could reach: rules are taken, and nobody listens."""

from __future__ import annotations


class SilentGateway:
    """An `ecompute_server.gateway.interface.Gateway`."""

    async def open(self) -> None:
        pass

    def published(self, container_id: str) -> set[int]:
        return set()

    async def publish(self, container_id: str, address: str, port: int, target_port: int) -> None:
        pass

    async def withdraw(self, container_id: str, port: int | None = None) -> None:
        pass

    async def close(self) -> None:
        pass
