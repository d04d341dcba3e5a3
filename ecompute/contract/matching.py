"""Which row a request is of, by its method and path, and which row a name means."""

from __future__ import annotations

import re
from typing import Any

from .endpoint import Channel, Endpoint
from .endpoints import CHANNELS, ENDPOINTS

Row = Endpoint[Any, Any] | Channel[Any, Any]

ROWS: tuple[Row, ...] = (*ENDPOINTS, *CHANNELS)


def _pattern(row: Row) -> re.Pattern[str]:
    # a server may have a path of its own in front
    parts = re.split(r"\{[a-z_]+\}", row.path)
    return re.compile(".*" + "[^/]+".join(map(re.escape, parts)))


_PATTERNS = tuple((row, _pattern(row)) for row in ROWS)


def row_of(method: str, path: str) -> Row | None:
    """The row of a request, or None for one that is of no row."""
    return next((row for row, at in _PATTERNS if row.method == method and at.fullmatch(path)), None)


def row_named(name: str) -> Row:
    """The row of that name: in full such as `containers.create`, or its last part where that says enough;
    what containers and others share, such as `create`, means containers.

    Raises:
        ValueError: there is none, or more than one.
    """
    for full in (name, f"containers.{name}"):
        for row in ROWS:
            if row.name == full:
                return row
    found = [row for row in ROWS if row.name.rpartition(".")[2] == name]
    if len(found) == 1:
        return found[0]
    which = ", ".join(row.name for row in found or ROWS)
    raise ValueError(f"{name!r} names no single operation; it may be one of: {which}.")
