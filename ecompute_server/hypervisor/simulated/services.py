"""What listens in a simulated guest, and the connections into it.

A service is an asyncio handler, as `asyncio.start_server` takes one. A connection is a pair of connected
sockets; no port of this host is opened.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress

from .machine import SimulatedMachine, void

Service = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

BANNER = b"SSH-2.0-ecompute_simulated\r\n"
MSG_DISCONNECT = 1
BY_APPLICATION = 11  # RFC 4253, section 11.1
FAREWELL = b"a simulated guest has no SSH login; use the terminal"


class Connections:
    """The connections into all machines of one hypervisor."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def open(self, machine: SimulatedMachine, service: Service) -> socket.socket:
        """Connect to the service; the answer is the client's end, non-blocking."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        task = asyncio.get_running_loop().create_task(self._serve(ours, service))
        self._tasks.add(task)
        unwatch = machine.watch(lambda: void(task.cancel()))
        task.add_done_callback(lambda _: unwatch())
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: ours.close())
        return theirs

    async def close(self) -> None:
        """End all connections; returns when their handlers have ended."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, end: socket.socket, service: Service) -> None:
        reader, writer = await asyncio.open_unix_connection(sock=end)
        try:
            await service(reader, writer)
        except OSError:
            pass  # the client hung up
        except Exception as error:
            asyncio.get_running_loop().call_exception_handler(
                {"message": "a service of a simulated guest failed", "exception": error}
            )
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


async def ssh_banner(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Say which protocol is spoken, and, to a client that goes on, why it ends here."""
    writer.write(BANNER)
    with suppress(asyncio.LimitOverrunError, asyncio.IncompleteReadError):
        await reader.readuntil(b"\n")  # the client's banner
        await reader.readexactly(4)  # it begins the key exchange
        payload = struct.pack(">BIL", MSG_DISCONNECT, BY_APPLICATION, len(FAREWELL)) + FAREWELL + bytes(4)
        padding = -(len(payload) + 5) % 8  # whole blocks, of at least four bytes: RFC 4253, section 6
        padding += 8 * (padding < 4)
        writer.write(struct.pack(">LB", len(payload) + padding + 1, padding) + payload + bytes(padding))
        await writer.drain()
