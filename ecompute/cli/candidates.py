"""What the Tab key offers: names of containers, keys, tokens and profiles, and the two ends of a copy.

Each is asked with what stands on the command line so far. Nothing is offered when the server cannot be asked,
and nothing that a shell could take for more than a word: then the id stands for the name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ecompute.contract.catalog import INSTANCE_TYPES

from .exits import CommandError

if TYPE_CHECKING:
    from ecompute import Client, Container
    from ecompute.contract.resources import SSHKey, Token

_PATIENCE = 2.0
"""Seconds that somebody who pressed the Tab key waits for names."""
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_PLAIN_PROFILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]*")


class Context(Protocol):
    """What stands on the command line: the word that is being typed, and the values of options."""

    @property
    def incomplete(self) -> str: ...

    def get(self, name: str) -> Any: ...


def container_names(context: Context) -> Iterable[str]:
    """The names of the containers; ids where a name is none that can be typed as it is."""
    return _names(context, lambda client: client.containers.list())


def key_names(context: Context) -> Iterable[str]:
    """The names of the registered keys, as `container_names`."""
    return _names(context, lambda client: client.ssh_keys.list())


def token_names(context: Context) -> Iterable[str]:
    """The names of the API tokens, as `container_names`."""
    return _names(context, lambda client: client.tokens.list())


def instance_types(_: Context) -> Iterable[str]:
    """The instance types of the catalogue; a server may know others."""
    return [known.name for known in INSTANCE_TYPES.values()]


def profile_names(_: Context) -> Iterable[str]:
    """The names of the profiles."""
    from ecompute import Error, profiles

    with suppress(Error):
        return [name for name in profiles.load().named if _PLAIN_PROFILE.fullmatch(name)]
    return []


def ends_of_copies(context: Context) -> Iterable[str]:
    """`NAME:` for each container, and the files here; folders end with a slash."""
    typed = context.incomplete
    if ":" in typed.partition("/")[0]:
        return []
    names = [] if "/" in typed else [f"{name}:" for name in container_names(context)]
    return [*names, *_files(typed)]


def _files(typed: str) -> Iterator[str]:
    folder, name = os.path.split(typed)
    with suppress(OSError), os.scandir(Path(folder or ".").expanduser()) as entries:
        for entry in entries:
            if not entry.name.startswith(name) or (entry.name.startswith(".") and not name):
                continue
            text = typed.removesuffix(name) + entry.name
            if text.isprintable() and ":" not in text.partition("/")[0]:
                yield f"{text}/" if entry.is_dir() else text


def _names(context: Context, ask: Callable[[Client], Iterable[Container | SSHKey | Token]]) -> list[str]:
    from ecompute import Error

    from .common import Connection, open_client

    def given(option: str) -> str | None:
        value = context.get(option)
        return None if value is None else value.raw

    token_file, ca_file = given("--token-file"), given("--ca-file")
    connection = Connection(
        profile=given("--profile"),
        url=given("--url"),
        token_file=None if token_file is None else Path(token_file),
        ca_file=None if ca_file is None else Path(ca_file),
        timeout=_PATIENCE,
    )
    with suppress(Error, CommandError), open_client(connection) as client:
        names = [(thing.name, str(thing.id)) for thing in ask(client)]
        counted = [name for name, _ in names]
        return [
            name if _PLAIN.fullmatch(name) and counted.count(name) == 1 else id_
            for name, id_ in names
            if _PLAIN.fullmatch(id_)
        ]
    return []
