"""The recipe of the Debian image: a full system on a disk, and a small initramfs that finds it."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path

from ecompute_server.images import kernel, sources
from ecompute_server.images.apt import PrivateApt
from ecompute_server.images.catalogue import DISK
from ecompute_server.images.debian import (
    database,
    disk,
    filters,
    first_stage,
    initramfs,
    packages,
    second_stage,
)
from ecompute_server.images.interface import Progress, Report
from ecompute_server.images.kernel import Kernel
from ecompute_server.images.recipe import Selection, closure

FORMAT = 1
"""Grows with every change of the building code that changes what is built; tables and files count by
themselves.
"""

HERE = Path(__file__).parent
ROOTFS, INITRAMFS, INSTALLER = HERE / "rootfs", HERE / "initramfs", HERE / "installer"
FILTERS = "etc/dpkg/dpkg.cfg.d/ecompute"
SOURCES = "etc/apt/sources.list.d/debian.sources"
STAGE = "stage.json"
"""What the second stage wants to know of the first."""


class Debian:
    """The recipe."""

    def digest(self, arch: str) -> str:
        digest = hashlib.sha256()
        tables = (
            FORMAT, packages.SYSTEM, packages.PROGRAMS, packages.BOOT_MODULES, packages.LATER_MODULES,
            packages.MODULES, sorted(packages.DIRECTORIES.items()), sorted(packages.MODES.items()),
            packages.DISK_SIZE, kernel.PACKAGES[arch], kernel.ARGUMENTS[arch],
        )  # fmt: skip
        digest.update(repr(tables).encode())
        for folder in (ROOTFS, INITRAMFS, INSTALLER):
            for path in own_files(folder):
                data = str(path.readlink()).encode() if path.is_symlink() else path.read_bytes()
                digest.update(f"{path.relative_to(HERE)}\0{len(data)}\0".encode() + data)
        return digest.hexdigest()

    def kernel_arguments(self, arch: str) -> str:
        return kernel.ARGUMENTS[arch]

    def select(self, apt: PrivateApt) -> Selection:
        # What the second stage will miss is told before anything is fetched.
        for program in (*disk.NEEDED, second_stage.MACHINES[apt.arch][0]):
            disk.find(program)
        system = apt.resolve([*packages.SYSTEM, *packages.PROGRAMS])
        roots = [kernel.PACKAGES[apt.arch]]
        chosen = {package.name: package for package in (*closure(roots, apt.resolve(roots)), *system)}
        return Selection([chosen[name] for name in sorted(chosen)], sources.for_guest(apt.sources))

    def prepare(
        self, arch: str, selection: Selection, files: Mapping[str, Path], folder: Path, report: Report
    ) -> None:
        report(Progress("unpack"))
        linux = kernel.read(
            kernel.package(files), (*packages.BOOT_MODULES, *packages.LATER_MODULES, *packages.MODULES)
        )
        (folder / "kernel").write_bytes(linux.image)
        busybox = files[packages.BUSYBOX]
        for name, scripts in (("initrd", INITRAMFS), ("installer", INSTALLER)):
            own = {path.name: path.read_bytes() for path in own_files(scripts)}
            initramfs.write(folder / name, linux, busybox, own)
        # The kernel's packages would bring what starts a machine by its firmware.
        unpacked = {
            package.name: files[package.name] for package in selection.packages if package.section != "kernel"
        }
        with tarfile.open(folder / "packages.tar", "w", format=tarfile.GNU_FORMAT) as tar:
            system = first_stage.System(tar, filters.parse((ROOTFS / FILTERS).read_text()))
            for path in first_stage.in_order(unpacked.items()):
                system.unpack(path)
            _add_own_files(system, linux, selection.text)
            system.file(
                "var/lib/apt/extended_states", database.automatic(system.records, packages.PROGRAMS, arch)
            )
            for name, mode, data in database.entries(system.records):
                system.file(name, data, mode)
        facts = {"packages": len(system.records), "newest": system.newest}
        (folder / STAGE).write_text(json.dumps(facts))

    def finish(self, arch: str, prepared: Path, folder: Path, report: Report) -> None:
        facts = json.loads((prepared / STAGE).read_text())
        raw = folder / "disk.raw"
        disk.create(raw, packages.DISK_SIZE, "debian", facts["newest"])
        second_stage.run(arch, prepared, facts["packages"], raw, facts["newest"], report)
        report(Progress("pack"))
        disk.pack(raw, folder / DISK, facts["newest"])
        raw.unlink()


def own_files(folder: Path) -> list[Path]:
    """All files and links below a folder of ours, sorted, but what Python leaves beside its modules."""
    found = (path for path in folder.rglob("*") if path.is_symlink() or path.is_file())
    return sorted(path for path in found if "__pycache__" not in path.parts)


def _add_own_files(system: first_stage.System, linux: Kernel, mirrors: str) -> None:
    for path in own_files(ROOTFS):
        name = str(path.relative_to(ROOTFS))
        if path.is_symlink():
            system.link(name, str(path.readlink()))
            continue
        data = path.read_bytes()
        system.file(name, data, packages.MODES.get(name, 0o755 if data.startswith(b"#!") else 0o644))
    system.file(SOURCES, mirrors.encode())
    for name, mode in packages.DIRECTORIES.items():
        system.directory(name, mode)
    for where, data in (*linux.modules.values(), *linux.lists.items()):
        system.file(where, data)
    early = frozenset(linux.in_order(packages.BOOT_MODULES))
    later = linux.in_order(packages.LATER_MODULES, early, optional=True)
    system.file("usr/lib/ecompute/modules.later", linux.paths(later))
