"""A machine as libvirt's domain XML: pure, from a spec and paths to text and back.

Source: https://libvirt.org/formatdomain.html. The domain is transient; who it is stands in its metadata, so a
new server process can tell which container and generation a running domain is.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from xml.etree import ElementTree as ET

from attrs import frozen

from ecompute_server.hypervisor.interface import Machine, MachineSpec
from ecompute_server.hypervisor.libvirt.layout import MachineFiles
from ecompute_server.hypervisor.libvirt.network.interface import Mode

METADATA_URI = "urn:ecompute:machine:1"
QEMU_URI = "http://libvirt.org/schemas/domain/qemu/1.0"
AGENT_PORT = "org.ecompute.agent.0"
VOLUME_SERIAL = "data"
SYSTEM_SERIAL = "system"
NETDEV = "hostnet0"
"""The name libvirt gives the first network backend; forwards are asked of it."""

QUOTA_PERIOD = 100_000

FOR_ONE_PROCESSOR = frozenset({"acpi=noirq"})
"""Kernel arguments that make a guest boot faster, and hide all its processors but one."""

ET.register_namespace("qemu", QEMU_URI)
ET.register_namespace("ecompute", METADATA_URI)


@frozen
class Hardware:
    """How one architecture is emulated. `machine` and `cpu` were chosen by measured boot times."""

    qemu: str
    machine: str
    cpu: str
    gic: str | None
    acpi: bool
    bus: str


HARDWARE = {
    "amd64": Hardware(qemu="x86_64", machine="pc", cpu="maximum", gic=None, acpi=True, bus="pci.0"),
    # Without firmware there is no ACPI on `virt`, and libvirt refuses to promise it.
    "arm64": Hardware(qemu="aarch64", machine="virt", cpu="cortex-a72", gic="3", acpi=False, bus="pcie.0"),
}


@frozen
class Boot:
    """What a machine starts from, as QEMU's user can read it. `disk` is the system disk of images that have
    one; a machine writes to an overlay of its own.
    """

    kernel: Path
    initrd: Path
    arguments: str
    disk: Path | None = None


@frozen
class Host:
    """What of this host shows in every domain of one architecture."""

    emulator: Path
    owner: str
    walls: Mode
    kvm: bool
    cpu_quota: bool


def domain_name(container_id: str, generation: int) -> str:
    """What operators see; libvirt names its files of the domain so."""
    return f"ecompute-{container_id}-{generation}"


def mac_address(container_id: str) -> str:
    """Locally administered and steady for a container. Each guest has a network of its own, so two equal
    ones could not meet.
    """
    tail = hashlib.sha256(container_id.encode()).digest()[:3]
    return "52:54:00:" + ":".join(f"{byte:02x}" for byte in tail)


def domain_xml(spec: MachineSpec, boot: Boot, files: MachineFiles, host: Host, uuid: str) -> str:
    """The XML for `virDomainCreateXML`.

    `uuid` is a fresh one for each start: by it an event is told from an older one of the same name.

    Raises:
        KeyError: no hardware is known for `spec.arch`.
    """
    hardware = HARDWARE[spec.arch]
    root = ET.Element("domain", type="kvm" if host.kvm else "qemu")
    _text(root, "name", domain_name(spec.container_id, spec.generation))
    _text(root, "uuid", uuid)
    metadata = ET.SubElement(root, "metadata")
    ET.SubElement(
        metadata,
        f"{{{METADATA_URI}}}machine",
        {
            "owner": host.owner,
            "container": spec.container_id,
            "generation": str(spec.generation),
            "walls": host.walls,
        },
    )
    _text(root, "memory", str(spec.memory_mb), unit="MiB")
    _text(root, "vcpu", str(spec.vcpus), placement="static")
    if host.cpu_quota and spec.cpu_share < spec.vcpus:
        tune = ET.SubElement(root, "cputune")
        _text(tune, "period", str(QUOTA_PERIOD))
        # libvirt's quota is per virtual CPU and at least one millisecond.
        _text(tune, "quota", str(max(1_000, int(QUOTA_PERIOD * spec.cpu_share / spec.vcpus))))

    system = ET.SubElement(root, "os")
    _text(system, "type", "hvm", arch=hardware.qemu, machine=hardware.machine)
    _text(system, "kernel", str(boot.kernel))
    _text(system, "initrd", str(boot.initrd))
    _text(system, "cmdline", _arguments(boot, spec.vcpus))
    features = ET.SubElement(root, "features")
    if hardware.acpi:
        ET.SubElement(features, "acpi")
    if hardware.gic:
        # KVM takes the host's own interrupt controller; only emulation is free to choose.
        ET.SubElement(features, "gic", {} if host.kvm else {"version": hardware.gic})
    root.append(_cpu(hardware, kvm=host.kvm))
    ET.SubElement(root, "clock", offset="utc")
    _text(root, "on_poweroff", "destroy")
    _text(root, "on_reboot", "restart")
    _text(root, "on_crash", "destroy")
    root.append(_devices(spec, boot, files, host))

    command_line = ET.SubElement(root, f"{{{QEMU_URI}}}commandline")
    match host.walls:
        case Mode.NAMESPACE:
            # Read by the emulator wrapper (network/wrapper.py); QEMU itself does not know it.
            ET.SubElement(
                command_line, f"{{{QEMU_URI}}}env", name="ECOMPUTE_MACHINE", value=str(files.folder)
            )
        case Mode.RESTRICTED:
            for argument in restricted_card(spec, hardware):
                ET.SubElement(command_line, f"{{{QEMU_URI}}}arg", value=argument)
        case Mode.FIREWALL:
            pass
    return ET.tostring(root, encoding="unicode")


RESTRICTED_SLOT = "0x1e"
"""Far from those that libvirt gives to devices of its own, from the low end up."""


def restricted_card(spec: MachineSpec, hardware: Hardware) -> list[str]:
    """QEMU's arguments for the network card, since libvirt does not know `restrict`."""
    card = {
        "netdev": NETDEV,
        "mac": mac_address(spec.container_id),
        "romfile": "",
        "bus": hardware.bus,
        "addr": RESTRICTED_SLOT,
    }
    device = ",".join(["virtio-net-pci", *(f"{name}={value}" for name, value in card.items())])
    return ["-netdev", f"user,id={NETDEV},restrict=on", "-device", device]


