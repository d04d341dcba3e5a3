"""The cache: what is found in it, and what a build leaves in it when it fails."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ecompute_server.images import micro
from ecompute_server.images.apt import Package
from ecompute_server.images.build import build, rebuild
from ecompute_server.images.catalogue import Catalogue, default_cache
from ecompute_server.images.interface import ImageError, Progress
from ecompute_server.images.recipe import closure


def ignore(progress: Progress) -> None:
    """A report that nobody reads."""


def put(cache: Path, *, arch: str = "arm64", version: str = "1", recipe: str = "old") -> Path:
    """An image as a build leaves it, made the current one."""
    directory = cache / "images" / f"micro-{arch}-{version}"
    directory.mkdir(parents=True)
    for name in ("kernel", "initrd"):
        (directory / name).write_bytes(b"x")
    facts = {"name": "micro", "arch": arch, "version": version, "kernel_arguments": "quiet", "recipe": recipe}
    (directory / "image.json").write_text(json.dumps(facts))
    (directory / "manifest.json").write_text(json.dumps({"busybox": {"version": "1.35", "sha256": "0"}}))
    pointer = cache / "images" / f"micro-{arch}.current"
    pointer.unlink(missing_ok=True)
    pointer.symlink_to(directory.name)
    return directory


def test_an_image_is_found_by_name_and_architecture(tmp_path: Path) -> None:
    """With paths to boot from; others are not there."""
    directory = put(tmp_path)
    image = Catalogue(tmp_path).find("micro", "arm64")
    assert image is not None
    assert (image.kernel, image.initrd) == (directory / "kernel", directory / "initrd")
    assert (image.version, image.manifest) == ("1", {"busybox": "1.35"})
    assert Catalogue(tmp_path).find("micro", "amd64") is None
    assert Catalogue(tmp_path / "none").list() == []


def test_the_list_has_current_images_only(tmp_path: Path) -> None:
    """Sorted; an older version stays on the disk for those who use it."""
    put(tmp_path, version="1")
    put(tmp_path, version="2")
    put(tmp_path, arch="amd64")
    assert [(image.arch, image.version) for image in Catalogue(tmp_path).list()] == [
        ("amd64", "1"),
        ("arm64", "2"),
    ]


@pytest.mark.parametrize("name", ["kernel", "initrd", "image.json", "manifest.json"])
def test_an_image_that_lacks_a_file_is_none(tmp_path: Path, name: str) -> None:
    """It is built again."""
    (put(tmp_path) / name).unlink()
    assert Catalogue(tmp_path).find("micro", "arm64") is None


@pytest.mark.parametrize("text", ["", "[]", "{}", "{"])
def test_damage_is_told(tmp_path: Path, text: str) -> None:
    """With the directory to delete."""
    (put(tmp_path) / "image.json").write_text(text)
    with pytest.raises(ImageError, match="micro-arm64-1"):
        Catalogue(tmp_path).find("micro", "arm64")


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The own variable, then the XDG one unless it is relative, then the home directory."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.delenv("ECOMPUTE_CACHE", raising=False)
    assert default_cache() == tmp_path / ".cache" / "ecompute"
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert default_cache() == Path("/x/ecompute")
    monkeypatch.setenv("ECOMPUTE_CACHE", "/y")
    assert default_cache() == Path("/y")


def test_what_is_built_needs_neither_apt_nor_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As long as the recipe is the same."""
    put(tmp_path, recipe=micro.recipe("arm64"))
    monkeypatch.setenv("PATH", "")
    assert build("arm64", tmp_path, ignore).version == "1"


@pytest.mark.parametrize("again", [build, rebuild])
def test_a_build_that_fails_leaves_the_cache_as_it_was(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, again: object
) -> None:
    """Here for want of apt. What an earlier build left when it was cut off is gone."""
    put(tmp_path)
    (tmp_path / "images" / ".micro-arm64.building-x" / "deep").mkdir(parents=True)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ImageError, match="apt is not installed"):
        again("arm64", tmp_path, ignore)  # type: ignore[operator]
    assert sorted(path.name for path in (tmp_path / "images").iterdir()) == [
        ".micro-arm64.lock",
        "micro-arm64-1",
        "micro-arm64.current",
    ]
    found = Catalogue(tmp_path).find("micro", "arm64")
    assert found is not None
    assert found.version == "1"


@pytest.mark.parametrize(("arch", "name"), [("riscv64", "micro"), ("arm64", "other"), ("arm64", "../x")])
def test_unknown_images_are_refused(tmp_path: Path, arch: str, name: str) -> None:
    """With what is known, and nothing is made."""
    with pytest.raises(ImageError, match="known: "):
        build(arch, tmp_path, ignore, name=name)
    assert not list(tmp_path.iterdir())


def test_a_cache_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """In one sentence."""
    (tmp_path / "images").write_text("a file")
    with pytest.raises(ImageError, match="could not be built in"):
        build("arm64", tmp_path, ignore)


def package(name: str, section: str, *depends: str) -> Package:
    return Package(name, "1", section, 1, "0", depends)


def test_files_come_from_the_roots_and_the_libraries_they_need() -> None:
    """Not from the rest of a system that apt would install with them."""
    packages = [
        package("server", "net", "libc6", "adduser", "virtual"),
        package("libc6", "libs", "libgcc"),
        package("libgcc", "libs", "libc6"),
        package("adduser", "admin", "libperl"),
        package("libperl", "libs"),
    ]
    assert [found.name for found in closure(["server"], packages)] == ["libc6", "libgcc", "server"]


def test_the_recipe_counts_the_guests_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A changed file makes another image."""
    monkeypatch.setattr(micro, "ROOTFS", tmp_path)
    (tmp_path / "init").write_text("one")
    before = micro.recipe("arm64")
    (tmp_path / "init").write_text("two")
    assert micro.recipe("arm64") != before
    assert micro.recipe("amd64") != micro.recipe("arm64")
