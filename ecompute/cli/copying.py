"""`cp`: files and folders, by `tar` in the container."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

from attrs import frozen
from cyclopts import Parameter

from ecompute.errors import one_line

from .candidates import ends_of_copies
from .common import Connection, open_client
from .exits import CommandError
from .names import find
from .output import by_name

if TYPE_CHECKING:
    from ecompute.protocol.archive import Progress

_REMOTE = re.compile(r"(?P<container>[^:/]+):(?P<path>.*)", re.DOTALL)


@frozen
class _End:
    """One end of a copy; without a container it is here."""

    container: str | None
    path: str

    @classmethod
    def of(cls, text: str) -> _End:
        found = _REMOTE.fullmatch(text)
        return cls(None, text) if found is None else cls(found["container"], found["path"] or ".")


def cp(
    source: Annotated[
        str, Parameter(help="File or folder here, or CONTAINER:PATH.", completer=ends_of_copies)
    ],
    target: Annotated[
        str, Parameter(help="Where it goes: here, or CONTAINER:PATH.", completer=ends_of_copies)
    ],
    /,
    *more: Annotated[
        str,
        Parameter(
            name="MORE",
            help="With several sources, the last one is the target folder.",
            completer=ends_of_copies,
        ),
    ],
    connection: Connection | None = None,
) -> None:
    """Copy files and folders to a container or from it: `cp notes.txt web:/root/`, `cp web:/root/. copy`. A
    file that is here and has a colon in its name is written as ./a:b.
    """
    *sources, last = (_End.of(text) for text in (source, target, *more))
    if len({end.container for end in sources}) > 1 or (sources[0].container is None) == (
        last.container is None
    ):
        raise CommandError("One side is here and the other one in one container: CONTAINER:PATH.")
    if len(sources) > 1 and not last.path.endswith("/"):
        last = _End(last.container, f"{last.path}/")
    with open_client(connection) as client:
        box = find(client, sources[0].container or last.container or "")
        timeout = None if connection is None else connection.timeout
        for end in sources:
            with _bar(end.path) as progress, by_name(box):
                copy = client.copy_to if end.container is None else client.copy_from
                copy(box, end.path, last.path, progress=progress, timeout=timeout)


@contextmanager
def _bar(path: str) -> Iterator[Callable[[Progress], None] | None]:
    """A bar on standard error; None where there is no terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    with Bars(*columns, console=Console(stderr=True)) as bars:
        task = bars.add_task(one_line(path), total=None)

        def tell(progress: Progress) -> None:
            bars.update(
                task,
                description=one_line(progress.path) or one_line(path),
                completed=progress.bytes_done,
                total=progress.bytes_total,
            )

        yield tell
