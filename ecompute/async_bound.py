"""Containers that can act: what the async client gives. `bound` has the twin."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

from attrs import field, fields, frozen

from .contract import resources
from .contract.catalog import TERMINAL_COLS, TERMINAL_ROWS
from .contract.resources import IngressRule, Mounts, SSHAccess
from .errors import Closed, CommandResult
from .settings import WAIT_TIMEOUT

if TYPE_CHECKING:
    from .async_client import AsyncClient
    from .async_terminal import AsyncTerminal
    from .protocol.archive import Progress
    from .protocol.inputs import AsyncInput


@frozen(eq=False, repr=False)
class AsyncContainer(resources.Container):
    """A container as the server last told it, which can act.

    It is a value: acting does not change it, but gives the container as it is afterwards, where the server
    tells it. Copies that were pickled have no client any more; pass them to a client's operations.
    """

    _client: AsyncClient | None = field(default=None, kw_only=True)

    async def refresh(self, *, timeout: float | None = None) -> AsyncContainer:
        """The container as it is now; as `containers.get`."""
        return await self._acting().containers.get(self.id, timeout=timeout)

    async def start(self, *, wait: bool = False, timeout: float | None = None) -> AsyncContainer:
        """Boot it; as `containers.start`."""
        return await self._acting().containers.start(self.id, wait=wait, timeout=timeout)

    async def stop(self, *, timeout: float | None = None) -> AsyncContainer:
        """Power it off; as `containers.stop`."""
        return await self._acting().containers.stop(self.id, timeout=timeout)

    async def delete(self, *, timeout: float | None = None) -> None:
        """Delete it and all its data; as `containers.delete`."""
        await self._acting().containers.delete(self.id, timeout=timeout)

    async def wait(self, status: str = "running", *, timeout: float = WAIT_TIMEOUT) -> AsyncContainer:
        """Wait until it has a status; as `containers.wait`."""
        return await self._acting().containers.wait(self.id, status, timeout=timeout)

    async def get_ssh_access(self, *, timeout: float | None = None) -> SSHAccess:
        """Whether SSH from outside is on; as `ssh_access.get`."""
        return await self._acting().ssh_access.get(self.id, timeout=timeout)

    async def set_ssh_access(self, enabled: bool, *, timeout: float | None = None) -> SSHAccess:
        """Turn SSH from outside on or off; as `ssh_access.set`."""
        return await self._acting().ssh_access.set(self.id, enabled, timeout=timeout)

    async def list_ingress(self, *, timeout: float | None = None) -> list[IngressRule]:
        """Its published ports; as `ingress.list`."""
        return await self._acting().ingress.list(self.id, timeout=timeout)

    async def add_ingress(
        self, port: int, target_port: int | None = None, *, timeout: float | None = None
    ) -> IngressRule:
        """Publish a port; as `ingress.add`."""
        return await self._acting().ingress.add(self.id, port, target_port, timeout=timeout)

    async def remove_ingress(self, port: int, *, timeout: float | None = None) -> None:
        """Publish a port no longer; as `ingress.remove`."""
        await self._acting().ingress.remove(self.id, port, timeout=timeout)

    async def get_mounts(self, *, timeout: float | None = None) -> Mounts:
        """The paths that persist; as `mounts.get`."""
        return await self._acting().mounts.get(self.id, timeout=timeout)

    async def set_mounts(self, mount_paths: Sequence[str], *, timeout: float | None = None) -> Mounts:
        """Choose the paths that persist; as `mounts.set`."""
        return await self._acting().mounts.set(self.id, mount_paths, timeout=timeout)

    def terminal(
        self,
        *,
        rows: int = TERMINAL_ROWS,
        cols: int = TERMINAL_COLS,
        timeout: float | None = None,
    ) -> AsyncTerminal:
        """A shell in it; as `client.terminal`."""
        return self._acting().terminal(self.id, rows=rows, cols=cols, timeout=timeout)

    async def run(
        self,
        command: str | Sequence[str],
        *,
        input: AsyncInput | None = None,
        on_output: Callable[[bytes], object] | None = None,
        on_error: Callable[[bytes], object] | None = None,
        timeout: float | None = None,
        check: bool = False,
    ) -> CommandResult:
        """Run a shell line in it; as `client.run`."""
        return await self._acting().run(
            self.id,
            command,
            input=input,
            on_output=on_output,
            on_error=on_error,
            timeout=timeout,
            check=check,
        )

    async def copy_to(
        self,
        source: str | PathLike[str],
        target: str | PathLike[str],
        *,
        progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> None:
        """Copy a file or folder into it; as `client.copy_to`."""
        await self._acting().copy_to(self.id, source, target, progress=progress, timeout=timeout)

    async def copy_from(
        self,
        source: str | PathLike[str],
        target: str | PathLike[str],
        *,
        progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> None:
        """Copy a file or folder out of it; as `client.copy_from`."""
        await self._acting().copy_from(self.id, source, target, progress=progress, timeout=timeout)

    def _acting(self) -> AsyncClient:
        if self._client is None:
            raise Closed("This container came without a client: pass it to an operation of one.")
        return self._client

    def __reduce__(self) -> tuple[Any, ...]:
        # a connection does not travel
        return _restore, (_values(self),)


_NAMES = tuple(a.name for a in fields(resources.Container))


def _values(told: resources.Container) -> dict[str, Any]:
    return {name: getattr(told, name) for name in _NAMES}


def _restore(values: Mapping[str, Any]) -> AsyncContainer:
    return AsyncContainer(**values)


def bind(client: AsyncClient | None) -> Callable[[resources.Container], AsyncContainer]:
    """What gives a client's containers the power to act."""

    def bound(told: resources.Container) -> AsyncContainer:
        if not isinstance(told, AsyncContainer) or told._client is not None:
            told = AsyncContainer(**_values(told))
        # it was made just now, here or for an answer, and is nobody else's yet
        object.__setattr__(told, "_client", client)
        return told

    return bound
