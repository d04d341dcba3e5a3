"""What is to be tested, and how."""

from __future__ import annotations

import secrets
from enum import StrEnum

from attrs import field, frozen

from ecompute.contract import catalog


class Profile(StrEnum):
    """How much is tried."""

    QUICK = "quick"
    """What takes less than 20 s on a simulated server."""
    STANDARD = "standard"
    """What takes less than 3 minutes on a simulated server."""


def new_seed() -> int:
    """A seed for a run."""
    return secrets.randbelow(1 << 32)


def _base(url: str) -> str:
    return url.rstrip("/")


@frozen
class Target:
    """A server and the ways to it.

    `token` should be a session's, since only sessions can make API tokens; `second_token` is of another user.
    `rate` is the largest number of requests in a second, None for no bound. `timeout` is for one answer, in
    seconds; `boot_timeout` for a container to reach `running`. `verify` False accepts any certificate, a path
    names a file of authorities. `container_limit` and `key_limit` are what a user of the server may have.
    `restart_command` is a shell line that restarts the server and returns when it answers again. `dialect` is
    the name of one that comes with the kit, or the path of a TOML file.
    """

    url: str = field(converter=_base)
    token: str = field(repr=False)
    second_token: str | None = field(default=None, repr=False)
    profile: Profile = field(default=Profile.STANDARD, converter=Profile)
    seed: int = field(factory=new_seed)
    rate: float | None = None
    timeout: float = 30.0
    boot_timeout: float = 180.0
    verify: bool | str = True
    container_limit: int = catalog.MAX_CONTAINERS_PER_USER
    key_limit: int = catalog.MAX_SSH_KEYS_PER_USER
    restart_command: str | None = None
    dialect: str = "reference"
