"""`events`: what happens to the containers, one line each."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any

from ecompute.contract.codec import unstructure
from ecompute.contract.messages import ContainerDeleted, ContainerStatus
from ecompute.errors import Error, one_line

from .common import Connection, Json, open_client
from .output import STYLES, to_json

if TYPE_CHECKING:
    import ecompute


def events(*, json_: Json = False, connection: Connection | None = None) -> None:
    """Follow what happens to the containers, until Ctrl-C. With --json each line is a message of the API:
    `containers` first, then `container_status` and `container_deleted`.
    """
    with open_client(connection) as client, client.events() as feed:
        known: dict[str, str] = {}
        for event in feed:
            if json_:
                print(json.dumps(message(event)), flush=True)
            else:
                _show(client, event, known)


def message(event: ecompute.Event[ecompute.Container]) -> dict[str, Any]:
    """An event in the form that it has on the wire."""
    from ecompute import Deleted, Snapshot

    if isinstance(event, Snapshot):
        return {"type": "containers", "data": to_json(event.containers)}
    if isinstance(event, Deleted):
        return {"type": "container_deleted", "data": unstructure(ContainerDeleted(event.container_id))}
    status = ContainerStatus(event.container_id, event.status, event.external_ip, event.status_reason)
    return {"type": "container_status", "data": unstructure(status)}


def _show(client: ecompute.Client, event: ecompute.Event[ecompute.Container], known: dict[str, str]) -> None:
    from ecompute import Deleted, Snapshot

    if isinstance(event, Snapshot):
        for box in event.containers:
            known[box.id] = box.name
            _line(known, box.id, box.status, "", box.external_ip, box.status_reason)
    elif isinstance(event, Deleted):
        _line(known, event.container_id, "deleted")
    else:
        if event.container_id not in known:
            try:
                known[event.container_id] = client.containers.get(event.container_id).name
            except Error:
                known[event.container_id] = ""
        _line(
            known,
            event.container_id,
            event.status,
            event.previous or "",
            event.external_ip,
            event.status_reason,
        )


def _line(
    known: dict[str, str],
    id: str,
    status: str,
    previous: str = "",
    address: str | None = None,
    reason: str | None = None,
) -> None:
    name = one_line(f"{known.get(id, '')} ({id})")
    before = f"{one_line(previous)} → " if previous and previous != status else ""
    head = f"{time.strftime('%H:%M:%S')}  {name}  {before}"
    now = one_line(status)
    tail = "".join(f"  {one_line(text)}" for text in (address, reason) if text)
    if not sys.stdout.isatty():
        print(head + now + tail, flush=True)
        return
    from rich.console import Console
    from rich.text import Text

    line = Text.assemble(head, (now, STYLES.get(now, "")), tail)
    Console(highlight=False).print(line, soft_wrap=True)
