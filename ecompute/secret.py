"""Bytes that nobody is to see."""

from __future__ import annotations


class Secret(bytes):
    """As bytes, but its repr shows nothing: logs and tracebacks are made of these. A part of it, or a sum,
    shows all.
    """

    def __repr__(self) -> str:
        return "b'…'"
