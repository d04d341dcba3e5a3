"""Containers as checks make them when the answer itself is what they look at."""

from __future__ import annotations

from typing import Any

from ecompute.contract.problems import PROBLEMS, Code

from .lab import Lab
from .verdict import NotThere
from .wire import Answer

CONTAINERS = "/compute/containers"

ROWS = (
    ("GET", "", None),
    ("DELETE", "", None),
    ("POST", "/start", None),
    ("POST", "/stop", None),
    ("GET", "/ssh", None),
    ("PUT", "/ssh", {"ssh_enabled": True}),
    ("GET", "/ingress", None),
    ("POST", "/ingress", {"port": 8080}),
    ("DELETE", "/ingress/8080", None),
    ("GET", "/mounts", None),
    ("PUT", "/mounts", {"mount_paths": ["/root"]}),
)
"""Every row about one container: its method, its path behind the id, a body that fits."""


def at(id_: str, rest: str = "") -> str:
    """The path of a container, or of something below it."""
    return f"{CONTAINERS}/{id_}{rest}"


def create(lab: Lab, **fields: Any) -> Answer:
    """The answer to a create, as the first tenant; name and keys are right unless given.

    Raises:
        NotThere: there may be no more containers, or the host cannot have this one now.
    """
    body = {"name": lab.name(), "ssh_key_ids": [lab.key()], **fields}
    answer = lab.post(CONTAINERS, body)
    if answer.code == Code.LIMIT_REACHED:
        raise NotThere("The user has as many containers as there may be.")
    if answer.status == PROBLEMS[Code.UNAVAILABLE].status:
        raise NotThere(f"The server cannot have such a container now: {answer}")
    return answer


def listed(lab: Lab) -> list[dict[str, Any]]:
    """The first tenant's containers, as listed now."""
    found: list[dict[str, Any]] = lab.get(CONTAINERS).body["containers"]
    return found


def named(lab: Lab, name: str) -> list[dict[str, Any]]:
    """Those with a name."""
    return [container for container in listed(lab) if container.get("name") == name]
