"""The events feed as a check reads it: decoded messages, and the list that follows from them."""

from __future__ import annotations

import json
import time
from typing import Any

from .credential import Who
from .lab import Lab
from .sockets import Closed, Ponged, Socket
from .verdict import Lost, NotThere

PATH = "/compute/ws"
_LONGEST = 60.0


class Feed:
    """One subscription. `state` is the status of each container by what was said so far."""

    def __init__(self, socket: Socket) -> None:
        self.socket = socket
        self.messages: list[dict[str, Any]] = []
        self.state: dict[str, str] = {}
        self.malformed: list[object] = []
        self.closed: Closed | None = None

    @classmethod
    def open(cls, lab: Lab, who: Who = None) -> Feed:
        """Subscribe, as the first tenant unless told otherwise, and read the first message.

        Raises:
            NotThere: the server refuses it, or says nothing.
        """
        feed = cls(lab.opened(PATH, who))
        if feed.next(lab.target.timeout) is None:
            raise NotThere(f"The feed said nothing in {lab.target.timeout:g} s.")
        return feed

    def next(self, within: float = 5.0) -> dict[str, Any] | None:
        """The next message; None when there is none in so many seconds, or the feed has ended."""
        deadline = time.monotonic() + within
        while True:
            received = self.socket.receive(max(0.0, deadline - time.monotonic()))
            match received:
                case None:
                    return None
                case Closed():
                    self.closed = received
                    return None
                case Ponged():
                    continue
            message = _decoded(received)
            if message is None:
                self.malformed.append(received)
                continue
            self.messages.append(message)
            self._follow(message)
            return message

    def next_of(self, kind: str, container: str, *, within: float = 5.0) -> dict[str, Any] | None:
        """The next message of a type about a container."""
        deadline = time.monotonic() + within
        while (left := deadline - time.monotonic()) > 0:
            message = self.next(left)
            if message is None:
                return None
            if message["type"] == kind and message["data"].get("container_id") == container:
                return message
        return None

    def until(self, container: str, status: str, *, within: float) -> list[str]:
        """The statuses of a container up to and with this one, as they are told from now on. The last one is
        another where the time is over or the feed ends before.
        """
        seen: list[str] = []
        deadline = time.monotonic() + within
        while not seen or seen[-1] != status:
            message = self.next(max(0.0, deadline - time.monotonic()))
            if message is None:
                break
            if message["type"] == "container_status" and message["data"].get("container_id") == container:
                seen.append(str(message["data"].get("status")))
        return seen

    def drain(self, quiet: float = 0.2) -> None:
        """Read until nothing has come for so many seconds.

        Raises:
            Lost: there is always more.
        """
        deadline = time.monotonic() + _LONGEST
        while self.next(quiet) is not None:
            if time.monotonic() > deadline:
                raise Lost(f"The feed is never silent: {_LONGEST:g} s long there was always more.")

    def _follow(self, message: dict[str, Any]) -> None:
        data = message["data"]
        match message["type"]:
            case "containers" if isinstance(data, list):
                self.state = {
                    str(item.get("id")): str(item.get("status")) for item in data if isinstance(item, dict)
                }
            case "container_status":
                self.state[str(data.get("container_id"))] = str(data.get("status"))
            case "container_deleted":
                self.state.pop(str(data.get("container_id")), None)


def _decoded(received: object) -> dict[str, Any] | None:
    """A message of the feed's form: an object with a type, and data that fit it."""
    if not isinstance(received, str):
        return None
    try:
        message = json.loads(received)
    except ValueError:
        return None
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        return None
    wanted: type = list if message["type"] == "containers" else dict
    return message if isinstance(message.get("data"), wanted) else None
