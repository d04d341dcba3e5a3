"""The feed beside the model: each message must be what the orders so far allow, and each order must be told.

A feed may lag behind the answers, and a status may move by itself meanwhile. So the feed is followed by its
own state: what it has told of each container, from where the next message must go on.
"""

from __future__ import annotations

import time
from typing import Any

from ecompute.contract.catalog import Status

from .credential import Tenant
from .feeds import Feed
from .lab import Lab
from .world import REACH, World

ORDER, ENDS, OWN = "SEQ-013", "SEQ-014", "SEQ-015"

_MOMENT = 0.001
"""Seconds in which what has come already is read."""
_LONGEST = 30.0
"""Seconds after which a feed that is never silent is read no further."""


class Patience:
    """How long to wait for a message. A lost one is soon lost again while a failure is made simpler."""

    def __init__(self, seconds: float) -> None:
        self.seconds: float = seconds

    def spend(self) -> None:
        """A message has not come."""
        self.seconds = min(self.seconds, 0.3)


class Watch:
    """One subscription of a tenant during an example. `tells_ends` is whether the server tells of deletes."""

    def __init__(self, lab: Lab, feed: Feed, owner: str, tells_ends: bool, patience: Patience) -> None:
        self._lab = lab
        self._feed = feed
        self._owner = owner
        self._tells_ends = tells_ends
        self._patience = patience
        self._told: dict[str, str] = dict(feed.state)
        self._allowed: dict[str, set[str]] = {}
        self._ended: set[str] = set()

    def follow(self, world: World, news: tuple[tuple[str, frozenset[str]], ...]) -> None:
        """Read until all the news of the owner's containers have come (one of these statuses, or the end for
        none), and what is there besides.
        """
        for id_, statuses in news:
            for status in statuses:
                self.allow(id_, status)
            if statuses or self._tells_ends:
                self._wait(world, id_, statuses)
        deadline = time.monotonic() + _LONGEST
        while (message := self._feed.next(_MOMENT)) is not None and time.monotonic() < deadline:
            self._take(world, message)
        self._lab.holds(ORDER, self._feed.closed is None, "an open feed", self._feed.closed)
        self._lab.holds(ORDER, not self._feed.malformed, "well-formed messages", self._feed.malformed)

    def allow(self, id: str, status: str) -> None:
        """The status may be told next, whatever was told before."""
        self._allowed.setdefault(id, set()).add(status)

    def agrees(self, world: World) -> None:
        """In the end the feed has told the statuses that the list has."""
        mine = {box.id for box in world.boxes_of(self._owner)}
        listed: dict[str, str] = {}
        told: dict[str, str] = {}

        def same() -> bool:
            nonlocal listed, told
            found = self._lab.wire.send("GET", "/compute/containers", token=self._tenant.credential.token)
            containers = found.body.get("containers", [])
            listed = {c["id"]: c["status"] for c in containers if c.get("id") in mine}
            self.follow(world, ())
            told = {id_: status for id_, status in self._told.items() if id_ in mine}
            return listed == told

        agreed = self._lab.until(same, self._patience.seconds)
        if not agreed:
            self._patience.spend()
            self._lab.get("/compute/containers", self._tenant)
        self._lab.holds(ORDER, agreed, f"a feed that tells what the list does: {listed}", told)

    @property
    def _tenant(self) -> Tenant:
        return self._lab.first if self._owner == self._lab.first.symbol else self._lab.second

    def _wait(self, world: World, id: str, statuses: frozenset[str]) -> None:
        came = self._comes(world, id, statuses)
        if not came:
            self._patience.spend()
        requirement = ORDER if statuses else ENDS
        wanted = " or ".join(sorted(statuses)) or "the end"
        self._lab.holds(requirement, came, f"a message that tells {wanted} of {id}", self._feed.messages[-3:])

    def _comes(self, world: World, id: str, statuses: frozenset[str]) -> bool:
        deadline = time.monotonic() + self._patience.seconds
        while (left := deadline - time.monotonic()) > 0:
            message = self._feed.next(left)
            if message is None:
                return False
            if self._take(world, message) != id:
                continue
            status = message["data"].get("status")
            if status in statuses or (not statuses and message["type"] == "container_deleted"):
                return True
        return False

    def _take(self, world: World, message: dict[str, Any]) -> str | None:
        data = message["data"]
        match message["type"]:
            case "containers":
                self._told = dict(self._feed.state)
                return None
            case "container_status":
                self._moves(world, str(data.get("container_id")), data.get("status"), message)
            case "container_deleted":
                self._ends(world, str(data.get("container_id")), message)
            case _:
                return None
        return str(data.get("container_id"))

    def _moves(self, world: World, id: str, status: Any, message: object) -> None:
        self._own(world, id, message)
        if ("container", id) not in world.made:
            return
        self._lab.holds(ENDS, id not in self._ended, "nothing about a container that has ended", message)
        before = self._told.get(id)
        forward = REACH.get(before, frozenset()) if before is not None else REACH[Status.PENDING]
        ordered = self._allowed.get(id, set())
        expected = sorted(forward | ordered)
        self._lab.holds(ORDER, status in expected, f"of {id}, after {before}, one of {expected}", message)
        if status in ordered and status not in forward:
            ordered.discard(status)
        self._told[id] = str(status)

    def _ends(self, world: World, id: str, message: object) -> None:
        self._own(world, id, message)
        if ("container", id) not in world.made:
            return
        gone = world.box(id) is None and id not in self._ended
        self._lab.holds(ENDS, gone, f"no end of {id}, which is there or has ended before", message)
        self._ended.add(id)
        self._told.pop(id, None)

    def _own(self, world: World, id: str, message: object) -> None:
        if not self._lab.has_second:
            return
        own = world.made.get(("container", id), self._owner) == self._owner
        self._lab.holds(OWN, own, "nothing about another user's container", message)
