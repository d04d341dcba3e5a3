"""What notebooks show: HTML as text, made without any other library.

It stands by itself wherever it is shown: no style sheet, no script, nothing to load, and every text that came
from elsewhere is escaped. Colours are those of the page, bright or dark; only a status has a ground of its
own. Where styles are removed, all words are left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from . import cells
from .contract.resources import Container
from .errors import CommandResult, Error
from .protocol.view import Reading

MAX_ROWS = 100
"""Rows of a table; of those beyond only the number is told."""
MAX_OUTPUT = 4000
"""Characters of a command's output; of a longer one the end is shown."""

WHITE = "#ffffff"
NEUTRAL = "#57606a"
GROUNDS: Mapping[str, str] = {
    "pending": "#8a5a00",
    "initializing": "#0b62b8",
    "running": "#1a7037",
    "stopped": NEUTRAL,
    "failed": "#bf2330",
}
"""The ground of each status, for white letters; a status that is not known has the neutral one."""
LINE = "1px solid rgba(128, 128, 128, 0.4)"

_BADGE = "color: {}; background: {}; border-radius: 4px; padding: 1px 7px; white-space: nowrap"
_TABLE = "border-collapse: collapse; margin: 4px 0; text-align: left"
_CELL = (
    f"text-align: left; vertical-align: top; padding: 3px 12px 3px 4px; border: none; border-bottom: {LINE}"
)
_LINE = "margin: 4px 0"
_OUTPUT = "margin: 4px 0; white-space: pre-wrap; color: inherit; background: none"


def html(thing: object) -> str:
    """Anything that the library gives. A kind that it does not know is shown as its `repr`."""
    match thing:
        case Error():
            return error_html(thing)
        case Reading():
            return view_html(thing)
        case CommandResult():
            return result_html(thing)
        case list() | tuple():
            return table_html(thing)
        case _ if shown := cells.lines(thing):
            return _lines_html(shown)
    return _text(repr(thing))


def container_html(box: Container) -> str:
    """One container: what is known of it, line by line."""
    return _lines_html(cells.lines(box))


def table_html(things: Sequence[object], *, most: int = MAX_ROWS) -> str:
    """A list of one kind as a table, of at most `most` rows."""
    headings, rows = cells.columns(things[:most])
    if not rows:
        return _text(repr(things)) if things else f'<p style="{_LINE}">none</p>'
    head = "".join(f'<th style="{_CELL}">{escape(heading)}</th>' for heading in headings)
    body = "".join(
        f"<tr>{''.join(_cell(*named) for named in zip(headings, row, strict=True))}</tr>" for row in rows
    )
    more = f'<p style="{_LINE}">… and {len(things) - most} more</p>' if len(things) > most else ""
    table = f'<table style="{_TABLE}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    return f"<div>{table}{more}</div>"


def view_html(view: Reading) -> str:
    """A live view as it is at this moment; one that is not open has nothing to show but that."""
    try:
        return table_html(view.containers)
    except Error as ended:
        return error_html(ended)


def error_html(error: Error) -> str:
    """One box: the class, the sentence with the next step, and what was asked, as far as it is known."""
    request = None if error.request is None else f"{error.request.method} {error.request.target}"
    faults = [f"{fault.path} {fault.problem}".strip() for fault in getattr(error, "fields", ())]
    told = {
        "operation": error.operation,
        "request": request,
        "request id": error.request_id,
        "faults": "\n".join(faults),
    }
    lines = _lines_html([(name, text) for name, text in told.items() if text])
    result = getattr(error, "result", None)
    output = result_html(result) if isinstance(result, CommandResult) else ""
    name = _badge(type(error).__name__, GROUNDS["failed"])
    style = f"border: {LINE}; border-left: 4px solid {GROUNDS['failed']}; padding: 6px 10px; margin: 4px 0"
    return f'<div style="{style}"><p style="{_LINE}">{name} {escape(str(error))}</p>{lines}{output}</div>'


def result_html(result: CommandResult) -> str:
    """How a command ended, and the end of what it wrote."""
    ground = GROUNDS["failed"] if result.exit_status else GROUNDS["running"]
    told = {"output": result.text, "error": result.error.decode("utf-8", "replace")}
    parts = "".join(
        f'<p style="{_LINE}">{name}</p>{_text(_end(text))}' for name, text in told.items() if text
    )
    status = _badge(str(result.exit_status), ground)
    return f'<div><p style="{_LINE}">exit status {status}</p>{parts}</div>'


def _text(text: str) -> str:
    return f'<pre style="{_OUTPUT}">{escape(text)}</pre>'


def _end(text: str) -> str:
    return text if len(text) <= MAX_OUTPUT else f"… {text[-MAX_OUTPUT:]}"


def _lines_html(lines: Sequence[tuple[str, str]]) -> str:
    rows = "".join(
        f'<tr><th style="{_CELL}">{escape(heading)}</th>{_cell(heading, text)}</tr>'
        for heading, text in lines
    )
    return f'<table style="{_TABLE}"><tbody>{rows}</tbody></table>' if rows else ""


def _cell(heading: str, text: str) -> str:
    if heading == cells.STATUS:
        shown = _badge(text, GROUNDS.get(text, NEUTRAL))
    elif heading in cells.TYPED:
        shown = f'<code style="color: inherit; background: none">{escape(text)}</code>' if text else ""
    else:
        shown = escape(text)
    breaks = "pre-line; overflow-wrap: anywhere" if heading in cells.PROSE else "pre"
    return f'<td style="{_CELL}; white-space: {breaks}">{shown}</td>'


def _badge(text: str, ground: str) -> str:
    return f'<span style="{_BADGE.format(WHITE, ground)}">{escape(text)}</span>'
