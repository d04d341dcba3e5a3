"""Small initial file systems: busybox, drivers, and one script as process 1."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ecompute_server.images import cpio, deb
from ecompute_server.images.cpio import Entry
from ecompute_server.images.debian.packages import BOOT_MODULES
from ecompute_server.images.kernel import Kernel
from ecompute_server.images.tree import Pool, Tree


def write(path: Path, linux: Kernel, busybox: Path, files: Mapping[str, bytes]) -> None:
    """An initramfs with busybox from its package, what disks and consoles need, and executable `files`."""
    tree = Tree()
    tree.add(Entry("dev/console", "char", 0o600, device=(5, 1)))
    Pool(deb.members(busybox)).take("usr/bin/busybox", tree)
    early = linux.in_order(BOOT_MODULES)
    for key in early:
        tree.file(*linux.modules[key])
    tree.file("usr/lib/ecompute/modules", linux.paths(early))
    for name, data in files.items():
        tree.file(name, data, 0o755)
    with path.open("wb") as file:
        cpio.write(tree.entries(), file)