def _arguments(boot: Boot, vcpus: int) -> str:
    if vcpus == 1:
        return boot.arguments
    return " ".join(word for word in boot.arguments.split() if word not in FOR_ONE_PROCESSOR)


def _cpu(hardware: Hardware, *, kvm: bool) -> ET.Element:
    if kvm:
        return ET.Element("cpu", mode="host-passthrough", check="none")
    if hardware.cpu == "maximum":
        return ET.Element("cpu", mode="maximum")
    cpu = ET.Element("cpu", mode="custom", match="exact", check="none")
    _text(cpu, "model", hardware.cpu, fallback="forbid")
    return cpu


def _devices(spec: MachineSpec, boot: Boot, files: MachineFiles, host: Host) -> ET.Element:
    devices = ET.Element("devices")
    _text(devices, "emulator", str(host.emulator))

    devices.append(_disk(files.volume, "vda", VOLUME_SERIAL))
    if boot.disk is not None:
        # it goes with the machine, so nothing is lost when it is not on the host's disk yet
        devices.append(_disk(files.system, "vdb", SYSTEM_SERIAL, cache="unsafe"))

    if host.walls is not Mode.RESTRICTED:
        card = ET.SubElement(devices, "interface", type="user")
        ET.SubElement(card, "mac", address=mac_address(spec.container_id))
        ET.SubElement(card, "model", type="virtio")
        ET.SubElement(card, "rom", enabled="no")

    console = ET.SubElement(devices, "serial", type="unix")
    ET.SubElement(console, "source", mode="bind", path=str(files.console))
    agent = ET.SubElement(devices, "channel", type="unix")
    ET.SubElement(agent, "source", mode="bind", path=str(files.agent))
    ET.SubElement(agent, "target", type="virtio", name=AGENT_PORT)

    ET.SubElement(devices, "controller", type="usb", model="none")
    balloon = ET.SubElement(devices, "memballoon", model="virtio", freePageReporting="on")
    ET.SubElement(balloon, "stats", period="10")
    rng = ET.SubElement(devices, "rng", model="virtio")
    _text(rng, "backend", "/dev/urandom", model="random")
    return devices


def _disk(file: Path, device: str, serial: str, **driver: str) -> ET.Element:
    disk = ET.Element("disk", type="file", device="disk")
    # Zeroes and discarded blocks give their space back to the host. When the host is full the guest gets an
    # I/O error: libvirt's default would pause it, and nothing would ever wake it.
    ET.SubElement(
        disk,
        "driver",
        {"name": "qemu", "type": "qcow2", "discard": "unmap", "detect_zeroes": "unmap"},
        error_policy="report",
        **driver,
    )
    ET.SubElement(disk, "source", file=str(file))
    ET.SubElement(disk, "target", dev=device, bus="virtio")
    _text(disk, "serial", serial)
    return disk


def _text(parent: ET.Element, tag: str, text: str, **attributes: str) -> None:
    ET.SubElement(parent, tag, attributes).text = text


@frozen
class Known:
    """What a domain's metadata tells of it."""

    machine: Machine
    walls: Mode


def known_from_metadata(xml: str, owner: str) -> Known | None:
    """What the metadata element says; None when the domain is another server's or not readable."""
    try:
        element = ET.fromstring(xml)
        if element.get("owner") != owner:
            return None
        return Known(
            Machine(container_id=element.attrib["container"], generation=int(element.attrib["generation"])),
            # what was written before there were others
            Mode(element.get("walls", Mode.NAMESPACE)),
        )
    except (ET.ParseError, KeyError, ValueError):
        return None
