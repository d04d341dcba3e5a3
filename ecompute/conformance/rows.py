"""The rows of the contract as requests that are sound in their form, for checks of all of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import frozen

from ecompute.contract.endpoint import Channel, Endpoint, path_parameters
from ecompute.contract.endpoints import CHANNELS, ENDPOINTS

from .credential import Tenant, Who
from .lab import Lab
from .wire import NOTHING, Answer

Row = Endpoint[Any, Any] | Channel[Any, Any]

ROWS: tuple[Row, ...] = (*ENDPOINTS, *CHANNELS)
"""Every row, HTTP and WebSocket."""

WITH_ID: tuple[Row, ...] = tuple(row for row in ROWS if path_parameters(row.path))
"""Those that name a thing in their path."""

EVERYTHING = ["create", "delete", "read", "update"]
"""All actions."""

MINE = "compute.<uid>"
"""The scope of all that a user has."""

PORT = 8_080


@frozen
class Place:
    """The things that paths name."""

    container: str = "zzzzzzzz"
    key: int | str = 999_999_999
    token: str = "zzzzzzzzzzzz"
    port: int | str = PORT

    def path(self, row: Row) -> str:
        """The path of a row."""
        if row.path.startswith("/compute/ssh-keys"):
            return row.path.format(id=self.key)
        if row.path.startswith("/api/tokens"):
            return row.path.format(id=self.token)
        return row.path.format(id=self.container, port=self.port)


def row_named(name: str) -> Row:
    """A row by its name."""
    return next(row for row in ROWS if row.name == name)


def body_of(lab: Lab, row: Row, owner: Tenant | None = None) -> Any:
    """The body of a request that is right; None for rows without one. `owner` is who asks."""
    match row.name:
        case "containers.create":
            return {"name": lab.name(), "ssh_key_ids": [lab.key(owner)]}
        case "ssh_keys.add":
            return {"name": lab.name(), "public_key": lab.public_key()}
        case "ssh_access.set":
            return {"ssh_enabled": True}
        case "ingress.add":
            return {"port": PORT + 1, "target_port": 3000}
        case "mounts.set":
            return {"mount_paths": ["/root", "/conformance"]}
        case "login":
            return {}
        case "tokens.create":
            user_id = (owner or lab.first).user_id
            return {"name": lab.name(), "scopes": {f"compute.{user_id}": ["read"]}, "expires_in": "30d"}
        case _:
            return None


def ask_row(
    lab: Lab,
    row: Row,
    path: str,
    who: Who = None,
    body: Any = None,
    *,
    content: bytes | None = None,
    headers: Mapping[str, str] = NOTHING,
) -> Answer:
    """Ask for a row as its kind is asked for: a WebSocket by a handshake. `content` is left out where a
    request has no body.

    Raises:
        Lost: there was no answer.
    """
    if isinstance(row, Channel):
        socket = lab.socket(path, who, headers=headers)
        socket.drop()
        return socket.answer
    if row.method not in ("POST", "PUT"):
        # what stands between may not let it pass (RFC 9110, 9.3.1)
        content = None
    return lab.ask(row.method, path, who, body, content=content, headers=headers)


def named(lab: Lab, path: str, who: Who = None) -> list[Any]:
    """The ids of the kit's own things in a list, in its order."""
    listed = lab.get(path, who).body
    (items,) = (value for value in listed.values() if isinstance(value, list))
    return [item["id"] for item in items if str(item["name"]).startswith(lab.prefix)]


def effect(lab: Lab, row: Row, place: Place, who: Who = None) -> Any:
    """What a request of this row would change; None for rows that change nothing that can be seen."""
    path = f"/compute/containers/{place.container}"
    match row.name.partition("."):
        case ("containers", _, "create"):
            return named(lab, "/compute/containers", who)
        case ("containers", _, "delete"):
            return lab.get(path, who).status
        case ("containers", _, "start" | "stop"):
            return lab.get(path, who).body["status"] == "stopped"
        case ("ssh_access", _, "set"):
            return lab.get(f"{path}/ssh", who).body
        case ("ingress", _, "add" | "remove"):
            return lab.get(f"{path}/ingress", who).body
        case ("mounts", _, "set"):
            return lab.get(f"{path}/mounts", who).body
        case ("ssh_keys", _, "add" | "delete"):
            return named(lab, "/compute/ssh-keys", who)
        case ("tokens", _, "create" | "delete"):
            return named(lab, "/api/tokens", who)
        case _:
            return None
