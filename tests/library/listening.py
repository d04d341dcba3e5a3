"""A bare listener on loopback, for what is no HTTP server, and what many tests of the network serve."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from .fake_server import LIMIT, Request


@contextmanager
def listening(handle: Callable[[socket.socket], None]) -> Iterator[int]:
    """A bare listener; each connection gets a thread."""
    accepted: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def accept() -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            accepted.append(sock)
            threads.append(threading.Thread(target=handle, args=(sock,)))
            threads[-1].start()

    listener = socket.create_server(("127.0.0.1", 0))
    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        accepting.join(LIMIT)
        for sock in accepted:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        for thread in threads:
            thread.join(LIMIT)
            assert not thread.is_alive()


def two_kinds(request: Request) -> None:
    """An empty list for a call, and a feed with one container."""
    if request.path.endswith("/ws"):
        feed = request.upgrade()
        feed.snapshot(a="running")
        feed.serve_until_closed()
    else:
        request.answer({"containers": []})
