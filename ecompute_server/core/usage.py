"""What a container's guest takes of its memory and storage, and how that is told."""

from __future__ import annotations

from attrs import frozen

from .record import ContainerRecord

MIB = 1 << 20
GIB = 1 << 30


@frozen
class Usage:
    """What a guest last told of itself, in bytes. Guests may lie: believe it of nothing but themselves.

    `memory_available` is what programs could still get; what is missing to the machine's memory is in use, by
    programs or by the kernel. `storage_used` is what files and directories on the data volume take.
    """

    memory_available: int
    storage_used: int

    def memory_mb(self, record: ContainerRecord) -> int:
        """The memory in use, from 0 to what the container has."""
        return max(0, record.memory_mb - self.memory_available // MIB)

    def storage_gb(self, record: ContainerRecord) -> float:
        """The storage in use to two digits, at most what the container has."""
        return round(min(self.storage_used, record.storage_gb * GIB) / GIB, 2)
