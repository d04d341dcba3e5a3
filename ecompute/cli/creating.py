"""`create`: a container, and the keys that may log into it."""

from __future__ import annotations

import secrets
import sys
import time
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from ecompute.contract.catalog import DEFAULT_INSTANCE_TYPE, DEFAULT_MEMORY_MB, DEFAULT_STORAGE_GB
from ecompute.errors import ContainerFailed, DeadlineExceeded, Error, OutcomeUnknown
from ecompute.interrupts import Held

from .candidates import instance_types, key_names
from .common import Connection, Json, open_client
from .containers import left, show_one
from .exits import CommandError, Exit
from .keyfiles import key_for, usual_keys
from .output import say, told
from .waiting import prepare, wait_running

if TYPE_CHECKING:
    import ecompute


def create(
    name: Annotated[str, Parameter(help="Name of the container; it need not be unique.")],
    /,
    *,
    type: Annotated[
        str | None,
        Parameter(
            help="nano, micro, mini (arm64), tiny, small or medium (amd64) "
            f"(default: {DEFAULT_INSTANCE_TYPE}).",
            completer=instance_types,
        ),
    ] = None,
    memory_mb: Annotated[int | None, Parameter(help=f"Memory in MB (default: {DEFAULT_MEMORY_MB}).")] = None,
    storage_gb: Annotated[
        int | None, Parameter(help=f"Storage in GB (default: {DEFAULT_STORAGE_GB}).")
    ] = None,
    key: Annotated[
        list[str] | None,
        Parameter(
            negative="",
            completer=key_names,
            help="Id or name of a key that may log in, or its file, which is registered unless it is. "
            "May be repeated. Default: all registered keys, else ~/.ssh/id_*.pub.",
        ),
    ] = None,
    ssh: Annotated[bool | None, Parameter(help="Whether SSH reaches it from outside.")] = None,
    mount: Annotated[
        list[str] | None, Parameter(negative="", help="Path that persists. May be repeated.")
    ] = None,
    wait: Annotated[bool, Parameter(help="Wait until it runs (the default).")] = True,
    delete_on_failure: Annotated[
        bool, Parameter(negative="", help="Delete it when it does not come to run.")
    ] = False,
    idempotency_key: Annotated[
        str | None, Parameter(help="Repeated with the same key, the command makes one container.")
    ] = None,
    json_: Json = False,
    connection: Connection | None = None,
) -> int:
    """Make a container, and wait until it runs. Where the output is no terminal it prints the id alone."""
    began = time.monotonic()
    with open_client(connection) as client, Held() as held:
        held.open = True
        prepare()
        keys = usual_keys(client) if key is None else [key_for(client, text) for text in key]
        once = idempotency_key or secrets.token_hex(16)
        again = f"the same command with --idempotency-key {once} gives it, and makes no second one"
        made: ecompute.Container | None = None
        try:
            try:
                box = made = client.containers.create(
                    name,
                    keys,
                    instance_type=type,
                    memory_mb=memory_mb,
                    storage_gb=storage_gb,
                    ssh_enabled=ssh,
                    mount_paths=mount,
                    idempotency_key=once,
                )
                if wait:
                    box = _wait(client, box, left(connection, began), delete=delete_on_failure)
            except OutcomeUnknown:
                raise CommandError(
                    f"The answer was lost: the container may or may not be made; {again}, where the server "
                    "honours such keys.",
                    Exit.UNKNOWN,
                ) from None
            finally:
                held.open = False
        except KeyboardInterrupt:
            begun = f"the container may or may not be made; {again}"
            if made is not None:
                begun = f"{told(made)} goes on booting; `ecompute rm {made.id}` deletes it"
            # at once, since the next Ctrl-C may leave no other time
            say(f"ecompute: Interrupted: {begun}.")
            return Exit.INTERRUPTED
        if json_:
            show_one(box, as_json=True)
        elif sys.stdout.isatty():
            show_one(box, as_json=False)
        else:
            print(box.id)
    return Exit.OK


def _wait(
    client: ecompute.Client, box: ecompute.Container, timeout: float | None, *, delete: bool
) -> ecompute.Container:
    try:
        (box,) = wait_running(client, [box], timeout)
    except (ContainerFailed, DeadlineExceeded) as error:
        if not delete:
            error.add_note(f"it is left as it is, and `ecompute rm {box.id}` deletes it")
            raise
        try:
            client.containers.delete(box)
        except Error as obstacle:
            error.add_note(f"{told(box)} is left, since it could not be deleted: {obstacle}")
        else:
            error.add_note(f"{told(box)} is deleted")
        raise
    except Error:
        say(f"{told(box)} was made.")
        raise
    return box
