"""Runs the application on a listening socket until it is told to stop."""

from __future__ import annotations

import asyncio
import encodings.idna  # noqa: F401 - so that looking up an address need not load it
import resource
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import uvicorn
import uvicorn.lifespan.off  # uvicorn would load it when it starts

from .app import Api
from .protocols import HttpProtocol, WebSocketProtocol

PING_SECONDS = 30.0
_MAX_HEADER_BYTES = 32 * 1024
_MAX_MESSAGE_BYTES = 1024 * 1024
_BACKLOG = 2048


class ListenError(Exception):
    """The address cannot be listened on; `str()` is one sentence for the operator."""


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one.

    Raises:
        ListenError: the port is taken, or the address is none of this host.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(_BACKLOG)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise ListenError(f"Cannot listen on {host} port {port}: {error.strerror}; see --port.") from None
    except UnicodeError:
        raise ListenError("The address to listen on is no host name.") from None
    listener.setblocking(False)
    return listener


def raise_open_files_limit() -> None:
    """Raise the soft limit of open files to the hard one: every connection is a file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def http_config(api: Api, trusted_proxies: Sequence[str] = ()) -> uvicorn.Config:
    """How HTTP and WebSockets are spoken, wherever the bytes come from."""
    return uvicorn.Config(
        api,
        # h11 bounds the size of a request's head, httptools does not
        http=HttpProtocol,
        h11_max_incomplete_event_size=_MAX_HEADER_BYTES,
        ws=WebSocketProtocol,
        ws_max_size=_MAX_MESSAGE_BYTES,
        ws_per_message_deflate=False,
        ws_ping_interval=PING_SECONDS,
        ws_ping_timeout=PING_SECONDS,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        # only who was named may say where a client is: the login throttle goes by it
        proxy_headers=bool(trusted_proxies),
        forwarded_allow_ips=list(trusted_proxies),
        timeout_graceful_shutdown=5,
        backlog=_BACKLOG,
    )


class Server(uvicorn.Server):
    """An HTTP server of one application that somebody else starts and stops."""

    def __init__(
        self,
        api: Api,
        *,
        started: Callable[[], None] = lambda: None,
        trusted_proxies: Sequence[str] = (),
    ) -> None:
        config = http_config(api, trusted_proxies)
        super().__init__(config)
        self._api = api
        self._tell_started = started
        self._leaving = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        # uvicorn would raise the signal once more at the end, and the exit status would not be 0
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._tell_started()

    async def main_loop(self) -> None:
        # uvicorn's own looks ten times a second whether it is to end, which every test would wait for
        waits = [asyncio.ensure_future(wait) for wait in (super().main_loop(), self._leaving.wait())]
        try:
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for wait in done:
                wait.result()
        finally:
            for wait in waits:
                wait.cancel()

    def take_no_more(self) -> None:
        """Answer every new request with 503 from now on."""
        self._api.take_no_more()

    async def stop(self) -> None:
        """Say goodbye on the WebSockets, finish the requests under way, and let `serve` return."""
        await self._api.drain()
        self.should_exit = True
        self._leaving.set()


async def serve_until_signal(server: Server, listener: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT, then drain; a second signal cuts the draining short."""
    loop = asyncio.get_running_loop()
    stopping: list[asyncio.Task[None]] = []

    def stop() -> None:
        if stopping:
            server.force_exit = server.should_exit = True
            stopping[0].cancel()
        else:
            server.take_no_more()
            stopping.append(asyncio.ensure_future(server.stop()))

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    try:
        await server.serve(sockets=[listener])
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
        await asyncio.gather(*stopping, return_exceptions=True)
