"""The state directory: all that a server makes at run time lies below it, for its own user only."""

from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path

from .logs import get_logger

_log = get_logger(__name__)


class StateError(Exception):
    """The state directory cannot be used; `str()` is one sentence for the operator."""


def default_state_directory() -> Path:
    """`/var/lib/ecompute` for root, else `$XDG_STATE_HOME/ecompute` (`~/.local/state/ecompute`)."""
    if os.geteuid() == 0 and "XDG_STATE_HOME" not in os.environ:
        return Path("/var/lib/ecompute")
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "ecompute"


class StateDirectory:
    """Paths below the state directory. Makes it (mode 0700) when it is not there; wider rights are tightened.

    Raises:
        StateError: it cannot be made, written to or tightened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._lock: int | None = None
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            rights = stat.S_IMODE(self.path.stat().st_mode)
            if rights & 0o022 and any(self.path.iterdir()) and not self.database.exists():
                raise StateError(
                    f"Others may write to {self.path}, and it holds other things; give another one."
                )
            if rights & 0o077:
                self.path.chmod(0o700)
                _log.warning("state directory tightened to 0700", path=str(self.path), was=oct(rights))
        except OSError as error:
            reason = error.strerror
            raise StateError(f"The state directory {self.path} cannot be used: {reason}.") from error

    @property
    def database(self) -> Path:
        return self.path / "ecompute.db"

    @property
    def secret(self) -> Path:
        return self.path / "secret.key"

    def lock(self) -> None:
        """Take the directory for this server, until `unlock` or the end of the process.

        Raises:
            StateError: another server has it.
        """
        try:
            lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StateError(f"The lock file {self.path}/lock cannot be used: {error.strerror}.") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(lock, 32).decode(errors="replace").strip()
            os.close(lock)
            by = f" (process {holder})" if holder else ""
            raise StateError(f"Another server{by} is using the state directory {self.path}.") from None
        os.ftruncate(lock, 0)
        os.write(lock, f"{os.getpid()}\n".encode())
        self._lock = lock

    def unlock(self) -> None:
        """Let another server have the directory. Safe to call twice."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
