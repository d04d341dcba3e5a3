"""What this host gives the driver, found out once at `open`: users, emulators, walls, quotas."""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from attrs import frozen

from ecompute_server.hypervisor.interface import HypervisorError, NotReady
from ecompute_server.hypervisor.libvirt import kvm
from ecompute_server.hypervisor.libvirt.domain import HARDWARE, Host
from ecompute_server.hypervisor.libvirt.files import QEMU_USER, Owner, explained
from ecompute_server.hypervisor.libvirt.layout import Layout, make_home
from ecompute_server.hypervisor.libvirt.network import host as host_network
from ecompute_server.hypervisor.libvirt.network.firewall import Firewall
from ecompute_server.hypervisor.libvirt.network.interface import Mode, Walls
from ecompute_server.hypervisor.libvirt.network.namespace import Namespace
from ecompute_server.hypervisor.libvirt.network.restricted import Restricted
from ecompute_server.hypervisor.libvirt.settings import LibvirtSettings

QEMU_PACKAGES = {"amd64": "qemu-system-x86", "arm64": "qemu-system-arm"}

# Read by the embedded driver when it opens; the keys are explained in libvirt's own qemu.conf. Ownership is
# ours to set (files.give). libvirt's mount namespaces are of no use behind the wrapper, and its AppArmor
# profiles do not let an emulator enter namespaces, which are the better wall.
_QEMU_CONF = """\
# Written by ecompute at every start of its server.
stdio_handler = "file"
namespaces = []
dynamic_ownership = 0
remember_owner = 0
seccomp_sandbox = 1
security_driver = "none"
"""


@frozen
class Places:
    """Where libvirt keeps a domain's process id and log; depends on which libvirt it is."""

    pids: Path
    logs: Path

    def pid_of(self, domain: str) -> int:
        """Raises:
        HypervisorError: libvirt keeps no process id for it.
        """
        try:
            return int((self.pids / f"{domain}.pid").read_text())
        except (OSError, ValueError) as error:
            raise HypervisorError(f"libvirt keeps no process id for {domain}.") from error

    def log_of(self, domain: str) -> Path:
        return self.logs / f"{domain}.log"


def places_of(uri: str, layout: Layout) -> Places:
    match uri:
        case "embed":
            return Places(layout.root / "run/qemu", layout.root / "log/qemu")
        case "qemu:///system":
            return Places(Path("/run/libvirt/qemu"), Path("/var/log/libvirt/qemu"))
        case _:
            cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
            runtime = os.environ.get("XDG_RUNTIME_DIR") or cache  # glib's rule, which libvirt follows
            return Places(Path(runtime, "libvirt/qemu/run"), Path(cache, "libvirt/qemu/log"))


def open_address(uri: str, layout: Layout) -> str:
    return f"qemu:///embed?root={layout.root}" if uri == "embed" else uri


def prepare(settings: LibvirtSettings, layout: Layout, owner: Owner | None) -> None:
    """The driver's own directories and libvirt's configuration, before the open.

    Raises:
        HypervisorError: they cannot be made, or QEMU's user cannot reach them.
    """
    with explained("The driver's directories cannot be made"):
        make_home(settings.state)
        _short_name(layout)
        layout.machines.mkdir(mode=0o711, exist_ok=True)
        if settings.uri == "embed":
            configuration = layout.root / "etc/qemu.conf"
            configuration.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            configuration.write_text(_QEMU_CONF)
            if os.getuid() != 0:
                # Where libvirt keeps what its users' drivers share; without this below HOME, if there is one.
                runtime = layout.home / "runtime"
                runtime.mkdir(mode=0o700, exist_ok=True)
                os.environ.setdefault("XDG_RUNTIME_DIR", str(runtime))
    if owner is not None and not _reachable(layout.base):
        raise HypervisorError(
            f"The user {QEMU_USER} cannot enter {layout.base.resolve()}: run the server where it may have a"
            " mount namespace of its own, or give `--state` a directory that others may pass through."
        )


