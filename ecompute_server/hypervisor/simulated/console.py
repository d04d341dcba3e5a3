"""What a simulated guest prints on its console."""

from __future__ import annotations

from ecompute_server.hypervisor.interface import MachineSpec

MACHINE_NAMES = {"arm64": "aarch64", "amd64": "x86_64"}


def boot_log(spec: MachineSpec) -> str:
    """The kernel's and the agent's lines up to the point where the guest waits for its identity."""
    machine = MACHINE_NAMES.get(spec.arch, spec.arch)
    memory = spec.memory_mb * 1024
    return _lines(
        (0.0, f"Linux version 6.1.0-simulated ({machine})"),
        (0.0, "Command line: console=ttyS0 panic=-1"),
        (0.004, f"Memory: {memory * 9 // 10}K/{memory}K available"),
        (0.006, f"smp: Brought up 1 node, {spec.vcpus} CPU{'s' if spec.vcpus > 1 else ''}"),
        (0.011, f"virtio_blk virtio1: [vda] {spec.storage_gb << 21} 512-byte logical blocks"),
        (0.014, "EXT4-fs (vda): mounted filesystem with ordered data mode"),
        (0.018, f"Run /init as init process (image {spec.image})"),
        (0.021, "agent: hello, waiting for an identity"),
    )


def ready_log(spec: MachineSpec) -> str:
    """The lines of a guest that took its identity."""
    return _lines(
        *((0.03, f"agent: mounted {path}") for path in spec.identity.mount_paths),
        (0.031, f"agent: this is {spec.identity.hostname}"),
        (0.032, "agent: SSH server listens on port 22"),
        (0.033, "agent: ready"),
    )


def _lines(*lines: tuple[float, str]) -> str:
    return "".join(f"[{time:12.6f}] {text}\n" for time, text in lines)
