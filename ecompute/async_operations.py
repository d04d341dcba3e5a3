"""The async client's groups of operations: one line per row."""

from __future__ import annotations

import builtins
import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from .async_bound import AsyncContainer
from .contract.resources import IngressRule, Mounts, SSHAccess, SSHKey, Token
from .files import public_key_text
from .late import endpoints, requests, wire
from .listing import Listing
from .protocol.ids import KeyRef, Ref, TokenRef, id_of
from .settings import WAIT_TIMEOUT

if TYPE_CHECKING:
    from .async_client import AsyncClient


class AsyncContainers:
    """`client.containers`."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def list(self, *, timeout: float | None = None) -> builtins.list[AsyncContainer]:
        """The caller's containers, newest first."""
        answer = await self._client._call(endpoints.LIST_CONTAINERS, requests.ListContainers(), timeout)
        return Listing(map(self._client._bind, answer.containers))

    async def create(
        self,
        name: str,
        ssh_key_ids: KeyRef | Iterable[KeyRef],
        *,
        instance_type: str | None = None,
        memory_mb: int | None = None,
        storage_gb: int | None = None,
        ssh_enabled: bool | None = None,
        mount_paths: Sequence[str] | None = None,
        wait: bool = False,
        delete_on_failure: bool = False,
        idempotency_key: str | None = None,
        timeout: float | None = None,
    ) -> AsyncContainer:
        """Make a container and start it; the answer comes at once, with the status `pending`.

        What is not given takes the server's default. `ssh_key_ids` names the keys that may log in, at least
        one, by their ids or by themselves; `mount_paths` the directories that outlive a stop.

        With `wait`, it is waited for until it runs; `timeout` is then for both, 120 seconds unless given, and
        `delete_on_failure` deletes a container that failed, did not run in time, or whose caller was
        interrupted or cancelled: then this ends when that is done, and what is left all the same is a note of
        the exception.

        The request has an idempotency key, a new one unless given, under which it is repeated when its answer
        was lost: where the server honours keys, there is one container however often it is sent.

        Raises:
            InvalidRequest: a rule is broken; `fields` lists every fault.
            LimitReached: the user has as many containers as allowed.
            OutcomeUnknown: the answer was lost, and the container may be there; `client.resolve` settles it,
                where the server honours keys.
            ContainerFailed, DeadlineExceeded: with `wait`, as for `wait`.
        """
        request = requests.CreateContainer(
            name=name,
            ssh_key_ids=wire.key_ids(ssh_key_ids),
            instance_type=instance_type,
            memory_mb=memory_mb,
            storage_gb=storage_gb,
            ssh_enabled=ssh_enabled,
            mount_paths=wire.listed(mount_paths),
        )
        if wait and delete_on_failure:
            return await self._client._create_running(request, timeout, idempotency_key)
        began = self._client._context.now()
        made = await self._client._call(endpoints.CREATE_CONTAINER, request, timeout, idempotency_key)
        if not wait:
            return self._client._bind(made)
        return await self._client._await_running(made.id, began, timeout, "containers.create")

    async def get(self, id: Ref, *, timeout: float | None = None) -> AsyncContainer:
        """One container, as it is now.

        Raises:
            NotFound: no container of the caller's has this id.
        """
        request = requests.GetContainer(id_of(id))
        return self._client._bind(await self._client._call(endpoints.GET_CONTAINER, request, timeout))

    async def start(self, id: Ref, *, wait: bool = False, timeout: float | None = None) -> AsyncContainer:
        """Boot a stopped or failed container; one that is on its way or running stays as it is.

        With `wait`, it is waited for until it runs; `timeout` is then for both, 120 seconds unless given.

        Raises:
            NotFound: no container of the caller's has this id.
            ContainerFailed, DeadlineExceeded: with `wait`, as for `wait`.
        """
        began = self._client._context.now()
        request = requests.StartContainer(id_of(id))
        started = await self._client._call(endpoints.START_CONTAINER, request, timeout)
        if not wait:
            return self._client._bind(started)
        return await self._client._await_running(started.id, began, timeout, "containers.start")

    async def stop(self, id: Ref, *, timeout: float | None = None) -> AsyncContainer:
        """Power a container off; only what lies under its mount paths stays.

        Raises:
            NotFound: no container of the caller's has this id.
        """
        request = requests.StopContainer(id_of(id))
        return self._client._bind(await self._client._call(endpoints.STOP_CONTAINER, request, timeout))

    async def delete(self, id: Ref, *, timeout: float | None = None) -> None:
        """Delete a container and all its data.

        Raises:
            NotFound: no container of the caller's has this id.
        """
        await self._client._call(endpoints.DELETE_CONTAINER, requests.DeleteContainer(id_of(id)), timeout)

    async def wait(
        self, id: Ref, status: str = "running", *, timeout: float = WAIT_TIMEOUT
    ) -> AsyncContainer:
        """Wait until a container has a status, by the events feed, and return it as it is then.

        It only watches: waiting for `running` on a stopped container waits for somebody to start it. `status`
        may be one that this version does not know, so a mistyped one is waited for in vain. All who wait by
        one client share one feed; nothing is asked meanwhile. Where there is no feed, as for a token without
        `read` on all containers of its user, the container is looked at again and again, more and more
        seldom.

        Raises:
            ContainerFailed: it failed on the way; `reason` says why, if the server told.
            NotFound: no container of the caller's has this id, or it was deleted meanwhile.
            DeadlineExceeded: it took longer; `last_status` is what was seen last.
        """
        return (await self._client._wait([id_of(id)], status, timeout, "containers.wait"))[0]

    async def wait_all(
        self, ids: Iterable[Ref], status: str = "running", *, timeout: float = WAIT_TIMEOUT
    ) -> builtins.list[AsyncContainer]:
        """Wait until all these containers have had a status; gives them in their order, as they were then.

        The first one that fails ends it. `timeout` is for all together.

        Raises:
            ContainerFailed, NotFound, DeadlineExceeded: as for `wait`.
        """
        return await self._client._wait([*map(id_of, ids)], status, timeout, "containers.wait_all")


