"""`mounts`: the paths of a container that persist."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter

from ecompute.errors import one_line

from .common import Connection, Container, Json, open_client
from .exits import CommandError
from .names import find
from .output import print_json, to_json, told

mounts: App = App(name="mounts", help="The paths of a container that persist.", help_format="plaintext")


@mounts.command
def ls(container: Container, /, *, json_: Json = False, connection: Connection | None = None) -> None:
    """List the paths that persist."""
    with open_client(connection) as client:
        found = client.mounts.get(find(client, container))
    if json_:
        print_json(to_json(found))
    else:
        for path in found.mount_paths:
            print(one_line(path))


@mounts.command(name="set")
def set_(
    container: Container,
    /,
    *path: Annotated[str, Parameter(help="All paths that are to persist.")],
    json_: Json = False,
    connection: Connection | None = None,
) -> None:
    """Choose the paths that persist, all at once. A container that is up restarts for it."""
    if not path:
        raise CommandError("Name at least one path.")
    with open_client(connection) as client:
        box = find(client, container)
        found = client.mounts.set(box, path)
    if json_:
        print_json(to_json(found))
        return
    restart = ", for which it restarts" if found.restarted else ""
    print(one_line(f"{told(box)} keeps {', '.join(found.mount_paths)}{restart}."))
