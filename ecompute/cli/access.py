"""`access`: whether SSH reaches a container from outside."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter

from .common import Connection, Container, Json, open_client
from .names import find
from .output import print_json, to_json, told


def access(
    container: Container,
    switch: Annotated[Literal["on", "off"] | None, Parameter(help="on or off; nothing only asks.")] = None,
    /,
    *,
    json_: Json = False,
    connection: Connection | None = None,
) -> None:
    """Tell whether SSH from outside is on, or turn it on or off. `terminal` and `run` do not need it."""
    with open_client(connection) as client:
        box = find(client, container)
        found = client.ssh_access.get(box) if switch is None else client.ssh_access.set(box, switch == "on")
    if json_:
        print_json(to_json(found))
    else:
        print(f"SSH to {told(box)} is {'on' if found.ssh_enabled else 'off'}.")
