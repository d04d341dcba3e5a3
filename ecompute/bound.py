"""Containers that can act: what the sync client gives. `async_bound` has the twin."""

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
    from .client import Client
    from .protocol.archive import Progress
    from .protocol.inputs import Input
    from .terminal import Terminal


@frozen(eq=False, repr=False)
class Container(resources.Container):
    """A container as the server last told it, which can act.

    It is a value: acting does not change it, but gives the container as it is afterwards, where the server
    tells it. Copies that were pickled have no client any more; pass them to a client's operations.
    """

    _client: Client | None = field(default=None, kw_only=True)

    def refresh(self, *, timeout: float | None = None) -> Container:
        """The container as it is now; as `containers.get`."""
        return self._acting().containers.get(self.id, timeout=timeout)

    def start(self, *, wait: bool = False, timeout: float | None = None) -> Container:
        """Boot it; as `containers.start`."""
        return self._acting().containers.start(self.id, wait=wait, timeout=timeout)

    def stop(self, *, timeout: float | None = None) -> Container:
        """Power it off; as `containers.stop`."""
        return self._acting().containers.stop(self.id, timeout=timeout)

    def delete(self, *, timeout: float | None = None) -> None:
        """Delete it and all its data; as `containers.delete`."""
        self._acting().containers.delete(self.id, timeout=timeout)

    def wait(self, status: str = "running", *, timeout: float = WAIT_TIMEOUT) -> Container:
        """Wait until it has a status; as `containers.wait`."""
        return self._acting().containers.wait(self.id, status, timeout=timeout)

    def get_ssh_access(self, *, timeout: float | None = None) -> SSHAccess:
        """Whether SSH from outside is on; as `ssh_access.get`."""
        return self._acting().ssh_access.get(self.id, timeout=timeout)

    def set_ssh_access(self, enabled: bool, *, timeout: float | None = None) -> SSHAccess:
        """Turn SSH from outside on or off; as `ssh_access.set`."""
        return self._acting().ssh_access.set(self.id, enabled, timeout=timeout)

    def list_ingress(self, *, timeout: float | None = None) -> list[IngressRule]:
        """Its published ports; as `ingress.list`."""
        return self._acting().ingress.list(self.id, timeout=timeout)

    def add_ingress(
        self, port: int, target_port: int | None = None, *, timeout: float | None = None
    ) -> IngressRule:
        """Publish a port; as `ingress.add`."""
        return self._acting().ingress.add(self.id, port, target_port, timeout=timeout)

    def remove_ingress(self, port: int, *, timeout: float | None = None) -> None:
        """Publish a port no longer; as `ingress.remove`."""
        self._acting().ingress.remove(self.id, port, timeout=timeout)

    def get_mounts(self, *, timeout: float | None = None) -> Mounts:
        """The paths that persist; as `mounts.get`."""
        return self._acting().mounts.get(self.id, timeout=timeout)

    def set_mounts(self, mount_paths: Sequence[str], *, timeout: float | None = None) -> Mounts:
        """Choose the paths that persist; as `mounts.set`."""
        return self._acting().mounts.set(self.id, mount_paths, timeout=timeout)

    def terminal(
        self,
        *,
        rows: int = TERMINAL_ROWS,
        cols: int = TERMINAL_COLS,
        timeout: float | None = None,
    ) -> Terminal:
        """A shell in it; as `client.terminal`."""
        return self._acting().terminal(self.id, rows=rows, cols=cols, timeout=timeout)

    def run(
        self,
        command: str | Sequence[str],
        *,
        input: Input | None = None,
        on_output: Callable[[bytes], object] | None = None,
        on_error: Callable[[bytes], object] | None = None,
        timeout: float | None = None,
        check: bool = False,
    ) -> CommandResult:
        """Run a shell line in it; as `client.run`."""
        return self._acting().run(
            self.id,
            command,
            input=input,
            on_output=on_output,
            on_error=on_error,
            timeout=timeout,
            check=check,
        )

    def copy_to(
        self,
        source: str | PathLike[str],
        target: str | PathLike[str],
        *,
        progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> None:
        """Copy a file or folder into it; as `client.copy_to`."""
        self._acting().copy_to(self.id, source, target, progress=progress, timeout=timeout)

    def copy_from(
        self,
        source: str | PathLike[str],
        target: str | PathLike[str],
        *,
        progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> None:
        """Copy a file or folder out of it; as `client.copy_from`."""
        self._acting().copy_from(self.id, source, target, progress=progress, timeout=timeout)

    def _acting(self) -> Client:
        if self._client is None:
            raise Closed("This container came without a client: pass it to an operation of one.")
        return self._client

    def __reduce__(self) -> tuple[Any, ...]:
        # a connection does not travel
        return _restore, (_values(self),)


_NAMES = tuple(a.name for a in fields(resources.Container))


def _values(told: resources.Container) -> dict[str, Any]:
    return {name: getattr(told, name) for name in _NAMES}


def _restore(values: Mapping[str, Any]) -> Container:
    return Container(**values)


def bind(client: Client | None) -> Callable[[resources.Container], Container]:
    """What gives a client's containers the power to act."""

    def bound(told: resources.Container) -> Container:
        if not isinstance(told, Container) or told._client is not None:
            told = Container(**_values(told))
        # it was made just now, here or for an answer, and is nobody else's yet
        object.__setattr__(told, "_client", client)
        return told

    return bound