class AsyncSSHKeys:
    """`client.ssh_keys`."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def list(self, *, timeout: float | None = None) -> builtins.list[SSHKey]:
        """The caller's keys, newest first."""
        answer = await self._client._call(endpoints.LIST_SSH_KEYS, requests.ListSSHKeys(), timeout)
        return Listing(answer.ssh_keys)

    async def add(
        self,
        name: str,
        public_key: str | os.PathLike[str],
        *,
        idempotency_key: str | None = None,
        timeout: float | None = None,
    ) -> SSHKey:
        """Register a public key: one line of OpenSSH's format, such as `ssh-ed25519 AAAA… me@home`, or the
        `Path` of a file that holds one.

        The request has an idempotency key, as for `containers.create`.

        Raises:
            InvalidArgument: the file cannot be read, or holds a private key.
            InvalidRequest: the key or the name is malformed.
            Conflict: the caller has this key already.
            LimitReached: the user has as many keys as allowed.
            OutcomeUnknown: the answer was lost, and the key may be there; `client.resolve` settles it, where
                the server honours keys.
        """
        request = requests.AddSSHKey(name, public_key_text(public_key))
        return await self._client._call(endpoints.ADD_SSH_KEY, request, timeout, idempotency_key)

    async def delete(self, id: KeyRef, *, timeout: float | None = None) -> None:
        """Forget a key; containers that carry it keep it.

        Raises:
            NotFound: no key of the caller's has this id.
        """
        await self._client._call(endpoints.DELETE_SSH_KEY, requests.DeleteSSHKey(id_of(id, SSHKey)), timeout)


