"""What the tested server has and lacks, found out when a check asks for it."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from ecompute.contract import catalog

from .check import Need
from .verdict import NotThere

if TYPE_CHECKING:
    from .lab import Lab


class Abilities:
    """For each need, why the server lacks it; None when it does not."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._known: dict[Need, str | None] = {}

    def lack(self, need: Need) -> str | None:
        """Why it is not there, as a sentence."""
        if need not in self._known:
            try:
                self._known[need] = self._find(need)
            except NotThere as error:
                # such as a user at the limit, who may not be so later
                return str(error)
        return self._known[need]

    def seen(self) -> dict[str, bool]:
        """What was asked for in the run, and whether it was there."""
        return {need.name.lower(): lack is None for need, lack in self._known.items()}

    def _find(self, need: Need) -> str | None:
        found = {
            Need.SECOND_TENANT: self._second,
            Need.IDENTITY: self._identity,
            Need.SESSION: self._session,
            Need.RUNNING: self._running,
            Need.COMMANDS: lambda: self._subprotocol(catalog.EXEC_PROTOCOL),
            Need.TERMINAL_PROTOCOL: lambda: self._subprotocol(catalog.TERMINAL_PROTOCOL),
            Need.IDEMPOTENCY: self._idempotency,
            Need.DELETED_EVENTS: self._deleted_events,
            Need.REAL_GUESTS: self._real_guests,
            Need.RESTART: self._restart,
        }[need]
        with self._lab.history.as_preface():
            there = found()
        return None if there else f"The server lacks, or the run was not given, {need.value}."

    def _second(self) -> bool:
        return self._lab.has_second

    def _identity(self) -> bool:
        return self._lab.get("/api/session").status == 200

    def _session(self) -> bool:
        return self._lab.first.is_session and self._lab.first.user_id is not None

    def _running(self) -> bool:
        self._lab.running()
        return True

    def _subprotocol(self, name: str) -> bool:
        opened = self._lab.socket(
            f"/compute/containers/{self._lab.running()}/terminal", self._lab.first, subprotocols=(name,)
        )
        return opened.is_open and opened.subprotocol == name

    def _idempotency(self) -> bool:
        return self._lab.get("/compute/containers").headers.get("idempotency-supported") == "true"

    def _deleted_events(self) -> bool:
        from .feeds import Feed

        self._lab.make_room(1)
        feed = Feed.open(self._lab)
        id_ = self._lab.new_container()
        self._lab.delete(f"/compute/containers/{id_}")
        return feed.next_of("container_deleted", id_, within=5.0) is not None

    def _real_guests(self) -> bool:
        lab = self._lab
        id_ = lab.running()
        lab.put(f"/compute/containers/{id_}/ssh", {"ssh_enabled": True})
        address = lab.get(f"/compute/containers/{id_}").body.get("external_ip")
        if not isinstance(address, str):
            return False
        try:
            with socket.create_connection((address, 22), timeout=lab.target.timeout) as connection:
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False

    def _restart(self) -> bool:
        return self._lab.target.restart_command is not None
