"""The verbs: one frozen class per operation, with the fields of its path and its body.

A client leaves fields that are None out of the body; a server has filled them with the contract's defaults
before a handler sees them.
"""

from __future__ import annotations

from attrs import frozen

from . import catalog, rules
from .endpoint import in_body, in_path


@frozen
class ListContainers:
    """All containers of the caller."""


@frozen
class CreateContainer:
    """A new container, which starts at once."""

    name: str = in_body(rule=rules.container_name)
    ssh_key_ids: tuple[int, ...] = in_body(rule=rules.key_ids)
    instance_type: str | None = in_body(rule=rules.instance_type, default=catalog.DEFAULT_INSTANCE_TYPE)
    memory_mb: int | None = in_body(rule=rules.memory_mb, default=catalog.DEFAULT_MEMORY_MB)
    storage_gb: int | None = in_body(rule=rules.storage_gb, default=catalog.DEFAULT_STORAGE_GB)
    ssh_enabled: bool | None = in_body(default=False)
    mount_paths: tuple[str, ...] | None = in_body(rule=rules.mount_paths, default=catalog.DEFAULT_MOUNT_PATHS)


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
class OpenEvents:
    """The feed of all containers of the caller."""


@frozen
class OpenTerminal:
    """A shell in a running container."""

    id: str = in_path()


@frozen
class LogIn:
    """Trade a user name and password for a session token."""

    username: str = in_body()
    password: str = in_body(repr=False)


@frozen
class GetSession:
    """Who the caller is."""
