"""The nouns: what the API answers with.

Each keeps fields that it does not know in `extra`, so that nothing of a newer server is lost between
reading and writing.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from attrs import field, fields, frozen

from ecompute.shown import Shown

_EPOCH = datetime.fromtimestamp(0, UTC)


def _extra() -> Any:
    return field(factory=dict, kw_only=True, repr=False, hash=False)


@frozen(eq=False)
class Container(Shown):
    """A container as the server last told it.

    Sizes are in the unit that the name says. `status` and `instance_type` are plain text, since a newer
    server may know more of them than `catalog`. Fields without a value are None: usage figures and
    addresses before they are known, `ssh_command` while SSH is off, `status_reason` unless the status is
    `failed`. A list that tells less than the contract asks leaves the defaults here; `created_at` is then
    the epoch. `repr` leaves out what is None.
    """

    id: str
    name: str
    status: str
    hostname: str = ""
    memory_mb: int = 0
    storage_gb: int = 0
    instance_type: str = ""
    created_at: datetime = _EPOCH
    ssh_enabled: bool = False
    https_enabled: bool = False
    memory_used_mb: int | None = None
    storage_used_gb: float | None = None
    ssh_command: str | None = None
    external_ip: str | None = None
    ssh_host_key: str | None = None
    status_reason: str | None = None
    extra: Mapping[str, Any] = _extra()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Container):
            return NotImplemented
        return all(getattr(self, a.name) == getattr(other, a.name) for a in fields(Container))

    def __hash__(self) -> int:
        return hash((self.id, self.name, self.status))

    def __repr__(self) -> str:
        shown = ((a.name, getattr(self, a.name)) for a in fields(Container) if a.repr)
        told = ", ".join(f"{name}={value!r}" for name, value in shown if value is not None)
        return f"{type(self).__name__}({told})"


@frozen
class ContainerList:
    """The caller's containers, newest first."""

    containers: tuple[Container, ...]
    extra: Mapping[str, Any] = _extra()


@frozen
class SSHKey(Shown):
    """A registered public key: `public_key` is its type, base64 and comment."""

    id: int
    name: str
    public_key: str
    created_at: datetime = _EPOCH
    extra: Mapping[str, Any] = _extra()


@frozen
class SSHKeyList:
    """The caller's keys, newest first."""

    ssh_keys: tuple[SSHKey, ...]
    extra: Mapping[str, Any] = _extra()


@frozen
class SSHAccess(Shown):
    """Whether a container can be reached by SSH from outside."""

    ssh_enabled: bool
    extra: Mapping[str, Any] = _extra()


@frozen
class IngressRule(Shown):
    """A published port: connections to `port` from outside lead to `target_port` inside. `created_at` is in
    seconds since the epoch.
    """

    id: int
    port: int
    target_port: int
    created_at: int = 0
    extra: Mapping[str, Any] = _extra()


@frozen
class IngressRuleList:
    """A container's ingress rules, by port."""

    rules: tuple[IngressRule, ...]
    extra: Mapping[str, Any] = _extra()


@frozen
class Mounts(Shown):
    """The paths of a container that persist. `restarted` is there only after a change: whether the container
    was restarted for it.
    """

    mount_paths: tuple[str, ...]
    restarted: bool | None = None
    extra: Mapping[str, Any] = _extra()


@frozen
class Acknowledgement:
    """The answer of operations that have nothing else to tell; `status` is `ok`."""

    status: str
    extra: Mapping[str, Any] = _extra()


@frozen
class Session(Shown):
    """Who a credential belongs to. `token` is there only after a login, and never in `repr`."""

    user_id: str
    username: str
    display_name: str = ""
    is_admin: bool = False
    token: str | None = field(default=None, repr=False)
    extra: Mapping[str, Any] = _extra()


@frozen
class Token(Shown):
    """An API token. Times are in seconds since the epoch; `expires_at` and `last_used_at` are 0 for never.

    `token` is the credential itself: there only in the answer that made it, and never in `repr`.
    """

    id: str
    name: str
    scopes: Mapping[str, tuple[str, ...]] = field(hash=False)
    expires_at: int = 0
    created_at: int = 0
    last_used_at: int = 0
    token: str | None = field(default=None, repr=False)
    extra: Mapping[str, Any] = _extra()


@frozen
class TokenList:
    """The caller's API tokens, newest first."""

    tokens: tuple[Token, ...]
    extra: Mapping[str, Any] = _extra()
