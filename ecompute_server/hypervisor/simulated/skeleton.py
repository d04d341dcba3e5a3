"""What the disk of a new simulated machine has on it."""

from __future__ import annotations

from collections.abc import Mapping

from ecompute_server.hypervisor.interface import MachineSpec

DIRECTORIES = (
    "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/mnt", "/opt", "/proc", "/root", "/run", "/sbin",
    "/srv", "/sys", "/tmp", "/usr", "/usr/bin", "/usr/lib", "/usr/local", "/usr/sbin", "/usr/share",
    "/var", "/var/cache", "/var/lib", "/var/log", "/var/tmp",
)  # fmt: skip
DIRECTORY_MODES: Mapping[str, int] = {"/root": 0o700, "/tmp": 0o1777, "/var/tmp": 0o1777}
LINKS: Mapping[str, str] = {"/var/run": "/run"}


def texts(spec: MachineSpec) -> Mapping[str, str]:
    """The text files of a machine of that spec, by path."""
    name = spec.identity.hostname
    short = name.partition(".")[0]
    return {
        "/etc/hostname": f"{name}\n",
        "/etc/hosts": f"127.0.0.1 localhost\n127.0.1.1 {name} {short}\n",
        "/etc/machine-id": f"{spec.identity.machine_id}\n",
        "/etc/os-release": f'ID=simulated\nNAME="Simulated guest"\nVARIANT_ID={spec.image}\n',
        "/etc/passwd": "root:x:0:0:root:/root:/bin/sh\n",
        "/etc/group": "root:x:0:\n",
        "/root/.profile": "# read by no one: the simulated shell needs no start-up file\n",
    }
