"""The operator's own command, which restarts the tested server."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from typing import BinaryIO

from .verdict import NotThere

_MOST = 16 * 1024 * 1024
_SHOWN = 200
_PAUSE = 0.02


def operate(command: str, within: float) -> None:
    """Run a shell line to its end. What it starts in the background goes on, whatever that still prints.

    Raises:
        NotThere: it fails, takes more than so many seconds, or prints without end.
    """
    # a file, since who holds the end of a pipe would be waited for, and would die of its end
    with tempfile.TemporaryFile() as said:
        try:
            running = subprocess.Popen(
                ["/bin/sh", "-c", command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=said,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise NotThere(f"The restart command cannot be run: {error}.") from None
        try:
            status = _wait(running, said, within)
        except BaseException:
            with suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGKILL)
            running.wait()
            raise
        if status != 0:
            raise NotThere(f"The restart command ended with the status {status}: {_end(said)}")


def _wait(running: subprocess.Popen[bytes], said: BinaryIO, within: float) -> int:
    deadline = time.monotonic() + within
    while (status := running.poll()) is None:
        if time.monotonic() > deadline:
            raise NotThere(f"The restart command did not end in {within:g} s.")
        if os.fstat(said.fileno()).st_size > _MOST:
            raise NotThere("The restart command prints without end.")
        time.sleep(_PAUSE)
    return status


def _end(said: BinaryIO) -> str:
    size = said.seek(0, os.SEEK_END)
    said.seek(max(0, size - 4 * _SHOWN))
    return said.read(4 * _SHOWN).decode("utf-8", "replace").strip()[-_SHOWN:]
