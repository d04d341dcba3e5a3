"""`ls`, `show`, `start`, `stop`, `rm`: containers that are there."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from ecompute.contract.catalog import INSTANCE_TYPES

from .asking import confirm, each, listed
from .common import Connection, Container, Json, Yes, open_client
from .exits import CommandError, Exit
from .names import find, find_all
from .output import STATUS, age, print_json, print_lines, print_table, say, to_json, told
from .ssh_files import forget_host_key
from .waiting import prepare, wait_running

if TYPE_CHECKING:
    import ecompute

_HEADINGS = ("name", "id", STATUS, "type", "memory", "storage", "address", "age")
_MOMENT = 0.01
_OPTIONAL = ("storage", "memory", "type", "age")
Wait = Annotated[bool, Parameter(help="Wait until it runs (the default).")]


def ls(
    *,
    quiet: Annotated[bool, Parameter(name=("--quiet", "-q"), negative="", help="Only the ids.")] = False,
    json_: Json = False,
    connection: Connection | None = None,
) -> None:
    """List the containers, newest first."""
    if quiet and json_:
        raise CommandError("--quiet and --json are two forms of the same list: give one of them.")
    with open_client(connection) as client:
        boxes = client.containers.list()
    if json_:
        print_json(to_json(boxes))
    elif quiet:
        for box in boxes:
            print(box.id)
    else:
        print_table(_HEADINGS, [_row(box) for box in boxes], _OPTIONAL)
        if not boxes and sys.stdout.isatty():
            say("There are no containers: `ecompute create NAME` makes one.")
        for box in boxes:
            if box.status_reason:
                say(f"{told(box)} has failed: {box.status_reason}")


def _row(box: ecompute.Container) -> tuple[str, ...]:
    known = INSTANCE_TYPES.get(box.instance_type)
    type_ = box.instance_type if known is None else f"{known.name} {known.arch}"
    memory = f"{box.memory_mb} MB" if box.memory_mb else ""
    storage = f"{box.storage_gb} GB" if box.storage_gb else ""
    if box.memory_used_mb is not None:
        memory = f"{box.memory_used_mb}/{memory}"
    if box.storage_used_gb is not None:
        storage = f"{box.storage_used_gb:.1f}/{storage}"
    return box.name, box.id, box.status, type_, memory, storage, box.external_ip or "", age(box)


def show(container: Container, /, *, json_: Json = False, connection: Connection | None = None) -> None:
    """Show all that is known of a container."""
    with open_client(connection) as client:
        box = find(client, container)
    show_one(box, as_json=json_)


def show_one(box: ecompute.Container, *, as_json: bool) -> None:
    """A container as lines, or as JSON."""
    from ecompute.cells import lines

    if as_json:
        print_json(to_json(box))
    else:
        print_lines(lines(box))


def start(
    *containers: Container, wait: Wait = True, json_: Json = False, connection: Connection | None = None
) -> int:
    """Boot containers, and wait until they run. One that runs already stays as it is."""
    began = time.monotonic()
    with open_client(connection) as client:
        boxes = find_all(client, _some(containers))
        started: list[ecompute.Container] = []
        prepare()
        code = each(boxes, lambda box: started.append(client.containers.start(box)))
        if wait and started:
            try:
                started = wait_running(client, started, left(connection, began))
            except KeyboardInterrupt:
                names = listed([told(box) for box in started])
                raise CommandError(f"Interrupted: {names} go on booting.", Exit.INTERRUPTED) from None
    if json_:
        print_json(to_json(started))
    else:
        for box in started:
            print(f"{told(box)} is {box.status}.")
    return code


def stop(*containers: Container, json_: Json = False, connection: Connection | None = None) -> int:
    """Power containers off. Only what lies under their mount paths stays."""
    with open_client(connection) as client:
        boxes = find_all(client, _some(containers))
        stopped: list[ecompute.Container] = []
        code = each(boxes, lambda box: stopped.append(client.containers.stop(box)))
    if json_:
        print_json(to_json(stopped))
    else:
        for box in stopped:
            print(f"{told(box)} is {box.status}.")
    return code


def rm(
    *containers: Container, yes: Yes = False, json_: Json = False, connection: Connection | None = None
) -> int:
    """Delete containers and all their data. On a terminal you are asked first."""
    with open_client(connection) as client:
        boxes = find_all(client, _some(containers))
        confirm(f"Delete {listed([told(box) for box in boxes])} and all data?", yes=yes)
        gone: list[ecompute.Container] = []

        def delete(box: ecompute.Container) -> None:
            client.containers.delete(box)
            forget_host_key(client.base_url, box.id)
            gone.append(box)
            if not json_:
                print(f"{told(box)} is deleted.", flush=True)

        code = each(boxes, delete)
    if json_:
        print_json(to_json(gone))
    return code


def left(connection: Connection | None, began: float) -> float | None:
    """What is left of the time that the command line gives, of what began then; None where it gives none."""
    if connection is None or connection.timeout is None:
        return None
    return max(connection.timeout - (time.monotonic() - began), _MOMENT)


def _some(containers: tuple[str, ...]) -> tuple[str, ...]:
    if not containers:
        raise CommandError("Name at least one container.")
    return containers
