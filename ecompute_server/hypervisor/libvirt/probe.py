"""What `doctor` says of this host: each thing the driver needs, how it is, and the command that mends it.

Looks and tries, changes nothing that lasts (the answer of a KVM trial is remembered).
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from ecompute_server.hypervisor.interface import Finding, HypervisorError, NotReady, Severity
from ecompute_server.hypervisor.libvirt import binding, host, kvm
from ecompute_server.hypervisor.libvirt.domain import HARDWARE
from ecompute_server.hypervisor.libvirt.files import QEMU_USER, Owner, qemu_owner
from ecompute_server.hypervisor.libvirt.network import host as network
from ecompute_server.hypervisor.libvirt.network.interface import Mode
from ecompute_server.hypervisor.libvirt.settings import LibvirtSettings

LITTLE_SPACE = 5 * 1024**3

_TOOLS = {"qemu-img": "qemu-utils", "mke2fs": "e2fsprogs"}


def look(settings: LibvirtSettings) -> list[Finding]:
    """All findings, in the order in which one would mend them. Blocks; some seconds at the first time."""
    owner: Owner | None = None
    findings = [_libvirt()]
    if os.getuid() == 0:
        try:
            owner = qemu_owner(settings.uri)
            findings.append(_ok("user", f"guests run as {QEMU_USER}"))
        except NotReady as error:
            findings.append(_error("user", *_split(str(error))))
    findings += [_qemu(arch) for arch in HARDWARE]
    findings += [_tool(name, package) for name, package in _TOOLS.items()]
    found = network.look(owner)
    mode = found.mode(outbound=settings.outbound != "none")
    findings += [_walls(found, mode), _outbound(found, mode, settings)]
    findings += [_kvm(settings), _quota(settings), _space(settings.state)]
    return findings


def _split(sentence: str) -> tuple[str, str]:
    detail, _, remedy = sentence.rpartition(": ")
    return detail, remedy


def _ok(check: str, detail: str) -> Finding:
    return Finding(check, Severity.OK, detail)


def _warning(check: str, detail: str, remedy: str = "") -> Finding:
    return Finding(check, Severity.WARNING, detail, remedy)


def _error(check: str, detail: str, remedy: str) -> Finding:
    return Finding(check, Severity.ERROR, detail, remedy)


def _libvirt() -> Finding:
    try:
        version = binding.load().getVersion()
    except HypervisorError as error:
        return _error("libvirt", *_split(str(error)))
    return _ok("libvirt", f"library {version // 1_000_000}.{version // 1_000 % 1_000}.{version % 1_000}")


def _qemu(arch: str) -> Finding:
    program = kvm.qemu_program(arch)
    if program is None:
        return _error(
            f"qemu {arch}", f"no QEMU for {arch} guests", f"apt-get install {host.QEMU_PACKAGES[arch]}"
        )
    return _ok(f"qemu {arch}", str(program))


def _tool(name: str, package: str) -> Finding:
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin:/sbin:/bin")
    if found is None:
        return _error(name, "not installed", f"apt-get install {package}")
    return _ok(name, found)


def _walls(found: network.HostNetwork, mode: Mode) -> Finding:
    if found.namespaces is None:
        return _ok("network walls", "each guest gets a user and network namespace of its own")
    return _warning(
        "network walls", f"{host.WEAKER[mode]} ({found.namespaces.detail})", found.namespaces.remedy
    )


def _outbound(found: network.HostNetwork, mode: Mode, settings: LibvirtSettings) -> Finding:
    if settings.outbound == "none":
        return _ok("outbound", "turned off by the settings")
    fault = found.outbound_fault(mode)
    if fault is None:
        means = found.slirp4netns if mode is Mode.NAMESPACE else "an nftables rule"
        return _ok("outbound", f"filtered, by {means}")
    if settings.outbound == "filtered":
        return _error("outbound", fault.detail, fault.remedy)
    return _warning("outbound", f"guests cannot open connections: {fault.detail}", fault.remedy)


def _kvm(settings: LibvirtSettings) -> Finding:
    match kvm.decide(settings):
        case kvm.Kvm.USABLE:
            return _ok("kvm", f"usable for {kvm.NATIVE} guests")
        case kvm.Kvm.UNUSABLE:
            return _warning("kvm", "/dev/kvm is there, but no guest runs on it: software emulation")
        case kvm.Kvm.UNTRIED:
            return _warning(
                "kvm", "/dev/kvm is there and untried: software emulation", "ecompute-server images build"
            )
        case _:
            return _warning("kvm", "no /dev/kvm that this user may open: software emulation")


def _quota(settings: LibvirtSettings) -> Finding:
    fault = host.cpu_quota_fault(settings.uri)
    if fault:
        return _warning("cpu shares", f"a fraction of a processor is not enforced: {fault}")
    return _ok("cpu shares", "enforced by control groups")


def _space(state: Path) -> Finding:
    place = next(each for each in (state.absolute(), *state.absolute().parents) if each.exists())
    free = shutil.disk_usage(place).free
    detail = f"{free / 1024**3:.1f} GiB free for {state}"
    if free < LITTLE_SPACE:
        return _warning("disk space", detail, "make room, or choose another directory with --state")
    return _ok("disk space", detail)
