"""What the server's process must be before a driver opens in it: `prepare_process`.

Three things of a process, not of a machine, that can be had only while it has one thread:

* A private mount namespace in which `/dev/kvm` does not exist, when KVM cannot run guests here. libvirt asks
  for the file at every start and then asks QEMU at length (measured: 44 to 64 s a start instead of 0.4 s).
  Binding another file over the node does not help, so `/dev` becomes a small tmpfs with everything else in
  it. Only this process and what it starts see that.
* As root: a short name for the state directory, as a bind mount in that same namespace. QEMU runs as a user
  of its own and may not walk through a closed state directory; below the mount it can, and no other process
  of the host can.
* The role of reaper. libvirt's QEMU is nobody's child: without us it would wait for the host's first process
  to clear it away, which a container's often does late or never, while libvirt waits for it to vanish.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import threading
from pathlib import Path

from ecompute_server.hypervisor.interface import HypervisorError
from ecompute_server.hypervisor.libvirt import kvm
from ecompute_server.hypervisor.libvirt.layout import ROOT_RUNTIME, Layout, layout_of, make_home
from ecompute_server.hypervisor.libvirt.settings import LibvirtSettings

CLONE_NEWNS = 0x0002_0000
CLONE_NEWUSER = 0x1000_0000
MS_NOSUID, MS_NODEV, MS_NOEXEC = 2, 4, 8
MS_BIND, MS_MOVE, MS_REC, MS_SLAVE = 0x1000, 0x2000, 0x4000, 1 << 19
MNT_DETACH = 2
PR_SET_CHILD_SUBREAPER = 36
NS_GET_PARENT = 0xB702

_libc = ctypes.CDLL(None, use_errno=True)


def prepare_process(settings: LibvirtSettings) -> None:
    """Makes this process fit for `LibvirtHypervisor(settings)`. Call it once, at the very start of the
    server, before any thread and before `open`.

    Nothing here is needed for correctness: what cannot be had is left out, the driver works without it where
    it can and says in `open` or `probe` what is wrong where it cannot. Takes some milliseconds, and once per
    boot of the host up to `kvm.PATIENCE` seconds, when KVM has to be tried.

    Raises:
        HypervisorError: the process has threads already.
    """
    if threading.active_count() != 1:
        raise HypervisorError("prepare_process must be called while the process has one thread.")
    _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    layout = layout_of(settings.state)
    if settings.uri == "qemu:///system" and os.getuid() == 0:
        make_home(settings.state)
        _bind_state_for_all(layout)
    if settings.uri != "embed":
        return
    hide = kvm.is_trap(settings)
    if os.getuid() != 0 and not hide:
        return
    try:
        _enter_private_mounts(layout)
    except OSError as error:
        if error.errno in (errno.EPERM, errno.EINVAL, errno.ENOSPC, errno.ENOSYS):
            return
        raise HypervisorError(f"A private mount namespace cannot be had: {error.strerror}.") from error
    if hide:
        _hide_kvm()
    if os.getuid() == 0:
        make_home(settings.state)
        _bind_state(layout)


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _mount(source: str, target: Path, kind: str = "", flags: int = 0, options: str = "") -> None:
    _check(
        _libc.mount(
            source.encode(),
            os.fsencode(target),
            kind.encode() or None,
            ctypes.c_ulong(flags),
            options.encode() or None,
        )
    )


def _enter_private_mounts(layout: Layout) -> None:
    """New mounts of the host still appear here; none of ours appears there."""
    uid, gid = os.getuid(), os.getgid()
    if uid == 0 or _join_guests(layout):
        _check(_libc.unshare(CLONE_NEWNS))
    else:
        # Mounting needs a user namespace; one that knows this user alone, under the same number.
        _check(_libc.unshare(CLONE_NEWUSER))
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
        _check(_libc.unshare(CLONE_NEWNS))
    _mount("none", Path("/"), flags=MS_REC | MS_SLAVE)


def _join_guests(layout: Layout) -> bool:
    """Enters the user namespace that guests left running were started from; False when none runs.

    From a namespace beside theirs nobody could enter a guest's network any more.
    """
    for record in (layout.home / "root/run/qemu").glob("ecompute-*.pid"):
        try:
            guest = os.open(f"/proc/{int(record.read_text())}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        except (OSError, ValueError):
            continue
        try:
            parent = fcntl.ioctl(guest, NS_GET_PARENT)
        except OSError:
            continue
        finally:
            os.close(guest)
        try:
            _check(_libc.setns(parent, CLONE_NEWUSER))
        finally:
            os.close(parent)
        return True
    return False


def _hide_kvm() -> None:
    # Built over a directory that surely exists and then moved away: nobody else sees it meanwhile.
    stage = Path("/run")
    _mount("dev", stage, "tmpfs", MS_NOSUID | MS_NOEXEC, "mode=755,size=1m")
    for entry in os.scandir("/dev"):
        if entry.name == "kvm":
            continue
        copy = stage / entry.name
        if entry.is_symlink():
            copy.symlink_to(Path(entry.path).readlink())
            continue
        if entry.is_dir():
            copy.mkdir()
        else:
            copy.touch()
        try:
            _mount(entry.path, copy, flags=MS_BIND | MS_REC)
        except OSError:
            copy.rmdir() if entry.is_dir() else copy.unlink()
    _mount(str(stage), Path("/dev"), flags=MS_MOVE)


def _bind_state(layout: Layout) -> None:
    ROOT_RUNTIME.mkdir(mode=0o755, exist_ok=True)
    _mount("ecompute", ROOT_RUNTIME, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755,size=64k")
    layout.base.mkdir(mode=0o711)
    _mount(str(layout.home), layout.base, flags=MS_BIND)


def _bind_state_for_all(layout: Layout) -> None:
    # The system's libvirt daemon starts QEMU in the host's own mount namespace, so the short name must be
    # there. It leads past the closed directories above the state for those who know its name, and stays
    # until the host restarts, since guests may outlive this process.
    with contextlib.suppress(FileNotFoundError):
        if not layout.base.is_symlink() and layout.base.samefile(layout.home):
            return
    # whatever bears the name is left from a state directory that is gone
    _libc.umount2(os.fsencode(layout.base), MNT_DETACH)
    try:
        layout.base.unlink(missing_ok=True)
    except (IsADirectoryError, PermissionError):
        layout.base.rmdir()
    try:
        layout.base.mkdir(mode=0o711, parents=True)
        _mount(str(layout.home), layout.base, flags=MS_BIND)
    except OSError as error:
        raise HypervisorError(f"The short name {layout.base} cannot be made: {error.strerror}.") from error
