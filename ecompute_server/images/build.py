"""Building guest images into the cache, from the packages of Debian.

A build happens in a directory beside the finished ones and is renamed when all of it is on the disk; a build
that was cut off leaves a directory that the next one removes. A lock file holds off a second builder of the
same image until the first is done.
"""

from __future__ import annotations

import errno
import fcntl
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from ecompute_server.images import making
from ecompute_server.images.catalogue import Catalogue
from ecompute_server.images.interface import Image, ImageError, Report
from ecompute_server.images.kernel import PACKAGES
from ecompute_server.images.recipes import RECIPES, VARIANTS

ARCHES = tuple(sorted(PACKAGES))
NAMES = tuple(sorted([*RECIPES, *VARIANTS]))


def build(arch: str, cache: Path, report: Report, *, name: str = "micro") -> Image:
    """The image, built if the cache has none that was made by today's recipe.

    Otherwise returns at once and without the network. Safe to call from several processes.

    Raises:
        ImageError: there is no such image or architecture, a program is missing, apt or the network fails, a
            package is damaged or cannot be set up, or the disk is full.
    """
    return _build(arch, cache, report, name, again=False)


def rebuild(arch: str, cache: Path, report: Report, *, name: str = "micro") -> Image:
    """As `build`, but asks the archive for newer packages in any case. When there are none the image found
    is the one returned; when there are, the older stays for those who use it.
    """
    return _build(arch, cache, report, name, again=True)


def _build(arch: str, cache: Path, report: Report, name: str, *, again: bool) -> Image:
    if name not in NAMES:
        raise ImageError(f"There is no image named {name}; known: {', '.join(NAMES)}.")
    if arch not in ARCHES:
        raise ImageError(f"There is no image for the architecture {arch}; known: {', '.join(ARCHES)}.")
    if variant := VARIANTS.get(name):
        whole = _build(arch, cache, report, variant.of, again=again)
        digest = making.variant_digest(whole, variant)
        return _once(name, arch, cache, digest, partial(making.vary, name, whole, variant, digest))
    recipe = RECIPES[name]
    make = partial(making.make, name, arch, recipe, report=report, again=again)
    return _once(name, arch, cache, None if again else recipe.digest(arch), make)


def _once(name: str, arch: str, cache: Path, digest: str | None, make: Callable[[Path, Path], None]) -> Image:
    """The image that a recipe with this digest has made, else what `make(images, scratch)` makes now."""
    if image := _made(name, arch, cache, digest):
        return image
    images = cache / "images"
    try:
        images.mkdir(parents=True, exist_ok=True)
        with _locked(images / f".{name}-{arch}.lock"):
            if image := _made(name, arch, cache, digest):
                return image
            for leftover in images.glob(f".{name}-{arch}.building-*"):
                shutil.rmtree(leftover, ignore_errors=True)
            with tempfile.TemporaryDirectory(prefix=f".{name}-{arch}.building-", dir=images) as scratch:
                make(images, Path(scratch))
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ImageError(f"There is not enough disk space in {cache} to build the image.") from error
        raise ImageError(f"The image could not be built in {cache}: {error.strerror or error}.") from error
    image = Catalogue(cache).find(name, arch)
    if image is None:
        raise ImageError(f"The image in {images} was removed while it was built.")
    return image


def _made(name: str, arch: str, cache: Path, digest: str | None) -> Image | None:
    try:
        entry = Catalogue(cache).entry(name, arch)
    except ImageError:
        return None
    return entry.image if entry and entry.recipe == digest else None


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
