"""A picture of containers that is kept up to date: `view.live()`.

In a notebook it is one table that changes in place; on a terminal the same, by rich where that is installed;
else a line for each change. Both clients use it as it is: it is what they ask after every change.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Generic, Protocol, Self

from . import cells
from .contract.catalog import Status
from .contract.resources import Container
from .display import MAX_ROWS, table_html
from .errors import one_line
from .protocol import waiting
from .protocol.feed import C
from .protocol.ids import Ref, id_of

STYLES = {"pending": "yellow", "initializing": "blue", "running": "green", "failed": "bold red"}
"""The colour of each status on a terminal."""


class Screen(Protocol):
    """Where the picture is."""

    def show(self, boxes: Sequence[Container]) -> None:
        """Replace what is shown."""

    def close(self) -> None:
        """Leave the last picture where it is."""


class Live(Generic[C]):
    """What `view.wait` asks after every change: it shows the containers, and answers whether that is all.

    `until` and `only` are as for `Watch.live`.
    """

    def __init__(
        self,
        until: str | Callable[[Mapping[str, C]], bool] | None,
        only: Sequence[Ref] | None,
        screen: Screen | None = None,
    ) -> None:
        self._until = until
        self._left = None if only is None else [id_of(ref) for ref in only]
        self._seen: set[str] = set()
        self._screen = screen

    def __enter__(self) -> Self:
        self._screen = self._screen or screen_here()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._screen is not None:
            self._screen.close()

    def __call__(self, view: Mapping[str, C]) -> bool:
        boxes = self._chosen(dict(view.items()))
        if self._screen is not None:
            self._screen.show(boxes)
        match self._until:
            case None:
                return False
            case str() as wanted:
                return self._are(boxes, wanted)
            case ready:
                return ready(view)

    def _chosen(self, view: Mapping[str, C]) -> list[C]:
        if self._left is None:
            return [*view.values()]
        # one that is new may not be there yet; one that was there and is not has been deleted
        self._left = [id_ for id_ in self._left if id_ in view or id_ not in self._seen]
        self._seen.update(view)
        return [view[id_] for id_ in self._left if id_ in view]

    def _are(self, boxes: Sequence[Container], wanted: str) -> bool:
        for box in boxes:
            if box.status == Status.FAILED and wanted != Status.FAILED:
                raise waiting.failed(box.id, wanted, box.status_reason)
        missing = self._left is not None and len(boxes) < len(self._left)
        return not missing and all(box.status == wanted for box in boxes)


def screen_here() -> Screen:
    """The best that there is where this program's output goes."""
    if in_notebook():
        return Notebook()
    if sys.stdout.isatty():
        try:
            return Console()
        except ImportError:
            pass
    return Lines()


def in_notebook() -> bool:
    """Whether the output is a notebook's, which takes HTML. What is not loaded yet is not at work."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    # IPython on a terminal has no kernel
    return getattr(shell, "kernel", None) is not None


class Notebook:
    """One output of a cell, changed in place."""

    def __init__(self) -> None:
        self._handle: Any = None

    def show(self, boxes: Sequence[Container]) -> None:
        bundle = {"text/html": table_html(boxes), "text/plain": as_text(boxes)}
        if self._handle is None:
            from IPython import display

            show: Any = display.display  # has no types
            self._handle = show(bundle, raw=True, display_id=True)
        else:
            self._handle.update(bundle, raw=True)

    def close(self) -> None:
        """Nothing is held."""


class Console:
    """A table on a terminal, drawn by rich.

    Raises (when made):
        ImportError: rich is not installed.
    """

    def __init__(self) -> None:
        from rich.live import Live

        self._live = Live(auto_refresh=False)
        self._live.start()

    def show(self, boxes: Sequence[Container]) -> None:
        from rich.table import Table
        from rich.text import Text

        headings, rows = cells.columns(boxes[:MAX_ROWS])
        table = Table(*headings, box=None, pad_edge=False)
        for row in rows:
            named = zip(headings, row, strict=True)
            # as texts, since a name may hold what rich takes for markup
            table.add_row(
                *(Text(text, STYLES.get(text, "") if h == cells.STATUS else "") for h, text in named)
            )
        if len(boxes) > MAX_ROWS:
            table.caption = f"… and {len(boxes) - MAX_ROWS} more"
        self._live.update(table, refresh=True)

    def close(self) -> None:
        self._live.stop()


class Lines:
    """A line for each container at first, and for each change after that."""

    def __init__(self) -> None:
        self._shown: Mapping[str, Container] = {}

    def show(self, boxes: Sequence[Container]) -> None:
        now = {box.id: box for box in boxes}
        for id_, box in now.items():
            if id_ not in self._shown or self._shown[id_].status != box.status:
                self._say(box, box.status + (f": {box.status_reason}" if box.status_reason else ""))
        for id_, box in self._shown.items():
            if id_ not in now:
                self._say(box, "deleted")
        self._shown = now

    def _say(self, box: Container, text: str) -> None:
        print(one_line(f"{box.name} ({box.id}): {text}"), flush=True)

    def close(self) -> None:
        """Nothing is held."""


def as_text(boxes: Sequence[Container]) -> str:
    """The table in letters of one width."""
    headings, rows = cells.columns(boxes[:MAX_ROWS])
    if not rows:
        return "none"
    lines = [headings, *([one_line(text) for text in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = (
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
    more = [f"… and {len(boxes) - MAX_ROWS} more"] if len(boxes) > MAX_ROWS else []
    return "\n".join([*padded, *more])
