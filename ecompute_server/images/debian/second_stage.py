"""The second stage: the packages' own scripts, run in a guest of their architecture that has no network.

The guest unpacks the first stage's archive to an empty disk, lets dpkg set everything up and ends by itself.
It talks on its console: dpkg's words, and lines of the two scripts in `installer/` that begin with `@@`.
"""

from __future__ import annotations

import os
import re
import select
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from ecompute_server.images import kernel, space
from ecompute_server.images.debian import disk
from ecompute_server.images.interface import ImageError, Progress, Report

MACHINES = {
    "amd64": ("qemu-system-x86_64", "-machine", "pc", "-cpu", "max"),
    "arm64": ("qemu-system-aarch64", "-machine", "virt,gic-version=3", "-cpu", "cortex-a72"),
}
MEMORY_MB = 768

SILENCE = 600.0
"""Seconds without a word after which the guest is given up. The slowest script is silent for a minute on a
machine with two busy cores.
"""
LIMIT = 3600.0
"""Seconds that the guest has in all."""

MARK = re.compile(r"@@ (?P<word>\w+) ?(?P<rest>.*)")
SET_UP = re.compile(r"Setting up (?P<package>[^ :]+)(?::\w+)? \(")
FAULT = re.compile(r"dpkg: error processing package (?P<package>[^ :]+)")


def run(
    arch: str, machine_files: Path, packages: int, raw: Path, epoch: int, report: Report, *,
    silence: float = SILENCE, limit: float = LIMIT,
) -> None:  # fmt: skip
    """Set the system up on the disk `raw`, from `kernel`, `installer` and `packages.tar` in `machine_files`.
    Tells how many of the `packages` are set up.

    Raises:
        ImageError: QEMU is not installed, a package cannot be set up (named, with its last words), or the
            guest says nothing for too long.
        OSError: the host's disk is full.
    """
    command = _command(arch, machine_files, raw, epoch)
    report(Progress("install", 0, packages))
    console = Console(packages, report)
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0
    ) as process:
        try:
            assert process.stdout is not None
            for line in _lines(process.stdout.fileno(), silence, limit):
                console.read(line)
            process.wait(silence)
        except (TimeoutError, subprocess.TimeoutExpired):
            raise ImageError(console.complaint("it takes too long")) from None
        finally:
            process.kill()
    if not console.done:
        space.check(raw.parent)
        raise ImageError(console.complaint())


class Console:
    """What the guest has said so far."""

    def __init__(self, packages: int, report: Report) -> None:
        self.done = False
        self._packages = packages
        self._report = report
        self._set_up = 0
        self._package = ""
        self._failed = False
        self._failure = ""
        self._last = ""

    def read(self, line: str) -> None:
        """Take in one line. What comes after the first fault is not listened to."""
        if self._failed:
            return
        if mark := MARK.search(line):
            match mark["word"]:
                case "done":
                    self.done = True
                case "failed":
                    self._failed = True
                    self._failure = mark["rest"]
                case "prepare":
                    self._package = mark["rest"].partition(":")[0]
                case "check":
                    self._package = ""
        elif found := SET_UP.match(line):
            self._package = found["package"]
            self._set_up += 1
            self._report(Progress("install", min(self._set_up, self._packages), self._packages))
        elif found := FAULT.match(line):
            self._failed = True
            self._package = found["package"]
        elif line:
            self._last = line

    def complaint(self, reason: str = "") -> str:
        """One sentence on why the guest did not come to its end: the reason, else its last words."""
        failure, last = _short(self._failure), _short(self._last)
        if self._package:
            words = reason or last or failure
            return f"The package {self._package} could not be set up in the new system: {words}."
        if failure:
            return f"The new system could not be set up: {failure}."
        words = reason or last or "it said nothing"
        return f"The guest that sets up the packages did not come to its end: {words}."


def _short(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)[:300].strip(" .")


def _command(arch: str, files: Path, raw: Path, epoch: int) -> list[str]:
    program, *machine = MACHINES[arch]
    disks = (
        part
        for number, (serial, path, options) in enumerate((
            ("system", raw, "cache=unsafe,discard=unmap,detect-zeroes=unmap"),
            ("packages", files / "packages.tar", "readonly=on"),
        ))
        for part in (
            "-drive", f"if=none,id=disk{number},format=raw,file={_escaped(path)},werror=report,{options}",
            "-device", f"virtio-blk-pci,drive=disk{number},serial={serial}",
        )
    )  # fmt: skip
    begin = datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return [
        # The guest ends with its builder, however that ends.
        disk.find("setpriv"), "--pdeathsig", "KILL",
        disk.find(program), *machine, "-accel", "tcg", "-smp", "2", "-m", str(MEMORY_MB),
        "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio",
        "-rtc", f"base={begin},clock=vm",
        "-kernel", str(files / "kernel"), "-initrd", str(files / "installer"),
        "-append", f"{kernel.ARGUMENTS[arch]} epoch={epoch}", *disks,
    ]  # fmt: skip


def _escaped(path: Path) -> str:
    return str(path).replace(",", ",,")


def _lines(descriptor: int, silence: float, limit: float) -> Iterator[str]:
    """The console's lines until it is closed.

    Raises:
        TimeoutError: nothing came for `silence` seconds, or it is open after `limit` seconds.
    """
    end = time.monotonic() + limit
    rest = b""
    while True:
        left = min(silence, end - time.monotonic())
        if left <= 0 or not select.select([descriptor], [], [], left)[0]:
            raise TimeoutError
        data = os.read(descriptor, 65536)
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            yield line.decode("utf-8", "replace").rstrip("\r")
        if not data:
            return
