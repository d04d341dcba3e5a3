"""Servers that do not even speak HTTP: each connection is a function's."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from .fake_server import LIMIT, FakeServer, Hangup, Request


class BluntServer(FakeServer):
    """As the fake server, but `speak` is called with each connection as it was accepted."""

    def __init__(self, speak: Callable[[socket.socket], None]) -> None:
        self._speak = speak
        super().__init__(_never)

    def _serve(self, sock: socket.socket) -> None:
        sock.settimeout(LIMIT)
        try:
            self._speak(sock)
        except OSError:
            pass
        except BaseException as error:
            self.failures.append(error)
        finally:
            sock.close()


def _never(request: Request) -> None:
    raise Hangup


@contextmanager
def speaking(speak: Callable[[socket.socket], None]) -> Iterator[BluntServer]:
    """A server that speaks so, until the end of the block."""
    server = BluntServer(speak)
    try:
        yield server
    finally:
        server.stop()


def after_a_request(*parts: bytes) -> Callable[[socket.socket], None]:
    """Read something, then say all of it and hang up in order."""

    def speak(sock: socket.socket) -> None:
        sock.recv(65536)
        for part in parts:
            sock.sendall(part)
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(65536):
            pass

    return speak


def unasked(banner: bytes) -> Callable[[socket.socket], None]:
    """Say this as soon as somebody connects, as an SSH server does, and then listen."""

    def speak(sock: socket.socket) -> None:
        sock.sendall(banner)
        while sock.recv(65536):
            pass

    return speak


def endless(head: bytes, more: bytes) -> Callable[[socket.socket], None]:
    """Say the beginning, and then the rest again and again for as long as anybody listens."""

    def speak(sock: socket.socket) -> None:
        sock.recv(65536)
        sock.sendall(head)
        while True:
            sock.sendall(more)

    return speak


class Flapping:
    """Opens one WebSocket after the other, each with what `answer` gives for its head and number. It breaks
    off as many of them as it is told to, and keeps the one behind these open. Requests that open nothing are
    answered with the number of the last that was opened.

    All is done on one thread, and nothing is kept, so that a test can look for what others keep.
    """

    def __init__(self, answer: Callable[[bytes, int], bytes]) -> None:
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://localhost:{self._listener.getsockname()[1]}"
        self.count = 0
        """How many were opened."""
        self._breaking = 0
        self._kept: socket.socket | None = None
        self._quiet = threading.Event()
        self._thread = threading.Thread(target=self._run, name="flapping")
        self._thread.start()

    def flap(self, count: int) -> None:
        """Break off the open one and those that follow, `count` in all; returns when the next one is kept."""
        assert self._quiet.wait(LIMIT), "nobody came"
        self._quiet.clear()
        self._breaking = count - 1
        self.break_off()
        assert self._quiet.wait(10 * LIMIT), "the client stopped coming back"

    def break_off(self) -> None:
        """Break off the one that was kept open."""
        kept, self._kept = self._kept, None
        assert kept is not None
        with suppress(OSError):
            kept.shutdown(socket.SHUT_RDWR)
        kept.close()

    def _run(self) -> None:
        with suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                with suppress(OSError):
                    self._serve(sock)

    def _serve(self, sock: socket.socket) -> None:
        sock.settimeout(LIMIT)
        head = b""
        while b"\r\n\r\n" not in head:
            head += sock.recv(65536) or b"\r\n\r\n"
        opens = b"upgrade: websocket" in head.lower()
        sock.sendall(self._answer(head, self.count + opens))
        self.count += opens
        if opens and not self._breaking:
            self._kept = sock
            self._quiet.set()
        else:
            self._breaking -= opens
            sock.close()

    def stop(self) -> None:
        """End it, and its thread."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(LIMIT)
        if self._kept is not None:
            self._kept.close()
