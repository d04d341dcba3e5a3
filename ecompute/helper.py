"""Running a credential helper: bounded in time and output, and nothing of it left behind.

What it prints is a secret, and so may be its arguments: both are held where no traceback shows them, and
what went wrong is returned rather than raised.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import suppress

MOST = 64 * 1024
"""Bytes that a helper may print: a token has a few thousand."""

LATE = "gave no token in time"
_TOO_MUCH = f"printed more than {MOST // 1024} KiB"

_LOOK = 0.05
"""Seconds between looks at whether it has ended while its output stays open: what it has started may hold
that for ever.
"""


class Words:
    """A command and its arguments, in a form that shows nothing."""

    __slots__ = ("all",)

    def __init__(self, words: list[str]) -> None:
        self.all: list[str] = words


class Output:
    """What was printed, in a form that shows nothing."""

    __slots__ = ("content",)

    def __init__(self) -> None:
        self.content: bytes = b""


def run(words: Words, within: float) -> tuple[Output, str | None]:
    """What a command prints until it ends, and what went wrong. It is a session of its own where there are
    such; whatever of that is left when it ends, or when its time is over, is ended too.
    """
    deadline = time.monotonic() + within
    output = Output()
    if within <= 0:
        return output, LATE
    try:
        process = subprocess.Popen(
            words.all, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True
        )
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "this is no command"
        return output, f"cannot be run: {reason}"
    try:
        problem = _gather(process, output, deadline)
    finally:
        _end(process)
    if problem is None and process.returncode != 0:
        problem = f"failed with the exit status {process.returncode}"
    return output, problem


if sys.platform == "win32":

    def _gather(process: subprocess.Popen[bytes], output: Output, deadline: float) -> str | None:
        # a pipe cannot be waited for here, so that it is read to its end, or to that of the time
        try:
            output.content = process.communicate(timeout=deadline - time.monotonic())[0]
        except subprocess.TimeoutExpired:
            return LATE
        return _TOO_MUCH if len(output.content) > MOST else None

    def _end(process: subprocess.Popen[bytes]) -> None:
        process.kill()
        process.wait()

else:

    def _gather(process: subprocess.Popen[bytes], output: Output, deadline: float) -> str | None:
        import selectors

        pipe = process.stdout
        assert pipe is not None
        os.set_blocking(pipe.fileno(), False)
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            while True:
                # looked at first: what it has printed until its end is in the pipe then
                ended = process.poll() is not None
                closed = _drain(pipe.fileno(), output)
                left = deadline - time.monotonic()
                if len(output.content) > MOST:
                    return _TOO_MUCH
                if ended:
                    return None
                if left <= 0:
                    return LATE
                if closed:
                    break
                selector.select(min(left, _LOOK))
        try:
            process.wait(left)
        except subprocess.TimeoutExpired:
            return LATE
        return None

    def _drain(pipe: int, output: Output) -> bool:
        """Take what is there, a little more than the most at last, and tell whether that was the end."""
        while len(output.content) <= MOST:
            try:
                piece = os.read(pipe, MOST + 1 - len(output.content))
            except BlockingIOError:
                return False
            if not piece:
                return True
            output.content += piece
        return False

    def _end(process: subprocess.Popen[bytes]) -> None:
        import signal

        # its group may be gone, or hold what has taken other rights
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        if process.stdout is not None:
            process.stdout.close()
        process.wait()
