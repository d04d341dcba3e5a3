"""One listening port. What comes in is handed on as a socket; nothing here knows where it leads."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable

from ecompute_server.gateway.interface import GatewayError
from ecompute_server.gateway.ports import PORT_OFFSET, bind_sentence, open_port
from ecompute_server.gateway.sockets import tune
from ecompute_server.logs import get_logger

_log = get_logger(__name__)

_BACKLOG = 1024
_ACCEPTED_AT_ONCE = 32
"""So that a flood on one port leaves the loop to the others in between."""

_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Listener:
    """Accepts on `address:port` from its making until `close`.

    `accepted` is called on the event loop with each new connection as a non-blocking, tuned socket, and owns
    it.
    """

    def __init__(
        self,
        address: str,
        port: int,
        accepted: Callable[[socket.socket], None],
        *,
        pause: float,
        remedy: str = PORT_OFFSET,
    ) -> None:
        """Listen. `remedy` is what an operator can do where the port cannot be had.

        Raises:
            GatewayError: the port is taken, or may not be bound.
        """
        self._loop = asyncio.get_running_loop()
        self._accepted = accepted
        self._pause = pause
        self._resumption: asyncio.TimerHandle | None = None
        self.address = address
        try:
            self._socket = open_port(address, port)
        except (OSError, OverflowError) as error:
            raise GatewayError(_sentence(error, address, port, remedy)) from error
        try:
            self._socket.setblocking(False)
            # whoever is accepted inherits it (socket(7), tcp(7)), which spares each connection five calls
            tune(self._socket)
            self._socket.listen(_BACKLOG)
            self.port: int = self._socket.getsockname()[1]
        except OSError as error:
            self._socket.close()
            raise GatewayError(_sentence(error, address, port, remedy)) from error
        self._loop.add_reader(self._socket, self._accept)

    def close(self) -> None:
        """Stop listening; whoever was not accepted yet is reset. Safe to call twice."""
        if self._resumption is not None:
            self._resumption.cancel()
            self._resumption = None
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket)
            self._socket.close()

    def _accept(self) -> None:
        for _ in range(_ACCEPTED_AT_ONCE):
            try:
                visitor, _peer = self._socket.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self._rest(error)
                    return
                # the errors of a connection that broke before it was taken (accept(2)) are not the listener's
                continue
            visitor.setblocking(False)
            self._accepted(visitor)
            if self._socket.fileno() < 0:
                return

    def _rest(self, error: OSError) -> None:
        """Wait in the backlog's shelter; the waiting connections keep the socket readable, so the loop would
        spin otherwise.
        """
        _log.warning("accepting is paused", address=self.address, port=self.port, reason=error.strerror)
        self._loop.remove_reader(self._socket)
        self._resumption = self._loop.call_later(self._pause, self._resume)

    def _resume(self) -> None:
        self._resumption = None
        self._loop.add_reader(self._socket, self._accept)


def _sentence(error: OSError | OverflowError, address: str, port: int, remedy: str) -> str:
    if isinstance(error, OverflowError):
        return f"{address}:{port} cannot be bound, because there is no such port."
    return bind_sentence(error, address, port, remedy=remedy)
