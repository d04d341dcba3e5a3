"""The files of a simulated guest that are no files: a few devices, and what the kernel tells in /proc."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ecompute_server.guest.simulated.streams import Randomness, Text, Zeros
from ecompute_server.hypervisor.interface import MachineSpec

MACHINE_NAMES: Mapping[str, str] = {"arm64": "aarch64", "amd64": "x86_64"}


def machine_name(spec: MachineSpec) -> str:
    """The processor as `uname -m` names it."""
    return MACHINE_NAMES.get(spec.arch, spec.arch)


def meminfo(spec: MachineSpec) -> str:
    total = spec.memory_mb * 1024
    free = total * 9 // 10
    return "".join(
        f"{name + ':':<15}{size:>9} kB\n"
        for name, size in (("MemTotal", total), ("MemFree", free), ("MemAvailable", free), ("SwapTotal", 0))
    )


def cpuinfo(spec: MachineSpec) -> str:
    model = f"simulated {machine_name(spec)}"
    return "".join(f"processor\t: {number}\nmodel name\t: {model}\n\n" for number in range(spec.vcpus))


def device(path: str, spec: MachineSpec) -> Text | None:
    """The device at an absolute path without links, opened; None for everything else."""
    make = DEVICES.get(path)
    return make(spec) if make else None


def is_readonly(path: str) -> bool:
    return path.startswith("/proc/")


DEVICES: Mapping[str, Callable[[MachineSpec], Text]] = {
    "/dev/null": lambda _: Text(),
    "/dev/zero": lambda _: Zeros(),
    "/dev/random": lambda _: Randomness(),
    "/dev/urandom": lambda _: Randomness(),
    "/proc/cpuinfo": lambda spec: Text(cpuinfo(spec).encode()),
    "/proc/meminfo": lambda spec: Text(meminfo(spec).encode()),
}
