"""A gateway in a process of its own, so that its memory can be seen. A program, not a module.

    python -m tests.drivers.gateway.child

Prints one line of JSON with the ports of two containers' plain and HTTPS listeners, the shared one, and the
path of the root certificate. For each line that it gets it collects the cycles that the streams of its own
guests leave, gives memory back as `serve` does now and then, and says so. Ends with its standard input.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import tempfile
from pathlib import Path

from ecompute.contract.catalog import HTTPS_PORT
from ecompute_server import memory
from ecompute_server.gateway.limits import Limits
from ecompute_server.gateway.tls.authority import Authority

from .harness import DOMAIN, Fleet, echo, free_port, new_gateway

ADDRESSES = {"one": "127.77.250.21", "two": "127.77.250.22"}
LIMITS = Limits(handshake=2.0, head=2.0, keep_alive=2.0, farewell=0.5, look=0.5)


async def page(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers each request; the path says how: `/pour` sends without end, `/die` breaks off, `/socket`
    becomes an echo.
    """
    while True:
        head = await reader.readuntil(b"\r\n\r\n")
        if b" /pour " in head:
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            while True:
                writer.write(bytes(65536))
                await writer.drain()
        if b" /die " in head:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + bytes(500_000))
            return
        if b" /socket " in head:
            writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
            await echo(reader, writer)
            return
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")


async def main() -> None:
    memory.keep_small()  # as `serve` does
    fleet = Fleet()
    port, offset = free_port(), free_port() - HTTPS_PORT
    with tempfile.TemporaryDirectory() as keys:
        gateway = new_gateway(fleet, Path(keys), offset, LIMITS)
        await gateway.open()
        for name, address in ADDRESSES.items():
            await fleet.serve(name, 7, echo)
            await fleet.serve(name, 80, page)
            await gateway.publish(name, address, port - offset, 7)
            await gateway.publish(name, address, HTTPS_PORT, 80)
        Authority.open(Path(keys), DOMAIN)
        root = Path(keys, DOMAIN, "root.pem")
        ports = {"plain": port, "https": HTTPS_PORT + offset, "shared": gateway.shared_port}
        print(json.dumps({**ports, "root": str(root)}), flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            gc.collect()
            memory.trim()
            print("collected", flush=True)
        await gateway.close()
        await fleet.close()


if __name__ == "__main__":
    asyncio.run(main())
