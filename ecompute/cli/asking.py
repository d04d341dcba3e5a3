"""Questions to the person at the terminal, and the same act on several things."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from ecompute.errors import Error, one_line

from .exits import CommandError, Exit, code_of
from .output import say

T = TypeVar("T")


def confirm(question: str, *, yes: bool) -> None:
    """Ask before what cannot be undone; where nobody sits at a terminal there is nobody to ask.

    Raises:
        CommandError: the answer is no.
    """
    if yes or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return
    print(one_line(question), end=" [y/N] ", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise CommandError("Nothing was done.", Exit.REFUSED)


def listed(things: Sequence[str]) -> str:
    """Things in a sentence."""
    return things[0] if len(things) == 1 else f"{', '.join(things[:-1])} and {things[-1]}"


def each(things: Iterable[T], act: Callable[[T], object]) -> int:
    """Do it to all of them, also when one fails; gives the exit code of the first failure."""
    code = Exit.OK
    for thing in things:
        try:
            act(thing)
        except Error as error:
            say(f"ecompute: {error}")
            code = code or code_of(error)
    return code
