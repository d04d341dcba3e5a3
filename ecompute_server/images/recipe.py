"""What the builder asks of every kind of image: which packages, and how files are made of them.

An image is made in one stage or in two. The first needs the network for the packages; when there is a second,
what the first has made is kept until the image is done, so that a build that was cut off goes on from there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from attrs import frozen

from ecompute_server.images.apt import Package, PrivateApt
from ecompute_server.images.interface import Report

Finish = Callable[[str, Path, Path, Report], None]
"""`finish(arch, prepared, folder, report)` makes `disk.qcow2` in the folder from what the first stage left in
`prepared`, which it does not change.
"""


@frozen
class Selection:
    """What one build is made from: the packages, and text that goes into the image beside them."""

    packages: Sequence[Package]
    text: str = ""


class Recipe(Protocol):
    """How an image is made. Methods raise `ImageError`, and `OSError` for the disk's faults."""

    def digest(self, arch: str) -> str:
        """A hash of all that goes into an image but what is selected."""

    def kernel_arguments(self, arch: str) -> str:
        """The command line without anything of one container in it."""

    def select(self, apt: PrivateApt) -> Selection:
        """Choose the packages; the index is up to date."""

    def prepare(
        self, arch: str, selection: Selection, files: Mapping[str, Path], folder: Path, report: Report
    ) -> None:
        """The first stage: from package files (name → file) make `kernel` and `initrd` in the folder, and
        whatever the second stage starts from.
        """

    @property
    def finish(self) -> Finish | None:
        """The second stage, if there is one."""


@frozen
class Variant:
    """An image with the files of another one, started with one more kernel argument."""

    of: str
    argument: str


def closure(roots: Sequence[str], packages: Sequence[Package]) -> list[Package]:
    """The packages that files are taken from: the roots, and of what they depend on the libraries and the
    kernel. What else apt would install with them is left out.
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
