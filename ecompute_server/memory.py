"""The memory of a server's own process, as far as the C library can be told what to do with it.

For `serve` alone: what is said here holds for the whole process, and an application that embeds the server
has its own mind about that.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc

TRIM_SECONDS = 10.0
_M_ARENA_MAX, _M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD = -8, -3, -1  # mallopt(3)


def keep_small() -> None:
    """Let the C library keep one arena, since threads here allocate little, and give large pieces back at
    once.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_ARENA_MAX, 1)
        # set by hand, so that they do not grow with what was freed before
        mallopt(_M_MMAP_THRESHOLD, 64 * 1024)
        mallopt(_M_TRIM_THRESHOLD, 64 * 1024)


def give_back_start() -> None:
    """Return to the system what starting took and serving does not need; some MB."""
    gc.collect()
    # what is there now stays: looking at it again and again would only take time
    gc.freeze()
    trim()


def trim() -> None:
    """Return to the system what lies free between pieces that are in use; some milliseconds at most."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


async def trim_now_and_then() -> None:
    """For ever: a thousand visitors who have left would else be remembered as 40 MB of holes."""
    while True:
        await asyncio.sleep(TRIM_SECONDS)
        trim()
