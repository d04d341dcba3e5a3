"""Building guest images into the cache, from the packages of Debian.

A build happens in a directory beside the finished ones and is renamed when all of it is on the disk; a build
that was cut off leaves a directory that the next one removes. A lock file holds off a second builder of the
same image until the first is done.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ecompute_server.images import cpio, micro
from ecompute_server.images.apt import Package, PrivateApt
from ecompute_server.images.catalogue import POINTER, Catalogue
from ecompute_server.images.interface import Image, ImageError, Progress, Report

ARCHES = tuple(sorted(micro.KERNEL_PACKAGES))
NAMES = ("micro",)


def build(arch: str, cache: Path, report: Report, *, name: str = "micro") -> Image:
    """The image, built if the cache has none that was made by today's recipe.

    Otherwise returns at once and without the network. Safe to call from several processes.

    Raises:
        ImageError: there is no such image or architecture, apt or the network fails, or the disk is full.
    """
    return _build(arch, cache, report, name, lambda: _made(arch, cache, name))


def rebuild(arch: str, cache: Path, report: Report, *, name: str = "micro") -> Image:
    """As `build`, but asks the archive for newer packages in any case. When there are none the image found
    is the one returned; when there are, the older stays for those who use it.
    """
    return _build(arch, cache, report, name, lambda: None)


def _build(arch: str, cache: Path, report: Report, name: str, made: Callable[[], Image | None]) -> Image:
    if name not in NAMES:
        raise ImageError(f"There is no image named {name}; known: {', '.join(NAMES)}.")
    if arch not in ARCHES:
        raise ImageError(f"There is no image for the architecture {arch}; known: {', '.join(ARCHES)}.")
    if image := made():
        return image
    images = cache / "images"
    try:
        images.mkdir(parents=True, exist_ok=True)
        with _locked(images / f".{name}-{arch}.lock"):
            if image := made():
                return image
            for leftover in images.glob(f".{name}-{arch}.building-*"):
                shutil.rmtree(leftover, ignore_errors=True)
            with tempfile.TemporaryDirectory(prefix=f".{name}-{arch}.building-", dir=images) as scratch:
                _make(name, arch, images, Path(scratch), report)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ImageError(f"There is not enough disk space in {cache} to build the image.") from error
        raise ImageError(f"The image could not be built in {cache}: {error.strerror or error}.") from error
    image = Catalogue(cache).find(name, arch)
    if image is None:
        raise ImageError(f"The image in {images} was removed while it was built.")
    return image


def _made(arch: str, cache: Path, name: str) -> Image | None:
    try:
        entry = Catalogue(cache).entry(name, arch)
    except ImageError:
        return None
    return entry.image if entry and entry.recipe == micro.recipe(arch) else None


def _make(name: str, arch: str, images: Path, scratch: Path, report: Report) -> None:
    (scratch / "apt").mkdir()
    apt = PrivateApt(scratch / "apt", arch)
    apt.update(report)
    roots = [micro.KERNEL_PACKAGES[arch], *micro.PACKAGES]
    packages = closure(roots, apt.resolve(roots))
    version = _version(micro.recipe(arch), packages)
    final = images / f"{name}-{arch}-{version}"
    if not final.is_dir():
        (scratch / "packages").mkdir()
        files = apt.fetch(packages, scratch / "packages", report)
        report(Progress("unpack"))
        parts = micro.assemble(files)
        report(Progress("pack"))
        new = scratch / "image"
        new.mkdir()
        _write(new / "kernel", lambda file: file.write(parts.kernel))
        _write(new / "initrd", lambda file: cpio.write(parts.entries, file))
        facts = {
            "name": name, "arch": arch, "version": version, "recipe": micro.recipe(arch),
            "kernel_arguments": micro.KERNEL_ARGUMENTS[arch],
        }  # fmt: skip
        manifest = {p.name: {"version": p.version, "sha256": p.sha256} for p in packages}
        for file_name, content in (("image.json", facts), ("manifest.json", manifest)):
            text = json.dumps(content, indent=2, sort_keys=True) + "\n"
            _write(new / file_name, lambda file, text=text: file.write(text.encode()))  # type: ignore[misc]
        new.chmod(0o755)
        _sync(new)
        new.rename(final)
    pointer = scratch / "pointer"
    pointer.symlink_to(final.name)
    pointer.rename(images / f"{name}-{arch}{POINTER}")
    _sync(images)


def closure(roots: Sequence[str], packages: Sequence[Package]) -> list[Package]:
    """The packages that files are taken from: the roots, and of what they depend on the libraries and the
    kernel. The rest of a Debian system, which apt resolved too, has no part in the image.
    """
    known = {package.name: package for package in packages}
    chosen: set[str] = set()
    pending = list(roots)
    while pending:
        name = pending.pop()
        package = known.get(name)
        if package is None or name in chosen:
            continue
        if name in roots or package.section in ("libs", "kernel"):
            chosen.add(name)
            pending.extend(package.depends)
    return [known[name] for name in sorted(chosen)]


def _version(recipe: str, packages: Sequence[Package]) -> str:
    lines = [recipe, *(f"{package.name} {package.version} {package.sha256}" for package in packages)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def _write(path: Path, fill: Callable[[IO[bytes]], object]) -> None:
    with path.open("wb") as file:
        fill(file)
        os.fchmod(file.fileno(), 0o644)
        file.flush()
        os.fsync(file.fileno())


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
