"""`ingress`: the published ports of a container."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter

from .asking import each
from .common import Connection, Container, Json, open_client
from .exits import CommandError
from .names import find
from .output import print_json, print_table, to_json, told

ingress: App = App(name="ingress", help="The published ports of a container.", help_format="plaintext")


@ingress.command
def ls(container: Container, /, *, json_: Json = False, connection: Connection | None = None) -> None:
    """List the published ports."""
    from ecompute.cells import columns

    with open_client(connection) as client:
        rules = client.ingress.list(find(client, container))
    if json_:
        print_json(to_json(rules))
    else:
        print_table(*columns(rules))


@ingress.command
def add(
    container: Container,
    port: Annotated[int, Parameter(help="Port outside: 80, 443 (HTTPS), 8000 to 8999.")],
    target: Annotated[int | None, Parameter(help="Port inside (default: the same).")] = None,
    /,
    *,
    json_: Json = False,
    connection: Connection | None = None,
) -> None:
    """Publish a port, or lead a published one elsewhere."""
    with open_client(connection) as client:
        box = find(client, container)
        rule = client.ingress.add(box, port, target)
    if json_:
        print_json(to_json(rule))
    else:
        print(f"Port {rule.port} leads to port {rule.target_port} of {told(box)}.")


@ingress.command
def rm(
    container: Container,
    /,
    *port: Annotated[int, Parameter(help="Ports outside.")],
    connection: Connection | None = None,
) -> int:
    """Publish ports no longer."""
    if not port:
        raise CommandError("Name at least one port.")
    with open_client(connection) as client:
        box = find(client, container)

        def remove(number: int) -> None:
            client.ingress.remove(box, number)
            print(f"Port {number} of {told(box)} is published no longer.", flush=True)

        return each(port, remove)
