"""The host key, given to an SSH server that runs already.

Its HostKey is a pipe at first, in whose open() it waits with all else of its start done. It reads a key
twice, from the pipe and then from what lies under the name. From the second identity on there is a file, and
it reads again at HUP.
"""

import os
import stat
import time
from _collections_abc import Callable

_PATIENCE = 30.0
_BETWEEN_LOOKS = 0.003
_HANGUP = 1

KEY = "/run/ecompute/host_key"
LISTENING = "/run/sshd.pid"
"""Written by the server when it listens."""


class NoServer(Exception):
    """In one sentence."""


def give_key(text: str, key: str = KEY, listening: str = LISTENING) -> None:
    """Returns when the server listens with that key as its only one.

    Raises:
    NoServer: it does not within half a minute.
    OSError: the key cannot be written.
    """
    deadline = time.monotonic() + _PATIENCE
    if stat.S_ISFIFO(os.lstat(key).st_mode):
        _remove(listening)
        pipe = _open(key, deadline)
        try:
            _write(key, text)
            os.write(pipe, text.encode())
        finally:
            os.close(pipe)
    else:
        with open(key) as file:
            same = file.read() == text
        if not same:
            _write(key, text)
            _read_again(listening, deadline)
    _wait(lambda: _process(listening), deadline, "the SSH server does not listen")


def _open(pipe: str, deadline: float) -> int:
    """The pipe's writing end, as soon as somebody reads."""

    def opened() -> int | None:
        try:
            return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None

    return _wait(opened, deadline, "the SSH server did not start")


def _read_again(listening: str, deadline: float) -> None:
    process = _wait(lambda: _process(listening), deadline, "the SSH server does not run")
    _remove(listening)
    try:
        os.kill(process, _HANGUP)
    except ProcessLookupError:
        raise NoServer("the SSH server does not run") from None


def _wait(look: Callable[[], int | None], deadline: float, otherwise: str) -> int:
    while (found := look()) is None:
        if time.monotonic() > deadline:
            raise NoServer(otherwise)
        time.sleep(_BETWEEN_LOOKS)
    return found


def _process(listening: str) -> int | None:
    try:
        with open(listening) as file:
            return int(file.read())
    except (OSError, ValueError):
        return None


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def _write(key: str, text: str) -> None:
    new = f"{key}.new"
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(descriptor, "w") as file:
        file.write(text)
    os.replace(new, key)
