"""`keys`: the public keys that may log in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from ecompute.contract.resources import SSHKey
from ecompute.errors import one_line
from ecompute.files import expanded

from .asking import confirm, each, listed
from .candidates import key_names
from .common import Connection, Json, Yes, open_client
from .exits import CommandError
from .keyfiles import own_files, register
from .names import chosen
from .output import print_json, print_table, to_json

keys: App = App(name="keys", help="The public keys that may log in.", help_format="plaintext")


@keys.command
def ls(*, json_: Json = False, connection: Connection | None = None) -> None:
    """List the registered keys, newest first."""
    from ecompute.cells import columns

    with open_client(connection) as client:
        found = client.ssh_keys.list()
    if json_:
        print_json(to_json(found))
    else:
        print_table(*columns(found))


@keys.command
def add(
    file: Annotated[
        Path | None, Parameter(help="File of the public key (default: ~/.ssh/id_ed25519.pub, else another).")
    ] = None,
    /,
    *,
    name: Annotated[str | None, Parameter(help="Name (default: the comment in the file).")] = None,
    json_: Json = False,
    connection: Connection | None = None,
) -> None:
    """Register a public key. One that is registered already stays as it is."""
    if file is None:
        own = own_files()
        if not own:
            raise CommandError("There is no key in ~/.ssh: `ssh-keygen -t ed25519` makes one.")
        file = own[0]
    with open_client(connection) as client:
        key, new = register(client, expanded(file), name)
    if json_:
        print_json(to_json(key))
    else:
        print(f"{told(key)} is registered{'' if new else ' already'}.")


@keys.command
def rm(
    *which: Annotated[str, Parameter(name="KEY", help="Ids or names of the keys.", completer=key_names)],
    yes: Yes = False,
    connection: Connection | None = None,
) -> int:
    """Forget keys. Containers that carry one keep it."""
    if not which:
        raise CommandError("Name at least one key.")
    with open_client(connection) as client:
        there = client.ssh_keys.list()
        found = [*{key.id: key for key in (chosen(text, there, "key") for text in which)}.values()]
        confirm(f"Forget {listed([told(key) for key in found])}?", yes=yes)

        def delete(key: SSHKey) -> None:
            client.ssh_keys.delete(key)
            print(f"{told(key)} is forgotten.", flush=True)

        return each(found, delete)


def told(key: SSHKey) -> str:
    """A key in a sentence."""
    return one_line(f"{key.name} (id {key.id})")
