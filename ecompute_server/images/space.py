"""Telling a full disk from other faults of programs that only say that they failed."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

SPARE = 32 << 20
"""With less free space than this, a disk that could not be written was full."""


def check(folder: Path) -> None:
    """Called after a failure.

    Raises:
        OSError: ENOSPC, next to nothing is left.
    """
    if shutil.disk_usage(folder).free < SPARE:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
