"""What of the network design this host allows. Looked at once, by trying it."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from pathlib import Path

from attrs import frozen

from ecompute_server.hypervisor.libvirt.files import Owner
from ecompute_server.hypervisor.libvirt.network import firewall
from ecompute_server.hypervisor.libvirt.network.interface import Mode
from ecompute_server.hypervisor.libvirt.network.outbound import TUN

NEEDED = ("unshare", "nsenter", "setpriv", "ip", "mount")
"""Programs of util-linux and iproute2 that the wrapper and the entrance call."""


@frozen
class Fault:
    """What is wrong, and the command that mends it."""

    detail: str
    remedy: str


@frozen
class HostNetwork:
    """`namespaces` and `way_out` are what is wrong with QEMU's own namespaces and with slirp4netns, None when
    they can be had; `firewall_fault` says why the second best walls cannot, when they were looked at.
    """

    namespaces: Fault | None
    firewall_fault: str
    slirp4netns: str
    way_out: Fault | None

    def mode(self, *, outbound: bool) -> Mode:
        """The best walls that can be had here, for guests that shall have a way out or shall not."""
        if self.namespaces is None:
            return Mode.NAMESPACE
        if outbound and not self.firewall_fault:
            return Mode.FIREWALL
        return Mode.RESTRICTED

    def outbound_fault(self, mode: Mode) -> Fault | None:
        """Why guests behind those walls cannot open connections; None when they can."""
        match mode:
            case Mode.NAMESPACE:
                return self.way_out
            case Mode.FIREWALL:
                return None
            case Mode.RESTRICTED:
                first = self.namespaces or Fault("the walls were chosen so", "")
                details = [first.detail, *([self.firewall_fault] if self.firewall_fault else [])]
                return Fault(", ".join(details), first.remedy)


def look(owner: Owner | None) -> HostNetwork:
    """Tries it as the user that QEMU would run as (None: as ourselves). Blocks for a few milliseconds."""
    search = os.environ.get("PATH", "") + ":/usr/sbin:/usr/bin:/sbin:/bin"
    missing = [name for name in NEEDED if shutil.which(name, path=search) is None]
    namespaces = None
    if missing:
        namespaces = Fault(
            f"missing programs: {', '.join(missing)}", "apt-get install util-linux iproute2 mount"
        )
    elif fault := _namespaces_fault(owner):
        namespaces = Fault(f"no user namespaces for guests: {fault}", namespaces_remedy())
    slirp4netns = shutil.which("slirp4netns", path=search) or ""
    return HostNetwork(
        namespaces=namespaces,
        firewall_fault=firewall.fault(owner) if namespaces else "",
        slirp4netns=slirp4netns,
        way_out=_way_out(slirp4netns),
    )


SWITCHES = {
    "kernel/apparmor_restrict_unprivileged_userns": ("1", "0"),
    "kernel/unprivileged_userns_clone": ("0", "1"),
    "user/max_user_namespaces": ("0", "15000"),
}
"""Kernel settings that forbid user namespaces: the value that does, and one that does not."""


def namespaces_remedy(proc: Path = Path("/proc/sys")) -> str:
    """The command that allows user namespaces, as far as a setting forbids them."""
    for name, (forbidding, allowing) in SWITCHES.items():
        with contextlib.suppress(OSError):
            if (proc / name).read_text().strip() == forbidding:
                return f"sysctl -w {name.replace('/', '.')}={allowing}"
    return "run the server where user namespaces are allowed (in a container: let it call unshare)"


def _namespaces_fault(owner: Owner | None) -> str:
    try:
        tried = subprocess.run(
            # Not `true`: some hosts give the namespace and no right in it.
            [
                *("unshare", "--user", "--map-root-user", "--net", "--mount", "--"),
                *("ip", "link", "set", "lo", "up"),
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


def _way_out(slirp4netns: str) -> Fault | None:
    if not slirp4netns:
        return Fault("slirp4netns is not installed", "apt-get install slirp4netns")
    try:
        os.close(os.open(TUN, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return Fault(f"{TUN} cannot be opened ({error})", f"modprobe tun; chmod 0666 {TUN}")
    return None
