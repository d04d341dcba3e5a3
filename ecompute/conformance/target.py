"""What is to be tested, and how."""

from __future__ import annotations

import re
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


_WORD = re.compile("[!-~]+")
_LONGEST = 1e6


def new_seed() -> int:
    """A seed for a run."""
    return secrets.randbelow(1 << 32)


def _base(url: str) -> str:
    return url.strip().rstrip("/")


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

    @property
    def shown(self) -> str:
        """The URL as reports have it: without a user name and a password."""
        scheme, slashes, rest = self.url.partition("://")
        place, slash, path = rest.partition("/")
        return f"{scheme}{slashes}{place.rpartition('@')[2]}{slash}{path}"

    @property
    def fault(self) -> str | None:
        """What makes it unfit for a test, as a sentence."""
        if not self.token:
            return "There is no token to test with: give --token-file, or set ECOMPUTE_TOKEN."
        for which, token in (("The token", self.token), ("The second token", self.second_token)):
            if token is not None and not _WORD.fullmatch(token):
                return f"{which} is none: a token is one word of printable ASCII characters."
        for name in ("rate", "timeout", "boot_timeout"):
            value = getattr(self, name)
            if value is not None and not 0 < value <= _LONGEST:
                return f"{name} is {value:g}: it must be more than 0, and at most {_LONGEST:g}."
        for name in ("container_limit", "key_limit"):
            if getattr(self, name) < 0:
                return f"{name} is {getattr(self, name)}: it must not be less than 0."
        if self.shown != self.url:
            return "The URL must not hold a user name or password: the token is the credential."
        if "?" in self.url or "#" in self.url:
            return "The URL must not have a query or fragment."
        return None
