"""The Debian image's second stage, with a program in QEMU's place that says what a guest would say."""

from __future__ import annotations

from pathlib import Path

import pytest

from ecompute_server.images.debian import disk, second_stage
from ecompute_server.images.interface import ImageError, Progress, Report

GOOD = """\
[    0.1] a word of the kernel
@@ unpack
@@ prepare libc6:amd64
Setting up base-passwd (3.6) ...
Setting up libc6:amd64 (2.36-9+deb12u1) ...
@@ check
@@ done
"""

OPENSSH = """\
Setting up openssh-server (1:9.2) ...
useradd: cannot lock
dpkg: error processing package openssh-server (--configure):
 installed openssh-server package post-installation script subprocess returned error exit status 1
Setting up other (1) ...
Errors were encountered while processing:
 openssh-server
@@ failed configure ended with status 1
[   56.2] reboot: Power down
""".replace("\n", "\r\n")


def ignore(progress: Progress) -> None:
    """A report that nobody reads."""


@pytest.fixture
def qemu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program that is found as QEMU; its content is up to the test."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "qemu-system-x86_64"
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return program


def says(program: Path, text: str, after: str = "") -> None:
    (program.parent / "words").write_text(text)
    program.write_text(f"#!/bin/sh\ncat {program.parent}/words\n{after}\n")
    program.chmod(0o755)


def run(folder: Path, report: Report = ignore, *, silence: float = 60.0, limit: float = 60.0) -> None:
    second_stage.run("amd64", folder, 2, folder / "raw", 0, report, silence=silence, limit=limit)


def test_each_package_is_told(qemu: Path, tmp_path: Path) -> None:
    """As it is set up."""
    says(qemu, GOOD)
    reports: list[Progress] = []
    run(tmp_path, reports.append)
    assert reports == [Progress("install", done, 2) for done in (0, 1, 2)]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            "@@ prepare libc6:amd64\nno such thing\n",
            "The package libc6 could not be set up in the new system: no such thing.",
        ),
        (
            OPENSSH,
            "The package openssh-server could not be set up in the new system: useradd: cannot lock.",
        ),
        (
            "@@ failed there is no disk system\n",
            "The new system could not be set up: there is no disk system.",
        ),
        (
            "Kernel panic\x1b[0m\n",
            "The guest that sets up the packages did not come to its end: Kernel panic [0m.",
        ),
        ("", "The guest that sets up the packages did not come to its end: it said nothing."),
    ],
)
def test_what_went_wrong_is_one_sentence(qemu: Path, tmp_path: Path, text: str, complaint: str) -> None:
    """With the package and its own last words."""
    says(qemu, text)
    with pytest.raises(ImageError) as caught:
        run(tmp_path)
    assert str(caught.value) == complaint


@pytest.mark.parametrize("limits", [{"silence": 2.0}, {"limit": 2.0}])
def test_a_guest_that_does_not_end_is_given_up(qemu: Path, tmp_path: Path, limits: dict[str, float]) -> None:
    """It is killed, and the package that it was busy with is named."""
    says(qemu, "Setting up slow (1) ...\n", f"echo $$ >{tmp_path}/pid; exec sleep 1000")
    with pytest.raises(
        ImageError, match="The package slow could not be set up in the new system: it takes too long"
    ):
        run(tmp_path, **limits)
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists()


@pytest.mark.parametrize(("program", "package"), sorted(disk.PROGRAMS.items()))
def test_a_program_that_is_missing_is_named(
    monkeypatch: pytest.MonkeyPatch, program: str, package: str
) -> None:
    """With the package that has it."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(disk, "ADMINISTRATORS_PATH", "")
    with pytest.raises(ImageError, match=f"{program} is not installed; Debian's package {package} has it"):
        disk.find(program)
