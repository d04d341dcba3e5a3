"""The only importer of libvirt-python, and the one place where its errors become ours.

libvirt-python is an optional extra with a C library below it, so it is imported when a driver is opened and
its absence is a sentence, not a traceback.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ecompute_server.hypervisor.interface import HypervisorError, NotReady

_lock = threading.Lock()
_loop_thread: threading.Thread | None = None

REMEDY = "apt-get install libvirt-daemon libvirt-daemon-driver-qemu && pip install 'ecompute[libvirt]'"


def load() -> Any:
    """The module `libvirt`, with its printing to standard error turned off.

    Raises:
        NotReady: libvirt-python or the C library is not installed.
    """
    # Read once, by the library, when it is first loaded. What concerns a call comes as its exception; the
    # rest is noise beside our log lines, to be had by setting the variable, which is libvirt's own.
    os.environ.setdefault("LIBVIRT_LOG_OUTPUTS", "4:file:/dev/null")
    try:
        import libvirt
    except ImportError as error:
        raise NotReady(f"libvirt's Python binding is missing ({error}): {REMEDY}") from None
    libvirt.registerErrorHandler(_ignore, None)
    return libvirt


def load_qemu() -> Any:
    """The module `libvirt_qemu`, for QEMU's own monitor. Raises as `load`."""
    load()
    import libvirt_qemu

    return libvirt_qemu


def _ignore(context: object, error: object) -> None:
    """libvirt reports each error twice: to this handler and as an exception. The exception is enough."""


def run_event_loop() -> None:
    """libvirt's own event loop, in one daemon thread for the rest of the process's life.

    `virEventRegisterDefaultImpl` must be called once and before the first open, and the embedded driver has
    a process to itself anyway.
    """
    global _loop_thread
    libvirt = load()
    with _lock:
        if _loop_thread is not None:
            return
        libvirt.virEventRegisterDefaultImpl()

        def run() -> None:
            while True:
                libvirt.virEventRunDefaultImpl()

        _loop_thread = threading.Thread(target=run, name="libvirt-events", daemon=True)
        _loop_thread.start()


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turns libvirt's error inside the block into a `HypervisorError`: "<doing>: <libvirt's words>."."""
    libvirt = load()
    try:
        yield
    except libvirt.libvirtError as error:
        raise HypervisorError(f"{doing}: {sentence(str(error))}") from error


def sentence(text: str) -> str:
    """libvirt's message as one line.

    When QEMU does not start, the message carries all that QEMU and what came before it printed; its last
    line is the one that says why.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return "unknown error"
    line = lines[-1]
    line = re.sub(r"^\d{4}-\d\d-\d\dT[\d:.]+Z ", "", line)
    return re.sub(r"[\x00-\x1f\x7f]", " ", line)[:500]


def last_words(log: str) -> str:
    """The last line of a QEMU's log that QEMU, or the wrapper on the way to it, printed; empty when none did.

    libvirt writes the whole command into the same file, one argument a line, and notes the end.
    """
    told = log.rpartition("\n-msg timestamp=on")[2].splitlines()
    told = [line for line in told if line.strip() and "shutting down, reason=" not in line]
    return sentence(told[-1]) if told else ""
