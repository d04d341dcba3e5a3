"""The micro guest: Debian's cloud kernel and an initramfs of busybox, OpenSSH's server and the agent.

The tables say what goes in; the code below them only puts it together.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from attrs import frozen

from ecompute_server.images import cpio, deb, kernel
from ecompute_server.images.apt import PrivateApt
from ecompute_server.images.cpio import Entry
from ecompute_server.images.interface import ImageError, Progress, Report
from ecompute_server.images.recipe import Finish, Selection, closure
from ecompute_server.images.tree import Pool, Tree

FORMAT = 2
"""Grows with every change of the building code that changes what is built; the tables count by themselves."""

PACKAGES = ("busybox-static", "openssh-server", "openssh-client")
PROGRAMS = ("usr/bin/busybox", "usr/sbin/sshd", "usr/bin/scp")

MODULES = ("virtio_pci", "virtio_console", "virtio_net", "virtio_blk")
"""Loaded before the agent starts, in this order, each after those that it depends on."""
LATER_MODULES = ("virtio-rng", "button", "evdev", "virtio_balloon")
"""Loaded when nobody waits any more; those that an architecture has built in, or lacks, are left out."""

DIRECTORIES = {
    "dev": 0o755, "proc": 0o555, "sys": 0o555, "run": 0o755, "run/sshd": 0o755, "tmp": 0o1777, "root": 0o700,
    "home": 0o755, "mnt": 0o755, "opt": 0o755, "srv": 0o755, "var/lib": 0o755, "var/log": 0o755,
    "var/tmp": 0o1777, "usr/local/bin": 0o755, "etc/profile.d": 0o755, "etc/ssh/authorized_keys.d": 0o755,
}  # fmt: skip
EMPTY_FILES = ("run/utmp", "var/log/lastlog")
"""Where the SSH server notes who is there; it complains to the user when it cannot."""
EXECUTABLES = ("init", "usr/lib/ecompute/agent", "etc/acpi/PWRF/00000080")
SECRETS = ("etc/shadow",)
LEFT_OUT = frozenset({"dpkg", "dpkg-deb", "init", "linuxrc", "rpm", "rpm2cpio"})
"""Programs of busybox that would pretend to be something that this guest does not have."""

ROOTFS = Path(__file__).parent / "rootfs"


@frozen
class Parts:
    """What a build yields: the kernel's bytes and the entries of the initramfs."""

    kernel: bytes
    entries: tuple[Entry, ...]


def recipe(arch: str) -> str:
    """A hash of all that goes into an image but the packages' contents."""
    digest = hashlib.sha256()
    tables = (FORMAT, PACKAGES, kernel.PACKAGES[arch], PROGRAMS, MODULES, LATER_MODULES)
    rules = (
        sorted(DIRECTORIES.items()),
        EMPTY_FILES,
        EXECUTABLES,
        SECRETS,
        sorted(LEFT_OUT),
        kernel.ARGUMENTS[arch],
    )
    digest.update(repr((tables, rules)).encode())
    for path in _own_files():
        data = path.read_bytes()
        digest.update(f"{path.relative_to(ROOTFS)}\0{len(data)}\0".encode() + data)
    return digest.hexdigest()


def assemble(packages: Mapping[str, Path]) -> Parts:
    """Put an image together from package files (name → file).

    Raises:
        ImageError: a package is damaged or lacks something that the tables name.
    """
    linux = kernel.read(kernel.package(packages), (*MODULES, *LATER_MODULES))
    tree = Tree()
    for directory, mode in DIRECTORIES.items():
        tree.directory(directory, mode)
    for empty in EMPTY_FILES:
        tree.file(empty, b"")
    tree.add(Entry("dev/console", "char", 0o600, device=(5, 1)))
    pool = Pool(
        member for name, path in sorted(packages.items()) if not name.startswith("linux-image-")
        for member in deb.members(path)
    )  # fmt: skip
    for program in PROGRAMS:
        pool.take(program, tree)
    for applet in applets(pool.data("usr/bin/busybox")):
        if f"usr/bin/{applet}" not in tree:
            tree.link(f"usr/bin/{applet}", "busybox")
    add_modules(linux, tree)
    for path in _own_files():
        name = str(path.relative_to(ROOTFS))
        own_mode = 0o755 if name in EXECUTABLES else 0o600 if name in SECRETS else 0o644
        tree.file(name, path.read_bytes(), own_mode)
    return Parts(linux.image, tuple(tree.entries()))


def add_modules(linux: kernel.Kernel, tree: Tree) -> None:
    """Add the modules and the lists that say in which order they are loaded."""
    early = linux.in_order(MODULES)
    later = linux.in_order(LATER_MODULES, frozenset(early), optional=True)
    for name, keys in (("modules", early), ("modules.later", later)):
        for key in keys:
            tree.file(*linux.modules[key])
        tree.file(f"usr/lib/ecompute/{name}", linux.paths(keys))


def applets(busybox: bytes) -> list[str]:
    """The names of the programs in a busybox binary, which holds them as a sorted table of strings."""
    start = busybox.find(b"\0[\0[[\0")
    table = busybox[start + 1 : busybox.find(b"\0\0", start + 1)].decode("ascii", "replace").split("\0")
    names = [name for name in table if re.fullmatch(r"[a-z0-9_.-]+|\[\[?", name)]
    if start < 0 or names != sorted(names) or not {"sh", "mount", "insmod", "acpid", "ip"} <= set(names):
        raise ImageError("The table of programs in busybox could not be read.")
    return [name for name in names if name not in LEFT_OUT]


def _own_files() -> list[Path]:
    return sorted(path for path in ROOTFS.rglob("*") if path.is_file())


class Micro:
    """The recipe; everything that it does is above."""

    finish: Finish | None = None

    def digest(self, arch: str) -> str:
        return recipe(arch)

    def kernel_arguments(self, arch: str) -> str:
        return kernel.ARGUMENTS[arch]

    def select(self, apt: PrivateApt) -> Selection:
        roots = [kernel.PACKAGES[apt.arch], *PACKAGES]
        return Selection(closure(roots, apt.resolve(roots)))

    def prepare(
        self, arch: str, selection: Selection, files: Mapping[str, Path], folder: Path, report: Report
    ) -> None:
        report(Progress("unpack"))
        parts = assemble(files)
        report(Progress("pack"))
        (folder / "kernel").write_bytes(parts.kernel)
        with (folder / "initrd").open("wb") as file:
            cpio.write(parts.entries, file)
