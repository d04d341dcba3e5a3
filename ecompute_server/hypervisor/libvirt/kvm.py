"""Whether KVM really runs guests here, which the existence of /dev/kvm does not say.

Seen on hosts that are virtual themselves: QEMU aborts on a register that it may not set, or starts and the
guest spins without a word. So a real kernel is started with KVM, and only its own words count. The answer is
kept until the host boots again or QEMU changes.
"""

from __future__ import annotations

import json
import os
import platform
import select
import shutil
import subprocess
import time
from enum import StrEnum
from pathlib import Path

from ecompute_server.hypervisor.interface import NotReady
from ecompute_server.hypervisor.libvirt.files import Owner, placed, qemu_owner
from ecompute_server.hypervisor.libvirt.layout import home_of, make_home
from ecompute_server.hypervisor.libvirt.settings import LibvirtSettings
from ecompute_server.images.interface import ImageError

DEVICE = Path("/dev/kvm")
PATIENCE = 4.0
IMAGE = "micro"

NATIVE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), "")


class Kvm(StrEnum):
    USABLE = "usable"
    UNUSABLE = "unusable"
    """The device is there and openable, and no guest runs on it."""
    ABSENT = "absent"
    """No device, or one that we may not open."""
    UNTRIED = "untried"
    """It could not be tried: no image, no QEMU."""


def qemu_program(arch: str) -> Path | None:
    name = {"amd64": "qemu-system-x86_64", "arm64": "qemu-system-aarch64"}[arch]
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/bin")
    return Path(found) if found else None


def is_trap(settings: LibvirtSettings) -> bool:
    """Whether the device should rather not be there. Untried counts as a trap: emulation always works."""
    return DEVICE.exists() and decide(settings) is not Kvm.USABLE


def decide(settings: LibvirtSettings) -> Kvm:
    """The answer for this host, from memory where it is known. Blocks up to `PATIENCE` seconds else."""
    qemu = qemu_program(NATIVE) if NATIVE else None
    memory = home_of(settings.state) / "kvm.json"
    key = {"boot": _boot_id(), "qemu": _stamp(qemu) if qemu else ""}
    known = recall(memory, key)
    if known is Kvm.UNUSABLE:
        return known  # also where `prepare_process` has taken the device away
    if not os.access(DEVICE, os.R_OK | os.W_OK):
        return Kvm.ABSENT
    if qemu is None:
        return Kvm.UNTRIED
    if known is not None:
        return known
    try:
        image = settings.find_image(IMAGE, NATIVE)
    except ImageError:
        image = None
    if image is None:
        return Kvm.UNTRIED
    try:
        owner = qemu_owner(settings.uri)
        with image.kernel.open("rb") as kernel:
            # By descriptor: QEMU's user may read the file, but need not be let into the cache it lies in.
            trial = command(qemu, f"/proc/self/fd/{kernel.fileno()}", NATIVE)
            spoke = speaks(trial, owner, kernel.fileno())
    except (OSError, NotReady):
        return Kvm.UNTRIED
    answer = Kvm.USABLE if spoke else Kvm.UNUSABLE
    make_home(settings.state)
    remember(memory, key, answer)
    return answer


def recall(memory: Path, key: dict[str, str]) -> Kvm | None:
    try:
        record = json.loads(memory.read_text())
        return Kvm(record["answer"]) if record["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def remember(memory: Path, key: dict[str, str], answer: Kvm) -> None:
    text = json.dumps({"key": key, "answer": answer})
    placed(memory, lambda fresh: fresh.write_text(text))


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _stamp(program: Path) -> str:
    found = program.stat()
    return f"{program} {found.st_size} {found.st_mtime_ns}"


def command(qemu: Path, kernel: str, arch: str, *, accelerator: str = "kvm") -> list[str]:
    """A kernel without anything else: it prints a page and then finds no root file system."""
    if arch == "amd64":
        machine, early = ["-machine", "pc"], "console=ttyS0 earlyprintk=ttyS0"
    else:
        machine, early = ["-machine", "virt"], "console=ttyAMA0 earlycon=pl011,0x9000000"
    return [
        str(qemu),
        *machine,
        *("-accel", accelerator, "-cpu", "host" if accelerator == "kvm" else "max"),
        *("-m", "256", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *("-kernel", kernel, "-append", f"{early} panic=-1", "-serial", "stdio"),
    ]


def speaks(
    qemu: list[str], owner: Owner | None = None, *descriptors: int, patience: float = PATIENCE
) -> bool:
    """Whether the guest's kernel says something in time, when that user runs it."""
    process = subprocess.Popen(
        qemu,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        pass_fds=descriptors,
        user=owner.uid if owner else None,
        group=owner.gid if owner else None,
        extra_groups=[] if owner else None,
        cwd="/",
    )
    assert process.stdout is not None
    try:
        deadline, said = time.monotonic() + patience, b""
        while b"Linux version" not in said and (left := deadline - time.monotonic()) > 0:
            if not select.select([process.stdout], [], [], left)[0]:
                return False
            data = os.read(process.stdout.fileno(), 4096)
            if not data:
                return False
            said = (said + data)[-8192:]
        return b"Linux version" in said
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
