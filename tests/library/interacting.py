"""What the tests of `interact` run in a process of its own: one interaction, then what is left of it.

Arguments: the client's kind, the server's address, a token, a container's id, and what is special about it.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

import anyio

import ecompute


def options(special: str) -> dict[str, Any]:
    if special == "no-output":
        reading, writing = os.pipe()
        os.close(reading)
        return {"stdout": os.fdopen(writing, "wb", 0)}
    return {}


def sync(url: str, token: str, id: str, special: str) -> int | None:
    with ecompute.Client(token, url, verify=False) as client, client.terminal(id) as terminal:
        return terminal.interact(**options(special))


async def with_loop(url: str, token: str, id: str, special: str) -> int | None:
    async with ecompute.AsyncClient(token, url, verify=False) as client, client.terminal(id) as terminal:
        return await terminal.interact(**options(special))


def in_thread(work: Callable[[], object]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def main() -> None:
    kind, *where, special = sys.argv[1:]

    def work() -> None:
        try:
            if kind == "sync":
                status = sync(*where, special)
            else:
                status = anyio.run(with_loop, *where, special, backend=kind)
            print("status", status)
        except (ecompute.Error, KeyboardInterrupt) as error:
            print("error", type(error).__name__, error)

    if special == "handlers":
        for number in (signal.SIGTERM, signal.SIGWINCH):
            signal.signal(number, handle)
    before = [signal.getsignal(number) for number in signal.Signals]
    if special == "thread":
        in_thread(work)
    else:
        work()
    assert [signal.getsignal(number) for number in signal.Signals] == before
    assert [t.name for t in threading.enumerate() if t.name.startswith("ecompute")] == []
    print("over", flush=True)
    if special != "piped":
        input()


def handle(number: int, frame: object) -> None:
    os.write(1, f"handled {signal.Signals(number).name}\r\n".encode())


if __name__ == "__main__":
    main()
