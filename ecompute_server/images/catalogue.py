"""The built images in the cache, and where the cache is.

    CACHE/images/NAME-ARCH-VERSION/{kernel,initrd,image.json,manifest.json[,disk.qcow2]}
    CACHE/images/NAME-ARCH.current -> NAME-ARCH-VERSION

A directory appears under its name when it is complete and never changes afterwards.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from attrs import frozen

from ecompute_server.images.interface import Image, ImageError

POINTER = ".current"
DISK = "disk.qcow2"


def default_cache() -> Path:
    """`$ECOMPUTE_CACHE`, else `$XDG_CACHE_HOME/ecompute`, else `~/.cache/ecompute`; not created."""
    if own := os.environ.get("ECOMPUTE_CACHE"):
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME", "")
    # A relative value is to be ignored, says the XDG base directory specification.
    return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "ecompute"


@frozen
class Entry:
    """An image with the hash of the recipe it was built by."""

    image: Image
    recipe: str


class Catalogue:
    """Reads the images of one cache. Only small files are read; a missing cache is an empty one."""

    def __init__(self, cache: Path) -> None:
        self.images = cache / "images"

    def find(self, name: str, arch: str) -> Image | None:
        """The current image of that name and architecture.

        Raises:
            ImageError: it is there, but cannot be read.
        """
        entry = self.entry(name, arch)
        return entry.image if entry else None

    def entry(self, name: str, arch: str) -> Entry | None:
        """As `find`, with what only the builder asks for."""
        pointer = self.images / f"{name}-{arch}{POINTER}"
        try:
            return _read(self.images / pointer.readlink().name)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ImageError(f"The image cache {self.images} cannot be read: {error.strerror}.") from error

    def list(self) -> list[Image]:
        """The current images, sorted by name and architecture.

        Raises:
            ImageError: one cannot be read.
        """
        pairs = (p.name.removesuffix(POINTER).rpartition("-") for p in self.images.glob(f"*{POINTER}"))
        found = (self.find(name, arch) for name, _, arch in sorted(pairs))
        return [image for image in found if image is not None]


def _read(directory: Path) -> Entry:
    """The image in a directory. `FileNotFoundError` when any of its files is missing."""
    try:
        facts = json.loads((directory / "image.json").read_text())
        manifest = json.loads((directory / "manifest.json").read_text())
        image = Image(
            name=facts["name"],
            arch=facts["arch"],
            version=facts["version"],
            kernel=directory / "kernel",
            initrd=directory / "initrd",
            kernel_arguments=facts["kernel_arguments"],
            disk=directory / DISK if facts.get("disk") else None,
            manifest={package: facts["version"] for package, facts in manifest.items()},
        )
        recipe = str(facts["recipe"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ImageError(
            f"The image in {directory} is damaged; delete that directory and build again."
        ) from error
    for path in (image.kernel, image.initrd, image.disk):
        if path is not None:
            path.stat()
    return Entry(image, recipe)
