"""The fixed figures of the API: instance types, defaults, limits, ports and key types."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from attrs import frozen


class Arch(StrEnum):
    """Processor architectures, as the API names them."""

    ARM64 = "arm64"
    AMD64 = "amd64"


class Status(StrEnum):
    """Where a container is in its life. A newer server may know more: compare with `==`, expect strangers."""

    PENDING = "pending"
    INITIALIZING = "initializing"
    RUNNING = "running"
    STOPPED = "stopped"
    FAILED = "failed"


@frozen
class InstanceType:
    """A size of machine. `cpu_cores` is the share of processors, which may be less than one."""

    name: str
    arch: Arch
    cpu_cores: float

    @property
    def vcpus(self) -> int:
        """How many processors the guest sees: the cores, rounded up."""
        return max(1, -int(-self.cpu_cores // 1))


INSTANCE_TYPES: Mapping[str, InstanceType] = {
    row.name: row
    for row in (
        InstanceType("nano", Arch.ARM64, 0.5),
        InstanceType("micro", Arch.ARM64, 1),
        InstanceType("mini", Arch.ARM64, 2),
        InstanceType("tiny", Arch.AMD64, 1),
        InstanceType("small", Arch.AMD64, 2),
        InstanceType("medium", Arch.AMD64, 4),
    )
}

DEFAULT_INSTANCE_TYPE = "nano"
DEFAULT_MEMORY_MB = 512
DEFAULT_STORAGE_GB = 5
DEFAULT_MOUNT_PATHS = ("/root",)

MAX_CONTAINERS_PER_USER = 3
MAX_SSH_KEYS_PER_USER = 10
MAX_TOKENS_PER_USER = 1000

MEMORY_MB = range(64, 65536 + 1)
STORAGE_GB = range(1, 1024 + 1)
NAME_LENGTH = range(1, 63 + 1)
MAX_MOUNT_PATHS = 16
MAX_MOUNT_PATH_BYTES = 255
MAX_BODY_BYTES = 64 * 1024
MAX_TERMINAL_FRAME_BYTES = 32 * 1024
TERMINAL_TYPE = "xterm-256color"
TERMINAL_ROWS = 24
TERMINAL_COLS = 80
TERMINAL_SIZE = range(1, 1000 + 1)
TERMINAL_PROTOCOL = "ecompute.terminal.v1"
EXEC_PROTOCOL = "ecompute.exec.v1"

TARGET_PORTS = range(1, 65535 + 1)
TOKEN_NAME_LENGTH = range(1, 64 + 1)
TOKEN_EXPIRIES: Mapping[str, int] = {"30d": 30, "90d": 90, "365d": 365, "never": 0}
"""The choices of a token's lifetime, in days; 0 is for ever."""
IDEMPOTENCY_KEY_LENGTH = range(1, 255 + 1)
IDEMPOTENCY_HOURS = 24
IDEMPOTENCY_SECONDS = IDEMPOTENCY_HOURS * 3600

PUBLIC_KEY_TYPES = (
    "ssh-rsa",
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
)
MIN_RSA_BITS = 2048


HTTPS_PORT = 443
"""The ingress port at which the gateway ends TLS."""


def is_ingress_port(port: int) -> bool:
    """Whether a container may be published on this external port."""
    return port in (80, HTTPS_PORT) or 8000 <= port <= 8999
