"""What a server says, made fit for a report: it cannot play with a terminal, and brings no token along.

A server may repeat whatever it was sent, whole or in part, and reports show the beginnings of answers.
"""

from __future__ import annotations

import re
from collections.abc import Collection

HIDDEN = "[token]"
_PART = 16
"""Characters of a token in a row that are hidden; shorter tokens are hidden whole."""
_LEAST = 8
"""Characters of the shortest text that counts as a token, so that no common word is one."""


def hidden(text: str, secrets: Collection[str]) -> str:
    """The text without these secrets, and without any larger piece of them."""
    for secret in secrets:
        if len(secret) >= _LEAST:
            text = _without(text, secret)
    return text


def _without(text: str, secret: str) -> str:
    size = min(_PART, len(secret))
    pieces = {secret[at : at + size] for at in range(len(secret) - size + 1)}
    if not any(piece in text for piece in pieces):
        return text
    kept: list[str] = []
    at = last = 0
    while at <= len(text) - size:
        if text[at : at + size] not in pieces:
            at += 1
            continue
        end = at + size
        while end < len(text) and text[end - size + 1 : end + 1] in pieces:
            end += 1
        kept += [text[last:at], HIDDEN]
        at = last = end
    return "".join([*kept, text[last:]])


def printable(text: str) -> str:
    """One line, in which control characters are escapes."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def fit(text: str, secrets: Collection[str], most: int = 2000) -> str:
    """A sentence for a report, from whatever a server has said."""
    shown = printable(hidden(text, secrets))
    return shown if len(shown) <= most else f"{shown[:most]}…"


_CONTROL = re.compile(r"[^\n\x20-\x7e]")


def lines(text: str, secrets: Collection[str]) -> str:
    """A script for a report. What could play with a terminal is in no literal of it, for whose making
    `retelling` answers; this is for the rest.
    """
    return _CONTROL.sub(lambda found: found[0] if found[0].isprintable() else "\N{REPLACEMENT CHARACTER}",
        hidden(text, secrets))  # fmt: skip
