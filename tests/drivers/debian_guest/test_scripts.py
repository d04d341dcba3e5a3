"""The shell scripts of the image, as far as they can be looked at outside of a guest."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from .conftest import GUEST

DEBIAN = GUEST.parents[3]
SCRIPTS = [
    path
    for path in sorted(DEBIAN.rglob("*"))
    if path.is_file() and path.read_bytes().startswith((b"#!/bin/busybox sh\n", b"#!/bin/sh\n"))
]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: str(path.relative_to(DEBIAN)))
def test_a_script_can_be_read(script: Path) -> None:
    """A shell finds no fault in its grammar: process 1 must not end."""
    done = subprocess.run(["sh", "-n", str(script)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_scripts_that_start_a_guest_are_there() -> None:
    """Those that something outside names by their path."""
    names = {str(path.relative_to(DEBIAN)) for path in SCRIPTS}
    ours = {"init", "prepare", "services", "power"}
    ends = {"poweroff", "reboot", "halt", "shutdown"}
    assert names >= {"initramfs/init", *(f"rootfs/usr/lib/ecompute/{name}" for name in ours)}
    assert names >= {f"rootfs/usr/local/sbin/{name}" for name in ends}


@pytest.mark.parametrize(
    "unit", ["ecompute-agent.service", "ecompute-prepare.service", "ecompute-services.service"]
)
def test_a_unit_starts_what_is_in_the_image(unit: str) -> None:
    """What systemd is told to run is a program of ours that is there."""
    text = (DEBIAN / "rootfs/etc/systemd/system" / unit).read_text()
    [program] = [
        line.removeprefix("ExecStart=") for line in text.splitlines() if line.startswith("ExecStart=")
    ]
    assert (DEBIAN / "rootfs" / program.lstrip("/")).read_bytes().startswith(b"#!")
