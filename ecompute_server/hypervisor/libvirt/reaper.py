"""Clears away the processes that libvirt and the outbound launcher leave to whoever reaps (`process.py`).

A process that reaps has to: libvirt asks the kernel whether a QEMU of its is gone, for up to 40 seconds, and
a QEMU that nobody cleared away is not. Known processes are awaited one by one (`Reaper`); libvirt also starts
QEMUs that it tells nobody of, so while it works there is a look at the rest (`sweep`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

SWEEP = 0.02


class Reaper:
    """Waits for processes by pidfd, so that no other child of this process is touched."""

    def __init__(self) -> None:
        self._watched: dict[int, int] = {}

    def watch(self, pid: int, ended: Callable[[], object] = lambda: None) -> None:
        """Clears the process away when it ends, unless that is somebody else's to do, and calls `ended`, at
        once when it is gone already.
        """
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            ended()
            return
        except OSError:
            return
        self._forget(self._watched.pop(pid, None))
        self._watched[pid] = descriptor
        asyncio.get_running_loop().add_reader(descriptor, self._ended, pid, ended)

    def _ended(self, pid: int, ended: Callable[[], object]) -> None:
        self._forget(self._watched.pop(pid, None))
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        ended()

    def _forget(self, descriptor: int | None) -> None:
        if descriptor is not None:
            asyncio.get_running_loop().remove_reader(descriptor)
            os.close(descriptor)

    def close(self) -> None:
        for pid in list(self._watched):
            self._forget(self._watched.pop(pid))


def alive(pid: int, word: str) -> bool:
    """Whether the process has not ended, cleared away or not, and is the one with `word` in its command line:
    another may have got its number. A program that is just being started has no command line yet.
    """
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return state not in "ZX" and (not command or word.encode() in command)


class Sweeper:
    """Looks for handed-over processes every 20 ms while any libvirt call is being made, and not else.

    A thread of its own: the calls it serves may outlast the event loop's interest in them.
    """

    def __init__(self) -> None:
        self._calls = 0
        self._change = threading.Condition()
        self._thread: threading.Thread | None = None

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """Around each libvirt call that may end a process."""
        with self._change:
            self._calls += 1
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="reaper", daemon=True)
                self._thread.start()
            self._change.notify()
        try:
            yield
        finally:
            with self._change:
                self._calls -= 1

    def _run(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._calls > 0)
            sweep()
            time.sleep(SWEEP)


SWEEPER = Sweeper()
"""One for the process, as its children are."""


def sweep() -> None:
    """Clears away every ended process that was handed to us; one or two system calls when there is none."""
    while True:
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if ended is None or not _handed_over(ended.si_pid):
            return
        with contextlib.suppress(ChildProcessError):
            os.waitpid(ended.si_pid, os.WNOHANG)


def _handed_over(pid: int) -> bool:
    """Whether a child came to us as an orphan.

    Children of our own (subprocess, libvirt's short-lived helpers) are in our session or lead one. A daemon
    is in a session whose leader is gone; only a QEMU that libvirt questions makes itself a leader.
    """
    try:
        head, _, tail = Path(f"/proc/{pid}/stat").read_text().rpartition(")")
    except OSError:
        return False
    name, session = head.partition("(")[2], int(tail.split()[3])
    return session != os.getsid(0) and (session != pid or name.startswith("qemu-system"))
