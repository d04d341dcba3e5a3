"""What is asked of process 1: by the host, and by programs that know System V's init (initctl of sysvinit).

Debian's `poweroff`, `reboot` and `shutdown` write to that pipe when systemd is not process 1.
"""

import os
from struct import Struct

PIPE = "/run/initctl"
_REQUEST = Struct("=iii372x")
_MAGIC = 0x03091969
_CHANGE_RUNLEVEL = 1

REBOOT = 15
"""SIGTERM and SIGUSR2, as busybox sends them."""
POWER_OFF = 12
_POWER_OFF_OF_SYSTEMD = 38  # SIGRTMIN+4

_SIGNALS = {"0": POWER_OFF, "6": REBOOT}


def power_off() -> None:
    os.kill(1, _POWER_OFF_OF_SYSTEMD if is_systemd() else POWER_OFF)


def is_systemd() -> bool:
    return os.path.isdir("/run/systemd/system")


def open_pipe(path: str = PIPE) -> int | None:
    """For reading and writing, so that it has no end; None where process 1 is one that reads it itself."""
    if is_systemd():
        return None
    try:
        return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None


def obey(pipe: int) -> None:
    data = os.read(pipe, _REQUEST.size)
    if (signal := wanted(data)) is not None:
        os.kill(1, signal)


def wanted(data: bytes) -> int | None:
    """The signal for process 1 that a request stands for; None for what means nothing here."""
    if len(data) != _REQUEST.size:
        return None
    magic, command, runlevel = _REQUEST.unpack(data)
    if magic != _MAGIC or command != _CHANGE_RUNLEVEL or not 0 <= runlevel < 128:
        return None
    return _SIGNALS.get(chr(runlevel))