class AsyncSSHSwitch:
    """`client.ssh_access`: whether a container can be reached by SSH from outside."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def get(self, id: Ref, *, timeout: float | None = None) -> SSHAccess:
        """Whether SSH from outside is on.

        Raises:
            NotFound: no container of the caller's has this id.
        """
        return await self._client._call(endpoints.GET_SSH_ACCESS, requests.GetSSHAccess(id_of(id)), timeout)

    async def set(self, id: Ref, enabled: bool, *, timeout: float | None = None) -> SSHAccess:
        """Turn SSH from outside on or off; terminals and commands work regardless.

        Raises:
            NotFound: no container of the caller's has this id.
        """
        return await self._client._call(
            endpoints.SET_SSH_ACCESS, requests.SetSSHAccess(id_of(id), enabled), timeout
        )


class AsyncIngress:
    """`client.ingress`: the published ports of a container."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def list(self, id: Ref, *, timeout: float | None = None) -> builtins.list[IngressRule]:
        """The rules of a container, by port.

        Raises:
            NotFound: no container of the caller's has this id.
        """
        answer = await self._client._call(endpoints.LIST_INGRESS, requests.ListIngress(id_of(id)), timeout)
        return Listing(answer.rules)

    async def add(
        self, id: Ref, port: int, target_port: int | None = None, *, timeout: float | None = None
    ) -> IngressRule:
        """Publish a port: connections to `port` from outside lead to `target_port` inside (None: the same).

        A rule of the same port is changed in place and keeps its id.

        Raises:
            NotFound: no container of the caller's has this id.
            InvalidRequest: the port may not be published, or there is no such port.
        """
        request = requests.AddIngress(id_of(id), port, target_port)
        return await self._client._call(endpoints.ADD_INGRESS, request, timeout)

    async def remove(self, id: Ref, port: int, *, timeout: float | None = None) -> None:
        """Publish a port no longer.

        Raises:
            NotFound: no container of the caller's has this id, or it has no rule of this port.
        """
        await self._client._call(endpoints.REMOVE_INGRESS, requests.RemoveIngress(id_of(id), port), timeout)


class AsyncMountPaths:
    """`client.mounts`: the paths of a container that persist."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def get(self, id: Ref, *, timeout: float | None = None) -> Mounts:
        """The paths that persist.

        Raises:
            NotFound: no container of the caller's has this id.
        """
        return await self._client._call(endpoints.GET_MOUNTS, requests.GetMounts(id_of(id)), timeout)

    async def set(self, id: Ref, mount_paths: Sequence[str], *, timeout: float | None = None) -> Mounts:
        """Choose the paths that persist, all of them at once. A container that is up restarts for it.

        `restarted` tells whether it did; when the first answer was lost and the call was repeated, it tells
        of the last try only.

        Raises:
            NotFound: no container of the caller's has this id.
            InvalidRequest: a path is malformed or may not be mounted; `fields` lists every fault.
        """
        request = requests.SetMounts(id_of(id), wire.listed(mount_paths))
        return await self._client._call(endpoints.SET_MOUNTS, request, timeout)


class AsyncTokens:
    """`client.tokens`: API tokens. Only a session manages them, an API token is `Forbidden` to."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def list(self, *, timeout: float | None = None) -> builtins.list[Token]:
        """The caller's API tokens, newest first, without their secrets."""
        answer = await self._client._call(endpoints.LIST_TOKENS, requests.ListTokens(), timeout)
        return Listing(answer.tokens)

    async def create(
        self, name: str, scopes: wire.Scopes, expires_in: str = "30d", *, timeout: float | None = None
    ) -> Token:
        """Make an API token; its `token` is told in this answer only.

        `scopes` are `Grants`, or maps scopes (or their texts) to the names of actions; `<uid>` in a scope
        stands for the caller's user id, which is asked for if need be. `expires_in` is `30d`, `90d`, `365d`
        or `never`.

        Raises:
            InvalidRequest: a scope is malformed or not the caller's to grant, an action or the lifetime is
                none; `fields` lists every fault.
            OutcomeUnknown: the answer was lost, and the token may be there; it is never sent twice.
        """
        granted = wire.granted(scopes)
        if wire.names_caller(granted):
            granted = wire.for_user(granted, await self._client._user_id(timeout))
        request = requests.CreateToken(name, granted, expires_in)
        return await self._client._call(endpoints.CREATE_TOKEN, request, timeout)

    async def delete(self, id: TokenRef, *, timeout: float | None = None) -> None:
        """Revoke an API token at once; what it has opened is closed.

        Raises:
            NotFound: no token of the caller's has this id.
        """
        await self._client._call(endpoints.DELETE_TOKEN, requests.DeleteToken(id_of(id, Token)), timeout)
