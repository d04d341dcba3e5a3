"""The micro guest: Debian's cloud kernel and an initramfs of busybox, OpenSSH's server and the agent.

The tables say what goes in; the code below them only puts it together.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path

from attrs import frozen

from ecompute_server.images import bzimage, deb, elf
from ecompute_server.images.cpio import Entry
from ecompute_server.images.interface import ImageError
from ecompute_server.images.tree import Pool, Tree

FORMAT = 2
"""Grows with every change of the building code that changes what is built; the tables count by themselves."""

PACKAGES = ("busybox-static", "openssh-server", "openssh-client")
KERNEL_PACKAGES = {"amd64": "linux-image-cloud-amd64", "arm64": "linux-image-cloud-arm64"}
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

ARGUMENTS = "quiet panic=1 random.trust_cpu=on mitigations=off cryptomgr.notests"
KERNEL_ARGUMENTS = {
    # noirq: asking ACPI for the interrupt of each PCI device takes 0.1 s per device under emulation.
    "amd64": f"console=ttyS0 {ARGUMENTS} no_timer_check acpi=noirq",
    # cma: the kernel's reserve for devices without an IOMMU would be a quarter of a small guest's memory.
    "arm64": f"console=ttyAMA0 {ARGUMENTS} kpti=off cma=0",
}
"""What a guest under emulation can do without: self-tests, delays, and defences against its own users."""

ROOTFS = Path(__file__).parent / "rootfs"


@frozen
class Parts:
    """What a build yields: the kernel's bytes and the entries of the initramfs."""

    kernel: bytes
    entries: tuple[Entry, ...]


def recipe(arch: str) -> str:
    """A hash of all that goes into an image but the packages' contents."""
    digest = hashlib.sha256()
    tables = (FORMAT, PACKAGES, KERNEL_PACKAGES[arch], PROGRAMS, MODULES, LATER_MODULES)
    rules = (
        sorted(DIRECTORIES.items()),
        EMPTY_FILES,
        EXECUTABLES,
        SECRETS,
        sorted(LEFT_OUT),
        KERNEL_ARGUMENTS[arch],
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
    kernels = [path for name, path in packages.items() if re.match(r"linux-image-\d", name)]
    if len(kernels) != 1:
        raise ImageError("The kernel's package could not be told among the packages.")
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
    kernel = _add_kernel(kernels[0], tree)
    for path in _own_files():
        name = str(path.relative_to(ROOTFS))
        own_mode = 0o755 if name in EXECUTABLES else 0o600 if name in SECRETS else 0o644
        tree.file(name, path.read_bytes(), own_mode)
    return Parts(bzimage.vmlinux(kernel) or kernel, tuple(tree.entries()))


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


def _add_kernel(package: Path, tree: Tree) -> bytes:
    """Add the modules and the lists that say in which order they are loaded; returns the kernel."""
    modules: dict[str, tuple[str, bytes]] = {}
    kernel = b""
    built_in: set[str] = set()
    pending = {_module_key(name) for name in (*MODULES, *LATER_MODULES)}
    while pending:
        asked = frozenset(pending)
        for member in deb.members(package, partial(_of_kernel, asked)):
            if member.path.startswith("boot/"):
                kernel = member.data
            elif member.path.endswith("/modules.builtin"):
                built_in = {_module_key(line) for line in member.data.decode().split()}
            elif member.path.endswith(".ko"):
                modules[_module_key(member.path)] = (member.path, member.data)
        # Usually empty: only a module that depends on one outside the tables needs a second reading.
        pending = {name for _, data in modules.values() for name in _depends(data)} - modules.keys() - asked
    if not kernel:
        raise ImageError(f"The package {package.name} has no kernel.")
    early = _in_order(MODULES, modules, built_in)
    later = _in_order(LATER_MODULES, modules, built_in | set(early), optional=True)
    for list_name, names in (("modules", early), ("modules.later", later)):
        for name in names:
            tree.file(*modules[name])
        paths = "".join(f"/{modules[name][0]}\n" for name in names)
        tree.file(f"usr/lib/ecompute/{list_name}", paths.encode())
    return kernel


def _of_kernel(names: frozenset[str], path: str) -> bool:
    """Whether a path is the kernel, one of the modules named, or the list of those that are built in."""
    named = path.endswith(".ko") and _module_key(path) in names
    return named or path.startswith("boot/vmlinuz-") or path.endswith("/modules.builtin")


def _module_key(path: str) -> str:
    return path.rpartition("/")[2].removesuffix(".ko").replace("-", "_")


def _depends(module: bytes) -> list[str]:
    return [_module_key(name) for name in elf.module_notes(module).get("depends", "").split(",") if name]


def _in_order(
    names: Iterable[str], modules: Mapping[str, tuple[str, bytes]], known: set[str], *, optional: bool = False
) -> list[str]:
    """The modules with those that they depend on in front; those that are `known` are not listed."""
    order: list[str] = []
    for name in map(_module_key, names):
        if name in known or name in order:
            continue
        if name in modules:
            order += _in_order(_depends(modules[name][1]), modules, known | set(order))
            order.append(name)
        elif not optional:
            raise ImageError(f"The kernel's package lacks the module {name}.")
    return order
