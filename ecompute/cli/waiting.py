"""What is shown while a person waits: on standard error, and only on a terminal."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import TYPE_CHECKING

from ecompute.errors import Error, one_line

from .output import told

if TYPE_CHECKING:
    from ecompute import Client, Container

Tell = Callable[[str], None]


@contextmanager
def spinner(text: str) -> Iterator[Tell | None]:
    """A moving sign with a text that can be changed; None where there is no terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.text import Text

    with Console(stderr=True).status(Text(one_line(text))) as status:
        yield lambda text: status.update(Text(one_line(text)))


def prepare() -> None:
    """Load what a wait needs, before anything is begun: Ctrl-C in the middle of an import can leave through
    any exception, and what was begun would not be told.
    """
    for module in ("ecompute.events", "ecompute.waiters"):
        import_module(module)
    if sys.stderr.isatty():
        for module in ("rich.console", "rich.status", "rich.text"):
            import_module(module)


def wait_running(client: Client, boxes: Sequence[Container], timeout: float | None) -> list[Container]:
    """Wait until all of them run, and show how far they are.

    Raises:
        Error: as for `containers.wait_all`.
    """
    from ecompute.settings import WAIT_TIMEOUT

    with spinner(_state(boxes, {})) as tell:
        if tell is not None:
            # the feed is only for show here: where it cannot be had, there is no more to see than the sign
            thread = threading.Thread(target=_follow, args=(client, boxes, tell), daemon=True)
            thread.start()
        return client.containers.wait_all(boxes, timeout=timeout or WAIT_TIMEOUT)


def _follow(client: Client, boxes: Sequence[Container], tell: Tell) -> None:
    from ecompute import Snapshot, StatusChanged

    now = {box.id: box.status for box in boxes}
    with suppress(Error), client.events() as events:
        for event in events:
            match event:
                case Snapshot():
                    now |= {box.id: box.status for box in event.containers if box.id in now}
                case StatusChanged() if event.container_id in now:
                    now[event.container_id] = event.status
            tell(_state(boxes, now))


def _state(boxes: Sequence[Container], now: dict[str, str]) -> str:
    return ", ".join(f"{told(box)} is {now.get(box.id, box.status)}" for box in boxes)
