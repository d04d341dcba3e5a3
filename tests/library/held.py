"""What a process holds: sockets, threads, tasks."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from contextlib import suppress
from pathlib import Path

import anyio
from attrs import frozen

from .fake_server import LIMIT

_DESCRIPTORS = Path("/proc/self/fd")


@frozen
class Held:
    """Counts of what must be given back."""

    sockets: int
    threads: int
    tasks: int

    def is_within(self, most: Held) -> bool:
        """Whether there is no more of anything than in `most`, where something may have been under way."""
        return self.sockets <= most.sockets and self.threads <= most.threads and self.tasks <= most.tasks


def open_sockets() -> int:
    """How many sockets this process has."""
    count = 0
    for name in os.listdir(_DESCRIPTORS):  # noqa: PTH208 - iterdir has a descriptor of its own
        with suppress(OSError):
            count += os.readlink(_DESCRIPTORS / name).startswith("socket:")  # noqa: PTH115
    return count


def held() -> Held:
    """What is held now, after what can be collected has been."""
    gc.collect()
    library = sum(thread.name.startswith("ecompute") for thread in threading.enumerate())
    return Held(open_sockets(), library, _tasks())


async def settled(most: Held) -> None:
    """Until no more than this is held: no event tells that a thread or a task has ended."""
    with anyio.move_on_after(LIMIT):
        while not held().is_within(most):  # noqa: ASYNC110
            await anyio.sleep(0.01)
    assert held().is_within(most), f"{held()} is more than {most}"


def _tasks() -> int:
    with suppress(RuntimeError):
        asyncio.get_running_loop()
        return len(asyncio.all_tasks())
    with suppress(ImportError, RuntimeError):
        import trio

        return trio.lowlevel.current_statistics().tasks_living
    return 0