def _short_name(layout: Layout) -> None:
    """`prepare_process` may have mounted it; else it is a link."""
    if layout.base == layout.home:
        return
    if layout.base.exists() and layout.base.samefile(layout.home):
        return
    folder = layout.base.parent
    folder.mkdir(mode=0o755 if os.getuid() == 0 else 0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise HypervisorError(f"The directory {folder} belongs to another user.")
    layout.base.unlink(missing_ok=True)
    layout.base.symlink_to(layout.home)


def _reachable(path: Path) -> bool:
    """Whether a user who owns nothing here may pass through every directory down to it.

    A mounted short name has none of the state's directories above it.
    """
    path = path.resolve()
    return all(each.stat().st_mode & 0o001 for each in (path, *path.parents))


def lock(layout: Layout) -> int:
    """A descriptor that keeps every other driver from these machines, in any process, until it is closed.

    Raises:
        HypervisorError: another one has it.
    """
    with explained("The state directory cannot be written"):
        descriptor = os.open(layout.home / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise HypervisorError(held(layout)) from None
        return descriptor


def held(layout: Layout) -> str:
    return f"Another process holds the machines in {layout.home}: end it first."


def server_mark(layout: Layout) -> str:
    """A random word that tells this server's domains from another's, kept with the state."""
    mark = layout.home / "owner"
    with explained("The state directory cannot be written"):
        try:
            return mark.read_text().strip()
        except FileNotFoundError:
            mark.write_text(secrets.token_hex(8) + "\n")
            return mark.read_text().strip()


def cpu_quota_fault(uri: str) -> str:
    """Why a share of a processor cannot be enforced, empty when it can."""
    if os.getuid() != 0 and uri != "qemu:///system":
        return "an ordinary user's libvirt may not limit processors"
    v1 = Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us")
    v2 = Path("/sys/fs/cgroup/cgroup.controllers")
    if (v1.parent / "cpu.shares").exists() or v1.exists():
        return "" if os.access(v1.parent, os.W_OK) else "the cpu control group cannot be written"
    if v2.exists() and "cpu" in v2.read_text().split():
        return "" if os.access(v2.parent, os.W_OK) else "the control groups cannot be written"
    return "the kernel's cpu control group is not mounted"


@frozen
class GuestWalls:
    """The walls of new machines, and all kinds for machines that are found running."""

    network: host_network.HostNetwork
    mode: Mode
    kinds: Mapping[Mode, Walls]
    outbound_fault: host_network.Fault | None

    @property
    def of_new(self) -> Walls:
        """The kind that `mode` names."""
        return self.kinds[self.mode]


def walls_of(settings: LibvirtSettings, layout: Layout, owner: Owner | None, mark: str) -> GuestWalls:
    """The best walls that this host allows.

    Raises:
        NotReady: the kind that the settings force cannot be had.
    """
    found = host_network.look(owner)
    mode = settings.walls or found.mode(outbound=settings.outbound != "none")
    fault = found.outbound_fault(mode)
    leaves = settings.outbound != "none" and fault is None
    kinds: dict[Mode, Walls] = {
        Mode.NAMESPACE: Namespace(layout.emulators, owner, found.slirp4netns if leaves else ""),
        Mode.RESTRICTED: Restricted(),
    }
    if owner is not None:
        kinds[Mode.FIREWALL] = Firewall(owner, mark)
    if mode not in kinds:
        raise NotReady("The walls cannot be an nftables rule: guests do not run as a user of their own.")
    return GuestWalls(found, mode, kinds, None if settings.outbound == "none" else fault)


_OPEN = "guests share the host's network, and every user of this host can connect to their forwarded ports"

WEAKER = {
    Mode.NAMESPACE: "",
    Mode.FIREWALL: f"an nftables rule: {_OPEN}",
    Mode.RESTRICTED: f"QEMU alone: {_OPEN}",
}
"""What other walls than namespaces mean."""


def walls_warning(walls: GuestWalls) -> str:
    """What a running server lacks in its guests' network, empty when nothing."""
    sentences = []
    if WEAKER[walls.mode]:
        namespaces = walls.network.namespaces
        why = f" ({namespaces.detail})" if namespaces else ""
        sentences.append(f"guests are walled in by {WEAKER[walls.mode]}{why}")
    if walls.outbound_fault is not None:
        sentences.append(f"guests cannot open connections: {walls.outbound_fault.detail}")
    return "; ".join(sentences)


def emulator(arch: str, walls: Walls) -> Path:
    """What `<emulator>` names for that architecture.

    Raises:
        NotReady: its QEMU is not installed.
    """
    if arch not in HARDWARE:
        raise HypervisorError(f"The architecture {arch!r} is unknown: {', '.join(HARDWARE)} are known.")
    program = kvm.qemu_program(arch)
    if program is None:
        raise NotReady(f"No QEMU for {arch} is installed: apt-get install {QEMU_PACKAGES[arch]}")
    with explained(f"The emulator for {arch} cannot be prepared"):
        return walls.emulator(program)


@frozen
class Findings:
    """This host, as found at `open` and taken for the same until `close`."""

    places: Places
    owner: Owner | None
    walls: GuestWalls
    mark: str
    kvm: bool
    quota: bool


def host_for(arch: str, found: Findings) -> Host:
    """Raises: as `emulator`."""
    return Host(
        emulator=emulator(arch, found.walls.of_new),
        owner=found.mark,
        walls=found.walls.mode,
        kvm=found.kvm and arch == kvm.NATIVE,
        cpu_quota=found.quota,
    )
