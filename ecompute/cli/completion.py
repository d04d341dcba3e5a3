"""`completion`: scripts with which shells complete commands, options and the names of containers."""

from __future__ import annotations

import re
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

if TYPE_CHECKING:
    from collections.abc import Iterable

_PATIENCE = 2.0
"""Seconds that somebody who pressed the Tab key waits for names."""
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def container_names(context: object) -> Iterable[str]:
    """The names of the containers, by the environment or the default profile; ids where a name is none that
    can be typed as it is. Nothing when the server cannot be asked.
    """
    import ecompute

    with suppress(ecompute.Error), ecompute.Client(timeout=_PATIENCE) as client:
        names = [(box.name, box.id) for box in client.containers.list()]
        counted = [name for name, _ in names]
        return [
            name if _PLAIN.fullmatch(name) and counted.count(name) == 1 else id_
            for name, id_ in names
            if _PLAIN.fullmatch(id_)
        ]
    return []


def completion(
    shell: Annotated[Literal["bash", "zsh", "fish"], Parameter(help="Which shell.")],
    /,
    *,
    install: Annotated[
        bool, Parameter(negative="", help="Put it where the shell finds it, instead of printing it.")
    ] = False,
) -> None:
    """Make the shell complete commands and names, by a script that is printed, or installed."""
    from .app import made

    if not install:
        print(made().generate_completion(shell=shell), end="")
        return
    place = made().install_completion(shell=shell)
    print(f"Completion for {shell} is in {place}: open a new shell to have it.", file=sys.stderr)
