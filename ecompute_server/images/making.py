"""Making one image: packages, first stage, second stage, and the directory under its final name.

What the first of two stages has made is kept under a hidden name, `.NAME-ARCH.prepared-VERSION`, until the
image is done; of a recipe that has changed since it is removed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from ecompute_server.images.apt import PrivateApt
from ecompute_server.images.catalogue import DISK, POINTER
from ecompute_server.images.interface import Image, Report
from ecompute_server.images.recipe import Recipe, Selection, Variant

FILES = ("kernel", "initrd", "image.json", "manifest.json")


def make(
    name: str, arch: str, recipe: Recipe, images: Path, scratch: Path, *, report: Report, again: bool
) -> None:
    """Build an image in `scratch` and put it into `images` as the current one.

    A first stage that is there already is taken up; with `again` only when the archive has nothing newer.
    """
    kept = sorted(images.glob(f".{name}-{arch}.prepared-*"))
    usable = [path for path in kept if _facts(path).get("recipe") == recipe.digest(arch)]
    _remove(path for path in kept if path not in usable)
    prepared = (
        usable[0] if usable and not again else _first_stage(name, arch, recipe, images, scratch, report)
    )
    version = _facts(prepared)["version"]
    final = images / f"{name}-{arch}-{version}"
    if prepared != final:
        if not final.is_dir():
            new = scratch / "image"
            new.mkdir()
            if recipe.finish is not None:
                recipe.finish(arch, prepared, new, report)
            _share(prepared, new)
            _publish(new, final)
        _remove([prepared])
    _remove(usable)
    _point(images, scratch, f"{name}-{arch}", final)


def variant_digest(whole: Image, variant: Variant) -> str:
    return hashlib.sha256(f"{whole.version} {variant.argument}".encode()).hexdigest()


def vary(name: str, whole: Image, variant: Variant, digest: str, images: Path, scratch: Path) -> None:
    """Put a variant of an image into `images`; it has the same files, which take no space of their own."""
    final = images / f"{name}-{whole.arch}-{digest[:16]}"
    if not final.is_dir():
        new = scratch / "image"
        new.mkdir()
        _share(whole.kernel.parent, new)
        facts = _facts(new) | {
            "name": name, "version": digest[:16], "recipe": digest,
            "kernel_arguments": f"{whole.kernel_arguments} {variant.argument}",
        }  # fmt: skip
        (new / "image.json").unlink()
        _write_json(new / "image.json", facts)
        _publish(new, final)
    _point(images, scratch, f"{name}-{whole.arch}", final)


def _first_stage(name: str, arch: str, recipe: Recipe, images: Path, scratch: Path, report: Report) -> Path:
    """The directory of a finished first stage, or of the finished image when that is there."""
    (scratch / "apt").mkdir()
    apt = PrivateApt(scratch / "apt", arch)
    apt.update(report)
    selection = recipe.select(apt)
    version = _version(recipe.digest(arch), selection)
    kept = images / f".{name}-{arch}.prepared-{version}"
    for ready in (images / f"{name}-{arch}-{version}", kept):
        if ready.is_dir():
            return ready
    (scratch / "packages").mkdir()
    files = apt.fetch(selection.packages, scratch / "packages", report)
    new = scratch / "prepared"
    new.mkdir()
    recipe.prepare(arch, selection, files, new, report)
    _remove([scratch / "packages"])
    _write_json(new / "image.json", {
        "name": name, "arch": arch, "version": version, "recipe": recipe.digest(arch),
        "kernel_arguments": recipe.kernel_arguments(arch), "disk": recipe.finish is not None,
    })  # fmt: skip
    _write_json(
        new / "manifest.json",
        {p.name: {"version": p.version, "sha256": p.sha256} for p in selection.packages},
    )
    _publish(new, kept)
    return kept


def _version(digest: str, selection: Selection) -> str:
    lines = [
        digest,
        *(f"{package.name} {package.version} {package.sha256}" for package in selection.packages),
    ]
    if selection.text:
        lines.append(selection.text)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def _facts(directory: Path) -> dict[str, str]:
    """What `image.json` says; nothing when it is not there or damaged."""
    try:
        facts = json.loads((directory / "image.json").read_text())
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def _remove(directories: Iterable[Path]) -> None:
    for directory in directories:
        shutil.rmtree(directory, ignore_errors=True)


def _write_json(path: Path, content: Mapping[str, object]) -> None:
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")


def _share(directory: Path, new: Path) -> None:
    for name in (*FILES, DISK):
        if (directory / name).exists():
            os.link(directory / name, new / name)


def _publish(new: Path, final: Path) -> None:
    """Give a directory its name once all of it is on the disk."""
    for path in new.iterdir():
        path.chmod(0o644)
        _sync(path)
    new.chmod(0o755)
    _sync(new)
    new.rename(final)


def _point(images: Path, scratch: Path, name: str, final: Path) -> None:
    pointer = scratch / "pointer"
    pointer.symlink_to(final.name)
    pointer.rename(images / f"{name}{POINTER}")
    _sync(images)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
