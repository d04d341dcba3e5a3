"""The code that runs inside the Debian guest, imported from where the image takes it."""

from __future__ import annotations

import sys
from pathlib import Path

import ecompute_server.images

GUEST = Path(ecompute_server.images.__file__).parent / "debian/rootfs/usr/lib/ecompute"

sys.path.insert(0, str(GUEST))
