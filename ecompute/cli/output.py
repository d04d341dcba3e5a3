"""What goes to standard output: tables for people, JSON for programs.

On a terminal tables are drawn by rich, elsewhere they are plain columns. All that comes from the server may
hold anything, and is made one printable line before it is shown; in JSON it is escaped.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unicodedata import combining, east_asian_width

from attrs import fields

from ecompute.contract.codec import unstructure
from ecompute.contract.resources import Container
from ecompute.errors import Error, one_line

from .exits import CommandError, code_of

STATUS = "status"
"""The heading whose column has colours."""
STYLES = {
    "pending": "yellow",
    "initializing": "cyan",
    "running": "green",
    "stopped": "dim",
    "failed": "bold red",
}
_WRAPPED = frozenset(("name", "key", "scopes", "url"))
"""The columns that may take several lines on a narrow terminal; the others hold what is typed or pasted."""
_LINES = "scopes"
"""The heading whose texts have lines."""
_GAP = "  "
_UNITS = ((86400, "d"), (3600, "h"), (60, "min"))


def say(sentence: str) -> None:
    """A sentence for the person at the terminal: on standard error, out of the way of output."""
    print(one_line(sentence), file=sys.stderr, flush=True)


def told(box: Container) -> str:
    """A container in a sentence: its name and its id."""
    return one_line(f"{box.name} ({box.id})")


@contextmanager
def by_name(box: Container) -> Iterator[None]:
    """Errors of what is done to a container name it as `told` does, where they have its id.

    Raises:
        CommandError: in place of the library's error, with its exit code.
    """
    try:
        yield
    except Error as error:
        sentence = str(error).replace(f"container {box.id}", told(box))
        named = CommandError(sentence, code_of(error))
        for note in getattr(error, "__notes__", ()):
            named.add_note(note)
        raise named from error


def to_json(value: Any) -> Any:
    """A resource, or a list of them, in the API's own form."""
    if isinstance(value, list | tuple):
        return [to_json(each) for each in value]
    if isinstance(value, Container):
        # what a client gives can act as well, which is nothing to print
        value = Container(**{each.name: getattr(value, each.name) for each in fields(Container)})
    return unstructure(value)


def print_json(value: Any) -> None:
    """JSON on standard output, all ASCII."""
    print(json.dumps(value, indent=2))


def age(box: Container) -> str:
    """How long a container has been there, in its largest unit."""
    created = box.created_at.timestamp()
    if not created:
        return ""
    seconds = max(0, int(time.time() - created))
    return next((f"{seconds // size} {unit}" for size, unit in _UNITS if seconds >= size), f"{seconds} s")


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]], optional: Sequence[str] = ()) -> None:
    """A table on standard output; columns that are empty throughout are left out, as are `optional` ones, in
    their order, where a terminal is too narrow.
    """
    kept = [place for place in range(len(headings)) if any(row[place] for row in rows)]
    headings = [headings[place] for place in kept]
    cells = [
        [_printable(row[place], heading) for place, heading in zip(kept, headings, strict=True)]
        for row in rows
    ]
    if not cells:
        return
    if sys.stdout.isatty():
        _draw(headings, cells, optional)
    else:
        _write(headings, cells)


def print_lines(lines: Iterable[tuple[str, str]]) -> None:
    """Headings with a value each, one under the other."""
    cells = [(heading, one_line(text)) for heading, text in lines]
    if sys.stdout.isatty():
        _draw(None, cells)
    else:
        _write(None, cells)


def _printable(text: str, heading: str) -> str:
    # a name with line breaks must not look like further rows
    return "\n".join(map(one_line, text.split("\n"))) if heading == _LINES else one_line(text)


def _draw(
    headings: Sequence[str] | None, cells: Sequence[Sequence[str]], optional: Sequence[str] = ()
) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    for name in optional:
        if headings is not None and name in headings and _needed(headings, cells) > console.width:
            out = headings.index(name)
            headings, *cells = ([*row[:out], *row[out + 1 :]] for row in (headings, *cells))
    table = Table(box=None, pad_edge=False, show_header=headings is not None, header_style="bold")
    for heading in headings or ("", ""):
        whole = headings is not None and heading not in _WRAPPED
        table.add_column(heading.upper(), no_wrap=whole, overflow="fold")
    for row in cells:
        styled = (
            Text(text, _style(text, heading))
            for text, heading in zip(row, headings or ("label", row[0]), strict=True)
        )
        table.add_row(*styled)
    console.print(table)


def _needed(headings: Sequence[str], cells: Sequence[Sequence[str]]) -> int:
    """How wide a table is at least, with names of a dozen letters."""
    columns = zip(headings, *cells, strict=True)
    widths = (max(map(_width, column)) for column in columns)
    some = (
        min(width, 12) if name in _WRAPPED else width for name, width in zip(headings, widths, strict=True)
    )
    return sum(some) + len(_GAP) * (len(headings) - 1)


def _style(text: str, heading: str) -> str:
    if heading == "label":
        return "bold"
    return STYLES.get(text, "") if heading == STATUS else ""


def _write(headings: Sequence[str] | None, cells: Sequence[Sequence[str]]) -> None:
    lines = [list(row) for row in cells]
    if headings is not None:
        lines.insert(0, [heading.upper() for heading in headings])
    split = [spread for row in lines for spread in _spread(row)]
    widths = [max(map(_width, column)) for column in zip(*split, strict=True)]
    for row in split:
        padded = (text + " " * (width - _width(text)) for text, width in zip(row, widths, strict=True))
        print(_GAP.join(padded).rstrip())


def _spread(row: Sequence[str]) -> Iterable[Sequence[str]]:
    """A row whose cells have several lines, as several rows."""
    parts = [text.split("\n") for text in row]
    for number in range(max(map(len, parts))):
        yield [lines[number] if number < len(lines) else "" for lines in parts]


def _width(text: str) -> int:
    return sum(0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1 for c in text)
