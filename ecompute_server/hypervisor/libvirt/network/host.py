"""What of the network design this host allows. Looked at once, by trying it."""

from __future__ import annotations

import os
import shutil
import subprocess

from attrs import frozen

from ecompute_server.hypervisor.libvirt.files import Owner
from ecompute_server.hypervisor.libvirt.network.outbound import TUN

NEEDED = ("unshare", "nsenter", "setpriv", "ip", "mount")
"""Programs of util-linux and iproute2 that the wrapper and the entrance call."""


@frozen
class HostNetwork:
    """`walls` says that QEMU can be put into namespaces of its own; without that no machine may run."""

    missing_programs: tuple[str, ...]
    walls_fault: str
    slirp4netns: str
    tun_fault: str

    @property
    def walls(self) -> bool:
        return not self.missing_programs and not self.walls_fault

    @property
    def outbound(self) -> bool:
        return bool(self.slirp4netns) and not self.tun_fault


def look(owner: Owner | None) -> HostNetwork:
    """Tries it as the user that QEMU would run as (None: as ourselves). Blocks for a few milliseconds."""
    search = os.environ.get("PATH", "") + ":/usr/sbin:/usr/bin:/sbin:/bin"
    missing = tuple(name for name in NEEDED if shutil.which(name, path=search) is None)
    return HostNetwork(
        missing_programs=missing,
        walls_fault="" if "unshare" in missing else _walls_fault(owner),
        slirp4netns=shutil.which("slirp4netns", path=search) or "",
        tun_fault=_tun_fault(),
    )


def _walls_fault(owner: Owner | None) -> str:
    try:
        tried = subprocess.run(
            ["unshare", "--user", "--map-root-user", "--net", "--mount", "--", "true"],
            user=owner.uid if owner else None,
            group=owner.gid if owner else None,
            extra_groups=[] if owner else None,
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    return "" if tried.returncode == 0 else tried.stderr.strip() or f"exit status {tried.returncode}"


def _tun_fault() -> str:
    try:
        os.close(os.open(TUN, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return str(error)
    return ""
