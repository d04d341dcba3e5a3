"""What a guest image is to the rest of the server: files to boot, and a name and version to keep.

Only the builder, the catalogue and the driver that boots an image look inside; everything else names it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from attrs import field, frozen


class ImageError(Exception):
    """An image could not be built or read; `str()` is one sentence for the operator."""


@frozen
class Image:
    """A built guest image in the cache.

    `version` is a hash of all that went in. `kernel_arguments` is the command line without anything of one
    container in it. `manifest` maps package names to the versions that were unpacked. `disk` is the qcow2
    file of the system, which a machine has an overlay of on a virtio disk with the serial `system`; it is
    `None` for an image that lies in the initrd as a whole.
    """

    name: str
    arch: str
    version: str
    kernel: Path
    initrd: Path
    kernel_arguments: str
    manifest: Mapping[str, str] = field(factory=dict, repr=False)
    disk: Path | None = None


@frozen
class Progress:
    """A step of a build, told as it begins or moves on: `done` of `total` (bytes for downloads, packages
    for the step `install`, 0 of 0 where there is nothing to count).
    """

    step: str
    done: int = 0
    total: int = 0


Report = Callable[[Progress], None]
