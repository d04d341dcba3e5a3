"""What travels on the WebSockets: messages of the feed, of terminals, and of commands."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from ecompute.contract import catalog, messages
from ecompute.contract.messages import FeedMessage

from . import parts
from .answered import containers, extras, newest_first

T = TypeVar("T")


def container_snapshots() -> SearchStrategy[messages.ContainerSnapshot]:
    """The feed's first message. The simplest has no container."""
    return st.builds(messages.ContainerSnapshot, newest_first(containers()))


def container_statuses() -> SearchStrategy[messages.ContainerStatus]:
    """Changes of a status; a reason comes with `failed`. The simplest is `pending`, of a new container."""

    def of(status: str) -> SearchStrategy[messages.ContainerStatus]:
        failed = status == catalog.Status.FAILED
        return st.builds(
            messages.ContainerStatus,
            parts.container_ids(),
            st.just(status),
            st.none() | parts.addresses(),
            st.just("The machine ended.") if failed else st.none(),
            extra=extras(),
        )

    return parts.statuses().flatmap(of)


def containers_deleted() -> SearchStrategy[messages.ContainerDeleted]:
    """Ends of containers."""
    return st.builds(messages.ContainerDeleted, parts.container_ids(), extra=extras())


def feed_messages() -> SearchStrategy[FeedMessage]:
    """Any message of the feed."""
    return st.one_of(container_snapshots(), container_statuses(), containers_deleted())


def resizes() -> SearchStrategy[messages.Resize]:
    """Sizes of a terminal's window. The simplest is the default one."""
    return st.builds(
        messages.Resize,
        parts.terminal_sizes(catalog.TERMINAL_ROWS),
        parts.terminal_sizes(catalog.TERMINAL_COLS),
    )


def executes() -> SearchStrategy[messages.Execute]:
    """Shell lines that do no harm and end by themselves. The simplest is `true`, without a terminal."""
    lines = ("true", "false", "pwd", "uname -m", "echo 'a  b'", "exit 3", "echo ü | cat", "")
    return st.builds(messages.Execute, st.sampled_from(lines), st.booleans())


def signals() -> SearchStrategy[messages.Signal]:
    """Signals by their names in RFC 4254, 6.10. The simplest is `TERM`."""
    return st.builds(messages.Signal, st.sampled_from(("TERM", "INT", "HUP", "QUIT", "KILL", "USR1", "USR2")))


def exits() -> SearchStrategy[messages.Exit]:
    """Ends of commands. The simplest is 0."""
    return st.builds(messages.Exit, st.integers(0, 255))


def ends_of_input() -> SearchStrategy[messages.EndOfInput]:
    """The end of standard input."""
    return st.builds(messages.EndOfInput)


_MESSAGES: Mapping[type, Callable[[], SearchStrategy[Any]]] = {
    messages.ContainerSnapshot: container_snapshots,
    messages.ContainerStatus: container_statuses,
    messages.ContainerDeleted: containers_deleted,
    messages.Resize: resizes,
    messages.Execute: executes,
    messages.EndOfInput: ends_of_input,
    messages.Signal: signals,
    messages.Exit: exits,
}

MESSAGES: tuple[type, ...] = tuple(_MESSAGES)
"""Every class of message, in the order of the contract."""


def socket_messages(cls: type[T]) -> SearchStrategy[T]:
    """Messages of one class.

    Raises:
        LookupError: it is no class of message.
    """
    if cls not in _MESSAGES:
        raise LookupError(f"{cls.__name__} is no class of message.")
    return _MESSAGES[cls]()


def frames(stream: messages.Stream | None = None) -> SearchStrategy[bytes]:
    """Binary frames of a command: the byte of a stream, the given one or any, and what it carries."""
    streams = st.sampled_from(messages.Stream) if stream is None else st.just(stream)
    most = catalog.MAX_TERMINAL_FRAME_BYTES - 1
    return st.builds(_frame, streams, st.binary(max_size=200) | st.just(b"x" * most))


def _frame(stream: messages.Stream, data: bytes) -> bytes:
    return bytes((stream,)) + data
