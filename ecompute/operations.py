"""The sync client's groups of operations: one line per row."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .contract import endpoints, requests
from .contract.resources import Container, IngressRule, Mounts, SSHAccess, SSHKey, Token
from .protocol import wire
from .settings import WAIT_TIMEOUT

if TYPE_CHECKING:
    from .client import Client


class Containers:
    """`client.containers`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def list(self, *, timeout: float | None = None) -> builtins.list[Container]:
        """The caller's containers, newest first."""
        return [*self._client._call(endpoints.LIST_CONTAINERS, requests.ListContainers(), timeout).containers]

    def create(
        self,
        name: str,
        ssh_key_ids: Sequence[int],
        *,
        instance_type: str | None = None,
        memory_mb: int | None = None,
        storage_gb: int | None = None,
        ssh_enabled: bool | None = None,
        mount_paths: Sequence[str] | None = None,
        timeout: float | None = None,
    ) -> Container:
        """Make a container and start it; the answer comes at once, with the status `pending`.

        What is not given takes the server's default. `ssh_key_ids` names the keys that may log in, at least
        one; `mount_paths` the directories that outlive a stop.

        Raises:
            InvalidRequest: a rule is broken; `fields` lists every fault.
            LimitReached: the user has as many containers as allowed.
            OutcomeUnknown: the answer was lost, and the container may be there; it is never sent twice.
        """
        request = requests.CreateContainer(
            name=name,
            ssh_key_ids=wire.listed(ssh_key_ids),
            instance_type=instance_type,
            memory_mb=memory_mb,
            storage_gb=storage_gb,
            ssh_enabled=ssh_enabled,
            mount_paths=wire.listed(mount_paths),
        )
        return self._client._call(endpoints.CREATE_CONTAINER, request, timeout)

    def get(self, id: str, *, timeout: float | None = None) -> Container:
        """One container, as it is now.

        Raises:
            NotFound: no container of the caller's has this id.
        """
        return self._client._call(endpoints.GET_CONTAINER, requests.GetContainer(id), timeout)

    def start(self, id: str, *, timeout: float | None = None) -> Container:
        """Boot a stopped or failed container; one that is on its way or running stays as it is.

        Raises:
            NotFound: no container of the caller's has this id.
        """
        return self._client._call(endpoints.START_CONTAINER, requests.StartContainer(id), timeout)

    def stop(self, id: str, *, timeout: float | None = None) -> Container:
        """Power a container off; only what lies under its mount paths stays.

        Raises:
            NotFound: no container of the caller's has this id.
        """
        return self._client._call(endpoints.STOP_CONTAINER, requests.StopContainer(id), timeout)

    def delete(self, id: str, *, timeout: float | None = None) -> None:
        """Delete a container and all its data.

        Raises:
            NotFound: no container of the caller's has this id.
        """
        self._client._call(endpoints.DELETE_CONTAINER, requests.DeleteContainer(id), timeout)

    def wait(self, id: str, status: str = "running", *, timeout: float = WAIT_TIMEOUT) -> Container:
        """Wait until a container has a status, by the events feed, and return it as it is then.

        It only watches: waiting for `running` on a stopped container waits for somebody to start it. `status`
        may be one that this version does not know, so a mistyped one is waited for in vain.

        Raises:
            ContainerFailed: it failed on the way; `reason` says why, if the server told.
            NotFound: no container of the caller's has this id, or it was deleted meanwhile.
            DeadlineExceeded: it took longer; `last_status` is what was seen last.
            Forbidden: the token lacks `read` on all containers of its user, which the feed needs.
        """
        return self._client._wait(id, status, timeout)


class SSHKeys:
    """`client.ssh_keys`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def list(self, *, timeout: float | None = None) -> builtins.list[SSHKey]:
        """The caller's keys, newest first."""
        return [*self._client._call(endpoints.LIST_SSH_KEYS, requests.ListSSHKeys(), timeout).ssh_keys]

    def add(self, name: str, public_key: str, *, timeout: float | None = None) -> SSHKey:
        """Register a public key: one line of OpenSSH's format, such as `ssh-ed25519 AAAA… me@home`.

        Raises:
            InvalidRequest: the key or the name is malformed.
            Conflict: the caller has this key already.
            LimitReached: the user has as many keys as allowed.
            OutcomeUnknown: the answer was lost, and the key may be there; it is never sent twice.
        """
        return self._client._call(endpoints.ADD_SSH_KEY, requests.AddSSHKey(name, public_key), timeout)

    def delete(self, id: int, *, timeout: float | None = None) -> None:
        """Forget a key; containers that carry it keep it.

        Raises:
            NotFound: no key of the caller's has this id.
        """
        self._client._call(endpoints.DELETE_SSH_KEY, requests.DeleteSSHKey(id), timeout)


