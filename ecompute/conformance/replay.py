"""To say again what a report tells: the scripts that the kit prints use this.

    server = Replay("http://127.0.0.1:7780")
    first = server.secret("ECOMPUTE_TOKEN")
    server.send("GET", "/compute/containers", token=first)

Every exchange is printed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

from .raw import connect
from .sockets import Closed, Ponged, Received, Socket
from .target import Target
from .wire import NOTHING, Answer, Wire
from .wiring import TOKEN


class Replay:
    """A server by its URL."""

    def __init__(self, url: str, *, verify: bool | str = True, timeout: float = 30.0) -> None:
        self._wire = Wire(Target(url, "", verify=verify, timeout=timeout))

    def secret(self, variable: str) -> str:
        """A token from the environment.

        Raises:
            SystemExit: the variable is not set.
        """
        value = os.environ.get(variable)
        if not value:
            raise SystemExit(f"Set {variable} to a token of the server.")
        return value

    def send(
        self,
        method: str,
        path: str,
        *,
        token: str | None = None,
        body: Any = None,
        content: bytes | None = None,
        headers: Mapping[str, str] = NOTHING,
    ) -> Answer:
        """One HTTP exchange; `body` is sent as JSON, `content` as it is.

        Raises:
            Lost: there was no answer.
        """
        answer = self._wire.send(method, path, token=token, body=body, content=content, headers=headers)
        print(method, path, "->", answer)
        return answer

    def open(
        self,
        path: str,
        *,
        token: str | None = None,
        subprotocols: tuple[str, ...] = (),
        headers: Mapping[str, str] = NOTHING,
    ) -> Heard:
        """A WebSocket, or its refusal.

        Raises:
            Lost: there was no answer.
        """
        socket = Socket(self._wire, path, token=token, subprotocols=subprotocols, headers=headers)
        print("WebSocket", path.partition("?")[0], "->", socket.answer)
        return Heard(socket)

    def raw(self, data: bytes, within: float = 5.0) -> Answer | None:
        """Bytes on a connection of their own, and the answer if there is one. A literal `$ECOMPUTE_TOKEN` in
        them stands for the token.
        """
        if TOKEN in data:
            data = data.replace(TOKEN, self.secret(TOKEN[1:].decode()).encode())
        with connect(self._wire) as line:
            line.send(data)
            answer = line.answer(within)
        print(f"{len(data)} bytes ->", answer)
        return answer

    def wait(self, container: str, status: str, *, token: str, within: float = 180.0) -> None:
        """Until a container has a status.

        Raises:
            TimeoutError: it does not get it.
        """
        deadline = time.monotonic() + within
        while True:
            answer = self._wire.send("GET", f"/compute/containers/{container}", token=token)
            if answer.body.get("status") == status:
                return
            if time.monotonic() > deadline:
                raise TimeoutError(f"The container has not become {status} in {within:g} s.")
            time.sleep(0.05)


class Heard:
    """A WebSocket whose messages are printed."""

    def __init__(self, socket: Socket) -> None:
        self._socket = socket

    def send(self, data: str | bytes) -> None:
        """A message."""
        self._socket.send(data)

    def raw(self, data: bytes) -> None:
        """Bytes as they are."""
        self._socket.raw(data)

    def receive(self, within: float = 10.0) -> Received | None:
        """The next message, or how the WebSocket was closed; None when nothing comes in so many seconds."""
        received = self._socket.receive(within)
        match received:
            case Closed():
                print("closed:", received.code, received.reason)
            case Ponged() | None:
                print("received:", received)
            case _:
                print("received:", repr(received[:200]))
        return received
