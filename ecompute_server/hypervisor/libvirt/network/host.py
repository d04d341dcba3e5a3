"""What of the network design this host allows. Looked at once, by trying it."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from pathlib import Path

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
        walls_fault="" if missing else _walls_fault(owner),
        slirp4netns=shutil.which("slirp4netns", path=search) or "",
        tun_fault=_tun_fault(),
    )


SWITCHES = {
    "kernel/apparmor_restrict_unprivileged_userns": ("1", "0"),
    "kernel/unprivileged_userns_clone": ("0", "1"),
    "user/max_user_namespaces": ("0", "15000"),
}
"""Kernel settings that forbid user namespaces: the value that does, and one that does not."""


def walls_remedy(proc: Path = Path("/proc/sys")) -> str:
    """The command that allows user namespaces, as far as a setting forbids them."""
    for name, (forbidding, allowing) in SWITCHES.items():
        with contextlib.suppress(OSError):
            if (proc / name).read_text().strip() == forbidding:
                return f"sysctl -w {name.replace('/', '.')}={allowing}"
    return "run the server where user namespaces are allowed (in a container: let it call unshare)"


def _walls_fault(owner: Owner | None) -> str:
    try:
        tried = subprocess.run(
            # Not `true`: some hosts give the namespace and no right in it.
            [
                "unshare",
                "--user",
                "--map-root-user",
                "--net",
                "--mount",
                "--",
                "ip",
                "link",
                "set",
                "lo",
                "up",
            ],
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