class SSHSwitch:
    """`client.ssh_access`: whether a container can be reached by SSH from outside."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def get(self, id: str, *, timeout: float | None = None) -> SSHAccess:
        """Whether SSH from outside is on.

        Raises:
            NotFound: no container of the caller's has this id.
        """
        return self._client._call(endpoints.GET_SSH_ACCESS, requests.GetSSHAccess(id), timeout)

    def set(self, id: str, enabled: bool, *, timeout: float | None = None) -> SSHAccess:
        """Turn SSH from outside on or off; terminals and commands work regardless.

        Raises:
            NotFound: no container of the caller's has this id.
        """
        return self._client._call(endpoints.SET_SSH_ACCESS, requests.SetSSHAccess(id, enabled), timeout)


class Ingress:
    """`client.ingress`: the published ports of a container."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def list(self, id: str, *, timeout: float | None = None) -> builtins.list[IngressRule]:
        """The rules of a container, by port.

        Raises:
            NotFound: no container of the caller's has this id.
        """
        request = requests.ListIngress(id)
        return [*(self._client._call(endpoints.LIST_INGRESS, request, timeout)).rules]

    def add(
        self, id: str, port: int, target_port: int | None = None, *, timeout: float | None = None
    ) -> IngressRule:
        """Publish a port: connections to `port` from outside lead to `target_port` inside (None: the same).

        A rule of the same port is changed in place and keeps its id.

        Raises:
            NotFound: no container of the caller's has this id.
            InvalidRequest: the port may not be published, or there is no such port.
        """
        request = requests.AddIngress(id, port, target_port)
        return self._client._call(endpoints.ADD_INGRESS, request, timeout)

    def remove(self, id: str, port: int, *, timeout: float | None = None) -> None:
        """Publish a port no longer.

        Raises:
            NotFound: no container of the caller's has this id, or it has no rule of this port.
        """
        self._client._call(endpoints.REMOVE_INGRESS, requests.RemoveIngress(id, port), timeout)


class MountPaths:
    """`client.mounts`: the paths of a container that persist."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def get(self, id: str, *, timeout: float | None = None) -> Mounts:
        """The paths that persist.

        Raises:
            NotFound: no container of the caller's has this id.
        """
        return self._client._call(endpoints.GET_MOUNTS, requests.GetMounts(id), timeout)

    def set(self, id: str, mount_paths: Sequence[str], *, timeout: float | None = None) -> Mounts:
        """Choose the paths that persist, all of them at once. A container that is up restarts for it.

        `restarted` tells whether it did; when the first answer was lost and the call was repeated, it tells
        of the last try only.

        Raises:
            NotFound: no container of the caller's has this id.
            InvalidRequest: a path is malformed or may not be mounted; `fields` lists every fault.
        """
        request = requests.SetMounts(id, wire.listed(mount_paths))
        return self._client._call(endpoints.SET_MOUNTS, request, timeout)


class Tokens:
    """`client.tokens`: API tokens. Only a session manages them, an API token is `Forbidden` to."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def list(self, *, timeout: float | None = None) -> builtins.list[Token]:
        """The caller's API tokens, newest first, without their secrets."""
        return [*(self._client._call(endpoints.LIST_TOKENS, requests.ListTokens(), timeout)).tokens]

    def create(
        self, name: str, scopes: wire.Scopes, expires_in: str = "30d", *, timeout: float | None = None
    ) -> Token:
        """Make an API token; its `token` is told in this answer only.

        `scopes` are `Grants`, or maps scopes (or their texts) to the names of actions. `expires_in` is `30d`,
        `90d`, `365d` or `never`.

        Raises:
            InvalidRequest: a scope is malformed or not the caller's to grant, an action or the lifetime is
                none; `fields` lists every fault.
            OutcomeUnknown: the answer was lost, and the token may be there; it is never sent twice.
        """
        request = requests.CreateToken(name, wire.granted(scopes), expires_in)
        return self._client._call(endpoints.CREATE_TOKEN, request, timeout)

    def delete(self, id: str, *, timeout: float | None = None) -> None:
        """Revoke an API token at once; what it has opened is closed.

        Raises:
            NotFound: no token of the caller's has this id.
        """
        self._client._call(endpoints.DELETE_TOKEN, requests.DeleteToken(id), timeout)
