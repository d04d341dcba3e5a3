"""The life of containers as a feed tells it, beside what the list says."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from .feeds import Feed
from .lab import Lab

PATIENCE = 5.0
"""Seconds in which a feed tells what a GET tells already."""

_NEXT = {
    # a restart while it boots begins anew, so that pending may follow itself
    "pending": {"pending", "initializing", "stopped", "failed"},
    "initializing": {"pending", "running", "stopped", "failed"},
    "running": {"pending", "stopped", "failed"},
    "stopped": {"pending"},
    "failed": {"pending", "stopped"},
}

STEPS = st.lists(
    st.tuples(st.sampled_from(("create", "stop", "start", "mounts", "ssh", "delete")), st.integers(0, 1)),
    min_size=4,
    max_size=12,
).map(lambda steps: [("create", 0), ("create", 1), *steps])
"""What is done to two places for containers, which are filled when they are empty."""


def once(lab: Lab, step: str, slot: int, slots: dict[int, str]) -> None:
    """Do one of the steps, whatever the container's status."""
    if slot not in slots:
        slots[slot] = lab.new_container()
        return
    path = f"/compute/containers/{slots[slot]}"
    match step:
        case "stop" | "start":
            lab.post(f"{path}/{step}")
        case "mounts":
            paths = lab.get(f"{path}/mounts").body["mount_paths"]
            lab.put(f"{path}/mounts", {"mount_paths": ["/root"] if "/data" in paths else ["/root", "/data"]})
        case "ssh":
            lab.put(f"{path}/ssh", {"ssh_enabled": True})
        case "delete":
            lab.delete(path)
            del slots[slot]


def told(feed: Feed, container: str) -> list[dict[str, Any]]:
    """All messages about a container behind the first one."""
    return [
        message
        for message in feed.messages
        if isinstance(message["data"], dict) and message["data"].get("container_id") == container
    ]


def follow(
    lab: Lab,
    feed: Feed,
    container: str,
    last: str,
    *,
    times: int = 1,
    each: Callable[[str], None] = lambda status: None,
) -> list[str]:
    """The statuses of a container up to and with this one, or its occurrence of that number; `each` sees
    them as they come. Where the container has got there and the feed does not say so, they end before.
    """
    seen: list[str] = []
    deadline = time.monotonic() + lab.target.boot_timeout * times
    while seen.count(last) < times and time.monotonic() < deadline:
        message = feed.next(0.5)
        if message is None:
            if feed.closed or (_is_there(lab, container, last) and (message := feed.next(PATIENCE)) is None):
                break
            if message is None:
                continue
        data = message["data"]
        if message["type"] == "container_status" and data.get("container_id") == container:
            seen.append(str(data.get("status")))
            each(seen[-1])
    return seen


def _is_there(lab: Lab, container: str, status: str) -> bool:
    mark = lab.history.mark()
    found = lab.status(container)
    lab.history.rewind(mark)
    return found in (status, "failed", "")


def agrees(told: list[dict[str, Any]], before: list[dict[str, Any]], after: list[dict[str, Any]]) -> bool:
    """Whether a first message can be the list between two looks at it."""
    shown = {str(item.get("id")): item for item in told}
    earlier = {str(item["id"]): item for item in before}
    later = {str(item["id"]): item for item in after}
    if len(shown) != len(told) or not earlier.keys() & later.keys() <= shown.keys():
        return False
    if not shown.keys() <= earlier.keys() | later.keys():
        return False
    for id_, item in shown.items():
        looks = [look[id_] for look in (earlier, later) if id_ in look]
        if item.get("name") != looks[0]["name"]:
            return False
        # a status that has changed meanwhile may have been any on the way
        if len(looks) == 2 and looks[0]["status"] == looks[1]["status"] != item.get("status"):
            return False
    return True


def strays(feed: Feed) -> list[tuple[str, str, str]]:
    """Steps from one status to another that no container takes, by its id."""
    now: dict[str, str] = {}
    found = []
    for message in feed.messages:
        data = message["data"]
        if message["type"] == "containers":
            now = {str(item.get("id")): str(item.get("status")) for item in data}
        elif message["type"] == "container_deleted":
            now.pop(str(data.get("container_id")), None)
        elif message["type"] == "container_status":
            id_, status = str(data.get("container_id")), str(data.get("status"))
            before = now.get(id_)
            right = {"pending"} if before is None else _NEXT.get(before, set())
            if status not in right:
                found.append((id_, before or "nothing", status))
            now[id_] = status
    return found
