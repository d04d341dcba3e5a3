"""Builds in two stages: what a build that was cut off leaves, and who takes it up. No network anywhere."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from ecompute_server.images import build as building
from ecompute_server.images.apt import PrivateApt
from ecompute_server.images.build import build, rebuild
from ecompute_server.images.catalogue import Catalogue
from ecompute_server.images.interface import ImageError, Progress, Report
from ecompute_server.images.recipe import Selection, Variant

VERSION = "00000000deadbeef"


def ignore(progress: Progress) -> None:
    """A report that nobody reads."""


class Small:
    """A recipe whose second stage does what the test says; nothing of it needs packages."""

    def __init__(self, second: Callable[[Path], None]) -> None:
        self._second = second

    def digest(self, arch: str) -> str:
        return "today"

    def kernel_arguments(self, arch: str) -> str:
        return "quiet"

    def select(self, apt: PrivateApt) -> Selection:
        return Selection([])

    def prepare(
        self, arch: str, selection: Selection, files: Mapping[str, Path], folder: Path, report: Report
    ) -> None:
        (folder / "kernel").write_text("k")

    def finish(self, arch: str, prepared: Path, folder: Path, report: Report) -> None:
        (folder / "disk.qcow2").write_text((prepared / "packages.tar").read_text())
        self._second(folder)


@pytest.fixture(autouse=True)
def no_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither apt nor QEMU can be found."""
    monkeypatch.setenv("PATH", "")


def use(monkeypatch: pytest.MonkeyPatch, second: Callable[[Path], None] = lambda folder: None) -> None:
    monkeypatch.setattr(building, "RECIPES", {"small": Small(second)})
    monkeypatch.setattr(building, "VARIANTS", {"small-other": Variant("small", "init=other")})
    monkeypatch.setattr(building, "NAMES", ("small", "small-other"))


def put_prepared(cache: Path, *, recipe: str = "today", version: str = VERSION) -> Path:
    """What a finished first stage leaves."""
    directory = cache / "images" / f".small-arm64.prepared-{version}"
    directory.mkdir(parents=True)
    for name in ("kernel", "initrd", "packages.tar"):
        (directory / name).write_text(name)
    facts = {
        "name": "small", "arch": "arm64", "version": version, "kernel_arguments": "quiet", "recipe": recipe,
        "disk": True,
    }  # fmt: skip
    (directory / "image.json").write_text(json.dumps(facts))
    (directory / "manifest.json").write_text("{}")
    return directory


def names(cache: Path) -> list[str]:
    return sorted(path.name for path in (cache / "images").iterdir())


def test_a_finished_first_stage_is_taken_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without apt and the network, and nothing of it is left beside the image."""
    use(monkeypatch)
    put_prepared(tmp_path)
    image = build("arm64", tmp_path, ignore, name="small")
    assert image.version == VERSION
    assert image.disk is not None
    assert image.disk.read_text() == "packages.tar"
    assert names(tmp_path) == [".small-arm64.lock", f"small-arm64-{VERSION}", "small-arm64.current"]
    assert sorted(path.name for path in image.disk.parent.iterdir()) == [
        "disk.qcow2", "image.json", "initrd", "kernel", "manifest.json",
    ]  # fmt: skip


def fail(folder: Path) -> None:
    raise ImageError("The package x could not be set up.")


def fill(folder: Path) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(("second", "message"), [(fail, "package x"), (fill, "not enough disk space")])
def test_a_second_stage_that_fails_keeps_the_first(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, second: Callable[[Path], None], message: str
) -> None:
    """No image appears, and the next build goes on from there."""
    use(monkeypatch, second)
    put_prepared(tmp_path)
    with pytest.raises(ImageError, match=message):
        build("arm64", tmp_path, ignore, name="small")
    assert names(tmp_path) == [".small-arm64.lock", f".small-arm64.prepared-{VERSION}"]
    use(monkeypatch)
    assert build("arm64", tmp_path, ignore, name="small").version == VERSION


def test_what_another_recipe_prepared_is_removed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """So is what a build left that was killed."""
    use(monkeypatch)
    put_prepared(tmp_path, recipe="yesterday")
    (tmp_path / "images" / ".small-arm64.building-x").mkdir()
    with pytest.raises(ImageError, match="apt is not installed"):
        build("arm64", tmp_path, ignore, name="small")
    assert names(tmp_path) == [".small-arm64.lock"]


def test_a_rebuild_asks_the_archive_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Even where a first stage is ready."""
    use(monkeypatch)
    put_prepared(tmp_path)
    with pytest.raises(ImageError, match="apt is not installed"):
        rebuild("arm64", tmp_path, ignore, name="small")


def test_a_disk_that_is_gone_is_no_image(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It is built again."""
    use(monkeypatch)
    put_prepared(tmp_path)
    image = build("arm64", tmp_path, ignore, name="small")
    assert image.disk is not None
    image.disk.unlink()
    assert Catalogue(tmp_path).find("small", "arm64") is None


def test_a_variant_has_the_same_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """And one more kernel argument, and a version of its own; what it is made from is built first."""
    use(monkeypatch)
    put_prepared(tmp_path)
    variant = build("arm64", tmp_path, ignore, name="small-other")
    whole = build("arm64", tmp_path, ignore, name="small")
    assert variant.name == "small-other"
    assert variant.kernel_arguments == "quiet init=other"
    assert variant.version != whole.version
    assert variant.disk is not None
    assert whole.disk is not None
    assert variant.disk.samefile(whole.disk)
    assert variant.kernel.samefile(whole.kernel)
    assert build("arm64", tmp_path, ignore, name="small-other") == variant
    assert [image.name for image in Catalogue(tmp_path).list()] == ["small", "small-other"]
