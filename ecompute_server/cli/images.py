"""`images`: guest images in the cache."""

from __future__ import annotations

import json
import sys
import time
from typing import Annotated

from cyclopts import App, Parameter

from ecompute.contract.catalog import Arch
from ecompute_server.images.build import NAMES
from ecompute_server.images.build import build as build_image
from ecompute_server.images.catalogue import Catalogue, default_cache
from ecompute_server.images.interface import Image, Progress, Report

from .common import CommandError, Json, State

_PERCENT = 100

app = App(name="images", help="Guest images.")

ArchOption = Annotated[str | None, Parameter(help="arm64 or amd64 (default: both).")]
ImageOption = Annotated[str, Parameter(help=f"Name of the image: {', '.join(NAMES)}.")]


@app.command
def build(
    *, arch: ArchOption = None, image: ImageOption = "micro", json_: Json = False, state: State = None
) -> None:
    """Build images from Debian's packages, unless they are there."""
    built = [build_image(one, default_cache(), _reporter(one), name=image) for one in _arches(arch)]
    _print(built, json_)


@app.command(name="list")
def list_(
    *, arch: ArchOption = None, image: str | None = None, json_: Json = False, state: State = None
) -> None:
    """List the images that are built."""
    wanted = _arches(arch)
    found = [
        one for one in Catalogue(default_cache()).list() if one.arch in wanted and image in (None, one.name)
    ]
    _print(found, json_)


def _arches(arch: str | None) -> list[str]:
    if arch is None:
        return [str(one) for one in Arch]
    if arch not in list(Arch):
        raise CommandError(f"--arch must be one of: {', '.join(Arch)}.")
    return [arch]


def _print(images: list[Image], as_json: bool) -> None:
    if as_json:
        print(json.dumps([_row(image) for image in images], indent=2))
        return
    for image in images:
        row = _row(image)
        print(f"{row['name']}  {row['arch']}  {row['version']}  {int(row['bytes']) / 1e6:.1f} MB")


def _row(image: Image) -> dict[str, str | int]:
    files = (image.kernel, image.initrd, image.disk)
    size = sum(file.stat().st_size for file in files if file is not None)
    return {"name": image.name, "arch": image.arch, "version": image.version, "bytes": size}


def _reporter(arch: str) -> Report:
    """Progress on standard error: in place at a terminal; elsewhere a line for each step, and one in half a
    minute for a long one.
    """
    terminal = sys.stderr.isatty()
    pause = 0.1 if terminal else 30.0
    last_step = ""
    last_time = 0.0

    def report(progress: Progress) -> None:
        nonlocal last_step, last_time
        now = time.monotonic()
        new = progress.step != last_step
        if not new and now - last_time < pause:
            return
        start = ("\n" if new and last_step else "" if new else "\r\x1b[K") if terminal else ""
        end = "" if terminal else "\n"
        print(f"{start}{arch}: {progress.step}{_counted(progress)}", end=end, file=sys.stderr, flush=True)
        last_step, last_time = progress.step, now

    return report


def _counted(progress: Progress) -> str:
    if progress.step == "install":
        return f" {progress.done} of {progress.total} packages"
    if progress.total > _PERCENT:
        return f" {progress.done / 1e6:.1f} of {progress.total / 1e6:.1f} MB"
    return f" {progress.done} %" if progress.total and progress.done else ""
