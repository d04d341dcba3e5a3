"""The verbs: one frozen class per operation, with the fields of its path and its body.

A client leaves fields that are None out of the body; a server has filled them with the contract's defaults
before a handler sees them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import frozen

from . import catalog, rules
from .endpoint import in_body, in_path, in_query

_ZEROS: tuple[Any, ...] = (0, "", [])
"""What a client in a language without optional values sends for a field that it leaves out."""


@frozen
class ListContainers:
    """All containers of the caller."""


@frozen
class CreateContainer:
    """A new container, which starts at once."""

    name: str = in_body(rule=rules.container_name)
    ssh_key_ids: tuple[int, ...] = in_body(rule=rules.key_ids)
    instance_type: str | None = in_body(
        rule=rules.instance_type, default=catalog.DEFAULT_INSTANCE_TYPE, empty=_ZEROS
    )
    memory_mb: int | None = in_body(rule=rules.memory_mb, default=catalog.DEFAULT_MEMORY_MB, empty=_ZEROS)
    storage_gb: int | None = in_body(rule=rules.storage_gb, default=catalog.DEFAULT_STORAGE_GB, empty=_ZEROS)
    ssh_enabled: bool | None = in_body(default=False)
    mount_paths: tuple[str, ...] | None = in_body(
        rule=rules.mount_paths, default=catalog.DEFAULT_MOUNT_PATHS, empty=_ZEROS
    )


@frozen
class GetContainer:
    """One container."""

    id: str = in_path()


@frozen
class DeleteContainer:
    """The end of a container and of its data."""

    id: str = in_path()


@frozen
class StartContainer:
    """Boot a stopped or failed container."""

    id: str = in_path()


@frozen
class StopContainer:
    """Power a container off; its mount paths stay."""

    id: str = in_path()


@frozen
class ListSSHKeys:
    """All SSH keys of the caller."""


@frozen
class AddSSHKey:
    """Register a public key, to be named in later creates."""

    name: str = in_body(rule=rules.container_name)
    public_key: str = in_body(rule=rules.public_key)


@frozen
class DeleteSSHKey:
    """Forget a key; containers that carry it keep it."""

    id: int = in_path()


@frozen
class GetSSHAccess:
    """Whether SSH from outside is on."""

    id: str = in_path()


@frozen
class SetSSHAccess:
    """Turn SSH from outside on or off; the terminal works regardless."""

    id: str = in_path()
    ssh_enabled: bool = in_body()


@frozen
class ListIngress:
    """All ingress rules of a container."""

    id: str = in_path()


@frozen
class AddIngress:
    """Publish a port of a container. A rule of the same external port is changed in place.

    `target_port` is the port inside; left out, it is the external one.
    """

    id: str = in_path()
    port: int = in_body(rule=rules.ingress_port)
    target_port: int | None = in_body(rule=rules.target_port, default=None, empty=(0,))


@frozen
class RemoveIngress:
    """Publish an external port no longer."""

    id: str = in_path()
    port: int = in_path()


@frozen
class GetMounts:
    """Which paths of a container persist."""

    id: str = in_path()


@frozen
class SetMounts:
    """Choose the paths that persist; a container that is up is restarted when they change."""

    id: str = in_path()
    mount_paths: tuple[str, ...] = in_body(rule=rules.mount_paths)


@frozen
class OpenEvents:
    """The feed of all containers of the caller."""


@frozen
class OpenTerminal:
    """A shell in a running container, or with `ecompute.exec.v1` one command."""

    id: str = in_path()
    rows: int | None = in_query(rule=rules.terminal_size, default=catalog.TERMINAL_ROWS)
    cols: int | None = in_query(rule=rules.terminal_size, default=catalog.TERMINAL_COLS)


@frozen
class LogIn:
    """Trade a user name and password for a session token."""

    username: str = in_body()
    password: str = in_body(repr=False)


@frozen
class GetSession:
    """Who the caller is."""


@frozen
class LogOut:
    """End the session whose token this is."""


@frozen
class ListTokens:
    """All API tokens of the caller."""


@frozen
class CreateToken:
    """A new API token, with no more rights than its maker has."""

    name: str = in_body(rule=rules.token_name)
    scopes: Mapping[str, tuple[str, ...]] = in_body(rule=rules.token_scopes)
    expires_in: str = in_body(rule=rules.expires_in)


@frozen
class DeleteToken:
    """Revoke an API token."""

    id: str = in_path()
