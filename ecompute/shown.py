"""What notebooks show of an object. A base class without anything, for those that are shown as HTML."""

from __future__ import annotations


class Shown:
    """Something that a notebook shows as HTML: as `display.html` does."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        # late: only notebooks ask
        from .display import html

        return html(self)
