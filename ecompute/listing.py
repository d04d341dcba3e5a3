"""The lists that the client answers with.

A `Listing` is a list and stays one: what is here is only how it looks in a console and in a notebook.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, SupportsIndex, TypeVar, overload

from .shown import Shown

T = TypeVar("T")

SHOWN = 20
"""How many elements `repr` shows; a notebook's table shows more."""


class Listing(list[T], Shown):
    """A list that notebooks show as a table. Equal to, and to be used as, every other list.

    A slice is a `Listing` again. `repr` has one line for each element, and for a long one only the beginning
    and the number of those that are left out.
    """

    __slots__ = ()

    @overload
    def __getitem__(self, index: SupportsIndex, /) -> T: ...
    @overload
    def __getitem__(self, index: slice, /) -> Listing[T]: ...
    def __getitem__(self, index: Any, /) -> Any:
        found = super().__getitem__(index)
        return type(self)(found) if isinstance(index, slice) else found

    def copy(self) -> Listing[T]:
        """A shallow copy."""
        return type(self)(self)

    def __repr__(self) -> str:
        return "[" + ",\n ".join(self._lines()) + "]"

    def _lines(self) -> Iterator[str]:
        for element in super().__getitem__(slice(SHOWN)):
            yield repr(element)
        if len(self) > SHOWN:
            yield f"… and {len(self) - SHOWN} more"
