"""The async client, on asyncio and trio. `client` is its twin.

What an operation does is written once, in `protocol`; here it only meets the transport.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Sequence
from copy import copy
from functools import partial
from os import PathLike
from types import TracebackType
from typing import TYPE_CHECKING, Self

from attrs import evolve

from .async_bound import AsyncContainer, bind
from .async_engine import AsyncEngine
from .async_operations import (
    AsyncContainers,
    AsyncIngress,
    AsyncMountPaths,
    AsyncSSHKeys,
    AsyncSSHSwitch,
    AsyncTokens,
)
from .channels import Channels
from .contract.catalog import TERMINAL_COLS, TERMINAL_ROWS, Status
from .contract.resources import Container as AnyContainer
from .contract.resources import Session, SSHKey
from .errors import (
    CommandResult,
    InvalidArgument,
    OutcomeUnknown,
)
from .files import public_key_text
from .late import endpoints, execution, flows, requests, temporary, wire
from .observing import Listener, Stats
from .protocol.ids import KeyRef, Ref, id_of
from .settings import WAIT_TIMEOUT, Given, Settings, changed, checked_timeout, hidden, resolve
from .surroundings import context

if TYPE_CHECKING:
    # the HTTP library is loaded with the first client
    from .async_command import AsyncCommand
    from .async_events import AsyncEvents
    from .async_temporary import AsyncTemporary
    from .async_terminal import AsyncTerminal
    from .async_transport import AsyncTransport
    from .async_waiters import AsyncHub
    from .async_watch import AsyncWatch
    from .credentials import TokenSource
    from .custom import AsyncCustomTransport
    from .protocol.archive import Progress
    from .protocol.context import Context
    from .protocol.inputs import AsyncInput
    from .protocol.observing import Hooks
    from .protocol.policy import Retries
    from .settings import Cert, Verify


class AsyncClient(AsyncEngine):
    """A connection to one server with one credential; tasks of one event loop may share it.

    What is not given comes from the environment (`ECOMPUTE_TOKEN`, `ECOMPUTE_URL`, …) or from a profile in
    `~/.config/ecompute/config.toml`: the one named by `profile`, which then wins over the environment, or the
    default one. `token` may be a function that gives one; it is asked again when a token is refused.

    `timeout` is the total time of one call in seconds (30), retries included, for calls that say nothing
    else; `connect_timeout` (10) bounds each attempt to reach the server, `read_timeout` and `write_timeout`
    each wait for the next bytes. `verify` is True, a file of certificate authorities, an `ssl.SSLContext` or
    False; `cert` is a client certificate: a file with its key, or a pair of files; `proxy` is a URL, else the
    environment's; `transport` replaces the way to the network (an `httpx.AsyncBaseTransport`); `hooks` are
    functions that are told of each attempt, `retries` how often and how fast there is another.

    Reads, and calls that may happen twice without harm, are repeated on connection faults and on 429, 502,
    503 and 504, with growing pauses. Creating is repeated only under an idempotency key that the server
    honours, so that it happens once. Redirects are not followed.

    Most operations are in groups, which are attributes:

        containers  containers: create, list, get, start, stop, delete, and wait for a status
        ssh_keys    the public keys that may log in: list, add, delete
        ssh_access  whether a container can be reached by SSH from outside: get, set
        ingress     the published ports of a container: list, add, remove
        mounts      the paths of a container that persist: get, set
        tokens      API tokens: list, create, delete

    Raises:
        InvalidArgument: a setting is missing or malformed.
    """

    containers: AsyncContainers
    """Containers: create, list, get, start, stop, delete, and wait for a status."""
    ssh_keys: AsyncSSHKeys
    """The public keys that may log in: list, add, delete."""
    ssh_access: AsyncSSHSwitch
    """Whether a container can be reached by SSH from outside: get, set."""
    ingress: AsyncIngress
    """The published ports of a container: list, add, remove."""
    mounts: AsyncMountPaths
    """The paths of a container that persist: get, set."""
    tokens: AsyncTokens
    """API tokens: list, create, delete."""

    def __init__(
        self,
        token: str | TokenSource | None = None,
        base_url: str | None = None,
        *,
        profile: str | None = None,
        timeout: float | None = None,
        connect_timeout: float | None = None,
        read_timeout: float | None = None,
        write_timeout: float | None = None,
        verify: Verify = True,
        cert: Cert | None = None,
        proxy: str | None = None,
        transport: AsyncCustomTransport | None = None,
        retries: Retries | None = None,
        hooks: Hooks | None = None,
    ) -> None:
        secret = hidden(token)
        given = Given(
            token=secret,
            base_url=base_url,
            profile=profile,
            timeout=timeout,
            connect_timeout=connect_timeout,
            read_timeout=read_timeout,
            write_timeout=write_timeout,
            verify=verify,
            cert=cert,
            proxy=proxy,
        )
        del token, base_url, cert, proxy  # a traceback may show them
        settings = resolve(given)
        from .async_transport import AsyncTransport

        way = AsyncTransport.open(settings, transport)
        listener = Listener(hooks)
        surroundings = context(settings.base_url, listener, retries, AsyncContainer)
        self._set_up(settings, way, listener, surroundings, Channels())

    def _set_up(
        self,
        settings: Settings,
        transport: AsyncTransport,
        listener: Listener,
        context: Context,
        channels: Channels[AsyncEvents | AsyncWatch | AsyncTerminal | AsyncCommand | AsyncHub],
    ) -> None:
        self._settings = settings
        self._transport = transport
        self._listener = listener
        self._context = context
        self._waiters = None
        self._bind = bind(self)
        self._user = None
        self._channels = channels
        self.containers = AsyncContainers(self)
        self.ssh_keys = AsyncSSHKeys(self)
        self.ssh_access = AsyncSSHSwitch(self)
        self.ingress = AsyncIngress(self)
        self.mounts = AsyncMountPaths(self)
        self.tokens = AsyncTokens(self)

    def with_options(
        self,
        *,
        token: str | TokenSource | None = None,
        timeout: float | None = None,
        connect_timeout: float | None = None,
        read_timeout: float | None = None,
        write_timeout: float | None = None,
        retries: Retries | None = None,
        hooks: Hooks | None = None,
    ) -> Self:
        """A client of the same server over the same connections, with other settings; what is not given is as
        it is here. It counts its own `stats`.

        Closing it closes what it has opened, such as feeds and terminals; closing this one closes both.

        Raises:
            InvalidArgument: a setting is malformed.
        """
        secret = hidden(token)
        del token  # a traceback may show it
        settings = changed(
            self._settings,
            token=secret,
            timeout=timeout,
            connect_timeout=connect_timeout,
            read_timeout=read_timeout,
            write_timeout=write_timeout,
        )
        listener = self._listener.with_hooks(hooks)
        server = self._context.server if secret is None else evolve(self._context.server, user_id=None)
        retries = retries or self._context.retries
        surroundings = evolve(self._context, observer=listener, server=server, retries=retries)
        derived = copy(self)
        way = self._transport.derive(settings)
        derived._set_up(settings, way, listener, surroundings, Channels(self._channels))
        return derived

    async def session(self, *, timeout: float | None = None) -> Session:
        """Who the token belongs to; its `token` is None."""
        return await self._call(endpoints.GET_SESSION, requests.GetSession(), timeout)

    async def logout(self, *, timeout: float | None = None) -> None:
        """End the session at once: its token is good for nothing any more, what it has opened is closed.

        Raises:
            Forbidden: the token is no session's.
        """
        await self._call(endpoints.LOG_OUT, requests.LogOut(), timeout)

    async def resolve(
        self, unknown: OutcomeUnknown, *, timeout: float | None = None
    ) -> AsyncContainer | SSHKey:
        """Settle a create whose outcome is unknown: repeat it under its key, within 24 hours, and give what
        it made, as the create itself would have. Several calls give the same.

        It takes a client of the same user, whose token may be another one: in another user's name the key is
        a new one, and the create another create. So the server is asked whose token this is, and another user
        than `unknown.user_id` is refused. That is None where the server did not tell it when the answer was
        lost: then, and where it does not tell it now, this is not checked.

        Raises:
            InvalidArgument: it has no key, is too old, or was sent to another server or by another user.
            Unsupported: the server does not honour idempotency keys.
            OutcomeUnknown: its outcome still cannot be had; try again later.
            APIError: a refusal, which means that nothing was made.
        """
        if not isinstance(unknown, OutcomeUnknown):
            raise InvalidArgument("What can be resolved is an OutcomeUnknown.")
        flow = flows.resolve(unknown, self._within(timeout), self._context)
        made: AnyContainer | SSHKey = await flows.adrive(flow, self._transport.perform)
        return self._bind(made) if isinstance(made, AnyContainer) else made

    @property
    def base_url(self) -> str:
        """The address of the server, without a slash at its end."""
        return self._settings.base_url

    @property
    def stats(self) -> Stats:
        """What this client has done so far, in numbers."""
        return self._listener.stats

    def events(self, *, timeout: float | None = None) -> AsyncEvents:
        """What happens to the containers, as a context manager that yields events.

        `timeout` bounds the opening.

        Raises (on entering):
            Forbidden: the token lacks `read` on all containers of its user.
            APIError, ConnectError, DeadlineExceeded, InvalidAnswer: as for every call.
        """
        from .async_events import AsyncEvents

        events = AsyncEvents(self._transport, self._context, self._within(timeout), self._bind)
        self._channels.add(events)
        return events

    def watch(self, *, timeout: float | None = None) -> AsyncWatch:
        """A live view of all containers, as a context manager that gives a mapping of id to container.

        Entering waits for the first list; `timeout` bounds that.

        Raises (on entering):
            Forbidden: the token lacks `read` on all containers of its user.
            APIError, ConnectError, DeadlineExceeded, InvalidAnswer: as for every call.
        """
        from .async_watch import AsyncWatch

        watch = AsyncWatch(self._transport, self._context, self._within(timeout), self._bind)
        self._channels.add(watch)
        return watch

    def temporary(
        self,
        *,
        name: str | None = None,
        instance_type: str | None = None,
        memory_mb: int | None = None,
        storage_gb: int | None = None,
        ssh_enabled: bool | None = None,
        mount_paths: Sequence[str] | None = None,
        ssh_key_ids: KeyRef | Iterable[KeyRef] | None = None,
        public_key: str | PathLike[str] | None = None,
        timeout: float = WAIT_TIMEOUT,
    ) -> AsyncTemporary:
        """A running container for the length of a block, as a context manager that gives the `Container`.

        A key is registered for it, and both are deleted at the end, whatever happens. `public_key` is that
        key, or the `Path` of its file; without it one is made up with which nobody can log in, so that only
        terminals and commands reach the container. `ssh_key_ids` names registered keys instead; these stay.
        `name` is a random one unless given, `timeout` the time to boot, the rest as for `containers.create`.

        Raises:
            InvalidArgument: at once, for arguments of the wrong type, or both kinds of key.
            ContainerFailed, DeadlineExceeded: on entering; it did not boot, and is deleted.
            APIError, ConnectError, OutcomeUnknown: on entering, as for every create; on leaving, when
                something could not be deleted and may be left.
        """
        from .async_temporary import AsyncTemporary

        if ssh_key_ids is not None and public_key is not None:
            raise InvalidArgument("A temporary container takes ssh_key_ids or public_key, not both.")
        unique = f"temporary-{secrets.token_hex(4)}"
        request = requests.CreateContainer(
            name=unique if name is None else name,
            ssh_key_ids=() if ssh_key_ids is None else wire.key_ids(ssh_key_ids),
            instance_type=instance_type,
            memory_mb=memory_mb,
            storage_gb=storage_gb,
            ssh_enabled=ssh_enabled,
            mount_paths=wire.listed(mount_paths),
        )
        secret = secrets.token_bytes(32)
        given = None if public_key is None else public_key_text(public_key)
        line = temporary.key_line(request, given, unique=unique, secret=secret)
        state = temporary.Temporary(request, line, unique=unique, secret=secret, context=self._context)
        wait = partial(
            self._wait, status=Status.RUNNING, timeout=checked_timeout(timeout), caller=temporary.CALLER
        )
        return AsyncTemporary(self._transport, state, self._settings.timeout, wait)

    def terminal(
        self,
        id: Ref,
        *,
        rows: int = TERMINAL_ROWS,
        cols: int = TERMINAL_COLS,
        timeout: float | None = None,
    ) -> AsyncTerminal:
        """A shell in a running container, as a context manager; `rows` and `cols` are 1 to 1000.

        `timeout` bounds the opening.

        Raises:
            InvalidArgument: at once, for arguments of the wrong type.
            NotFound, NotRunning: on entering, as every other refusal.
        """
        from .async_terminal import AsyncTerminal

        terminal = AsyncTerminal(self._transport, self._context, self._within(timeout), id_of(id), rows, cols)
        self._channels.add(terminal)
        return terminal

    async def run(
        self,
        id: Ref,
        command: str | Sequence[str],
        *,
        input: AsyncInput | None = None,
        on_output: Callable[[bytes], object] | None = None,
        on_error: Callable[[bytes], object] | None = None,
        timeout: float | None = None,
        check: bool = False,
    ) -> CommandResult:
        """Run a shell line in a running container, as root and without a terminal, and wait for its end. A
        list of words is made into one line, each word quoted.

        `input` is its standard input: bytes, a text in UTF-8, a file opened for bytes, or an iterable of
        bytes, which is asked for more when there is room for it (of the async client also an async file or
        iterable). While one of the sync client has nothing yet, output waits as well.

        What the command prints is kept in memory, all of it, unless `on_output` or `on_error` takes it: these
        get the bytes of their stream as they come, in the caller's thread or task, and that stream of the
        result stays empty. A slow one makes the command wait; what one raises ends the command by a hang-up
        and is raised here. With the async client they may be coroutine functions.

        `timeout` is for everything (None: as long as it takes); a command whose time is over gets a hang-up.
        So does one whose caller is interrupted or cancelled.

        Raises:
            NotFound, NotRunning: as every other refusal; nothing was run.
            Unsupported: the server knows no single commands.
            CommandFailed: with `check`, when its exit status is not 0.
            DeadlineExceeded: it took longer; it may have ended all the same.
            ConnectError: the connection or the container was lost before its end, or the server did not take
                the command.
            InvalidArgument, InvalidAnswer: as for every call.
        """
        result = await self._run(
            id_of(id), command, timeout, input=input, on_output=on_output, on_error=on_error
        )
        return execution.checked(id_of(id), result) if check else result

    async def copy_to(
        self,
        id: Ref,
        source: str | PathLike[str],
        target: str | PathLike[str],
        *,
        progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> None:
        """Copy a file or folder of this machine into a running container, by `tar` there.

        When `target` is a folder there, `source` comes to lie in it under its own name, as it does when
        `target` ends with `/`, which must be a folder then. Else it becomes `target`, in a folder that must
        be there. A folder that is there already keeps what else is in it; files and links are replaced. A
        source that ends with `/.` stands for what is in that folder. Relative targets begin at root's home.

        Modes (without set-id bits), times of files and links are kept; everything belongs to root. A link
        given as `source` is followed, one below it is copied as it is. `progress` is told after each piece,
        in the caller's thread or task. A copy that fails may leave what it had copied until then, the last
        file of it incomplete.

        Raises:
            InvalidArgument: `source` is not there, or cannot be read; nothing was sent.
            CommandFailed: the target's folder is not there, or `tar` failed, such as on a full disk; the
                message has its words.
            Unsupported: the container has no `tar`, or what lies in the source is neither file, folder nor
                link: then all else is copied.
            Error: a file of the source could not be read, or changed meanwhile.
            NotFound, NotRunning, DeadlineExceeded, ConnectError, InvalidAnswer: as for `run`.
        """
        from .async_copying import AsyncCopying

        copying = AsyncCopying(self._run, id_of(id), progress, timeout, self._context.now)
        await copying.copy_to(source, target)

    async def copy_from(
        self,
        id: Ref,
        source: str | PathLike[str],
        target: str | PathLike[str],
        *,
        progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> None:
        """Copy a file or folder of a running container to this machine, by `tar` there.

        When `target` is a folder here, `source` comes to lie in it under its own name, as it does when
        `target` ends with `/`, which must be a folder then. Else it becomes `target`, in a folder that must
        be there. A folder that is there already keeps what else is in it; files and links are replaced. A
        source that ends with `/.` stands for what is in that folder. Relative sources begin at root's home.

        The container is not trusted: nothing is written outside of the target, nor through a link that lies
        in it. Links that lead out of what is copied are left out, as are devices, pipes and sockets. Modes
        are kept as far as the umask lets them, without set-id bits, as are times and links; everything
        belongs to the caller, who can write in every folder. A link given as `source` is followed. A file has
        its name only when all of it is there. `progress` is told after each piece, in the caller's thread or
        task.

        Raises:
            InvalidArgument: the target's folder is not there; nothing was sent.
            CommandFailed: there is no such source, or `tar` failed; the message has its words.
            Unsupported: the container has no `tar`, or something was left out: then all else is copied.
            InvalidAnswer: the container sent what `tar` does not, such as names that lead elsewhere.
            Error: a file could not be written, such as on a full disk.
            NotFound, NotRunning, DeadlineExceeded, ConnectError: as for `run`.
        """
        from .async_copying import AsyncCopying

        copying = AsyncCopying(self._run, id_of(id), progress, timeout, self._context.now)
        await copying.copy_from(source, target)

    async def aclose(self) -> None:
        """Close all connections, with all feeds, views, terminals and commands; closing twice is no fault."""
        for channel in self._channels.all():
            await channel.aclose()
        await self._transport.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        # a traceback may show one that could not be made
        told = vars(self).get("_settings")
        return f"{type(self).__name__}(base_url={told and told.base_url!r})"
