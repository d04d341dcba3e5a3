"""A kernel and some of its modules, read from Debian's package of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

from attrs import frozen

from ecompute_server.images import bzimage, deb, elf
from ecompute_server.images.interface import ImageError

PACKAGES = {"amd64": "linux-image-cloud-amd64", "arm64": "linux-image-cloud-arm64"}
"""The names that lead to today's kernel of each architecture."""

_FOR_ALL = "quiet panic=1 random.trust_cpu=on mitigations=off cryptomgr.notests"
ARGUMENTS = {
    # noirq: asking ACPI for the interrupt of each PCI device takes 0.1 s per device under emulation.
    "amd64": f"console=ttyS0 {_FOR_ALL} no_timer_check acpi=noirq",
    # cma: the kernel's reserve for devices without an IOMMU would be a quarter of a small guest's memory.
    "arm64": f"console=ttyAMA0 {_FOR_ALL} kpti=off cma=0",
}
"""What a guest under emulation can do without: self-tests, delays, and defences against its own users."""


@frozen
class Kernel:
    """`image` is what is booted, unpacked where QEMU takes that. `modules` has path and content of each by
    its key, which is the name with underscores; `built_in` the keys of what needs no module. `lists` are the
    files that `depmod` asks for, by path.
    """

    image: bytes
    modules: Mapping[str, tuple[str, bytes]]
    built_in: frozenset[str]
    lists: Mapping[str, bytes]

    def in_order(
        self, names: Iterable[str], known: frozenset[str] = frozenset(), *, optional: bool = False
    ) -> list[str]:
        """Keys of the named modules with those that they depend on in front; those built in or `known` are
        not listed.

        Raises:
            ImageError: a module is not there and not `optional`.
        """
        order: list[str] = []
        for name in map(key, names):
            if name in self.built_in or name in known or name in order:
                continue
            if name in self.modules:
                order += self.in_order(depends(self.modules[name][1]), known | set(order))
                order.append(name)
            elif not optional:
                raise ImageError(f"The kernel's package lacks the module {name}.")
        return order

    def paths(self, keys: Iterable[str]) -> bytes:
        """The list that a guest's init reads: one absolute path a line."""
        return "".join(f"/{self.modules[name][0]}\n" for name in keys).encode()


def package(files: Mapping[str, Path]) -> Path:
    """The kernel's own package among others (name → file).

    Raises:
        ImageError: there is none, or there are several.
    """
    kernels = [path for name, path in files.items() if re.match(r"linux-image-\d", name)]
    if len(kernels) != 1:
        raise ImageError("The kernel's package could not be told among the packages.")
    return kernels[0]


def read(path: Path, names: Sequence[str]) -> Kernel:
    """The kernel with the modules named, and all that these depend on; names that do not exist are passed
    over.

    Raises:
        ImageError: the package is damaged or has no kernel.
    """
    modules: dict[str, tuple[str, bytes]] = {}
    image = b""
    built_in: frozenset[str] = frozenset()
    lists: dict[str, bytes] = {}
    pending = {key(name) for name in names}
    while pending:
        asked = frozenset(pending)
        for member in deb.members(path, partial(_wanted, asked)):
            if member.path.startswith("boot/"):
                image = member.data
            elif member.path.endswith(".ko"):
                modules[key(member.path)] = (member.path, member.data)
            else:
                lists[member.path] = member.data
                if member.path.endswith("/modules.builtin"):
                    built_in = frozenset(key(line) for line in member.data.decode().split())
        # Usually empty: only a module that depends on one outside the tables needs a second reading.
        pending = {name for _, data in modules.values() for name in depends(data)} - modules.keys() - asked
    if not image:
        raise ImageError(f"The package {path.name} has no kernel.")
    return Kernel(bzimage.vmlinux(image) or image, modules, built_in, lists)


def key(path: str) -> str:
    return path.rpartition("/")[2].removesuffix(".ko").replace("-", "_")


def depends(module: bytes) -> list[str]:
    return [key(name) for name in elf.module_notes(module).get("depends", "").split(",") if name]


def _wanted(names: frozenset[str], path: str) -> bool:
    """Whether a path is the kernel, one of the modules named, or a list of what is built in."""
    named = path.endswith(".ko") and key(path) in names
    return named or path.startswith("boot/vmlinuz-") or "/modules." in path
