"""A process that is held on to, so that a number which became another process's is noticed."""

from __future__ import annotations

import os
import select


class Handle:
    """Made while the process is known to be the right one."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        try:
            self._descriptor: int | None = os.pidfd_open(pid)
        except ProcessLookupError:
            self._descriptor = None

    @property
    def lives(self) -> bool:
        """Whether the process has not ended; what was looked up by its number until now was its own."""
        return self._descriptor is not None and not select.select([self._descriptor], [], [], 0)[0]

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)
