"""From what a person types to the thing that is meant: names or ids."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

from ecompute.contract.resources import SSHKey, Token
from ecompute.errors import Forbidden, NotFound, is_token

from .exits import CommandError, Exit

if TYPE_CHECKING:
    from ecompute import Client, Container

T = TypeVar("T", "Container", SSHKey, Token)

_ID = re.compile(r"[a-z0-9]{8}")


def find(client: Client, text: str) -> Container:
    """The container of this id, else of this name.

    Raises:
        CommandError: there is none, or several have this name.
    """
    _refuse_token(text)
    if _ID.fullmatch(text):
        # one question instead of a long list, and the only one that a token of one container may ask
        try:
            return client.containers.get(text)
        except NotFound:
            pass
    return chosen(text, client.containers.list(), "container")


def find_all(client: Client, texts: Sequence[str]) -> list[Container]:
    """The containers of these ids or names, each once.

    Raises:
        CommandError: one is not there, or several have its name.
    """
    if len(texts) == 1:
        return [find(client, texts[0])]
    for text in texts:
        _refuse_token(text)
    try:
        there = client.containers.list()
    except Forbidden:
        return [*{box.id: box for box in (find(client, text) for text in texts)}.values()]
    found = (chosen(text, there, "container") for text in texts)
    return [*{box.id: box for box in found}.values()]


def chosen(text: str, there: Sequence[T], kind: str) -> T:
    """The one of these that has this id, else the only one that has this name.

    Raises:
        CommandError: there is none, or several have this name.
    """
    _refuse_token(text)
    for thing in there:
        if str(thing.id) == text:
            return thing
    named = [thing for thing in there if thing.name == text]
    if len(named) == 1:
        return named[0]
    if named:
        ids = ", ".join(str(thing.id) for thing in named)
        raise CommandError(f"The name {text!r} stands for {len(named)} {kind}s: say which by its id ({ids}).")
    raise CommandError(f"There is no {kind} with the name or id {text!r}.", Exit.NOT_FOUND)


def _refuse_token(text: str) -> None:
    if is_token(text):
        raise CommandError("This looks like a token, not like a name or id.")
