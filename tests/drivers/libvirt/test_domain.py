"""The domain's XML, read as text: what of a spec shows where, and what must never be in it."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from attrs import evolve

from ecompute_server.hypervisor.interface import Identity, Machine, MachineSpec
from ecompute_server.hypervisor.libvirt.domain import (
    METADATA_URI,
    NETDEV,
    QEMU_URI,
    Boot,
    Host,
    Known,
    domain_name,
    domain_xml,
    known_from_metadata,
    mac_address,
)
from ecompute_server.hypervisor.libvirt.layout import MachineFiles
from ecompute_server.hypervisor.libvirt.network.interface import Mode

IDENTITY = Identity("name-of-guest", "f" * 32, "SECRET", ("ssh-ed25519 AAAA",), ("/root",))
BOOT = Boot(Path("/i/kernel"), Path("/i/initrd"), 'console=ttyS0 quiet "a<b"')
UUID = "0b0e5f0c-3b5f-4f0e-9d8a-1c2d3e4f5a6b"
FILES = MachineFiles(Path("/m/abc"))


def spec(arch: str = "amd64", cpu_share: float = 2.0) -> MachineSpec:
    return MachineSpec("abc", 7, arch, 2, cpu_share, 256, 10, "micro", IDENTITY)


def element(
    arch: str = "amd64",
    *,
    walls: Mode = Mode.NAMESPACE,
    kvm: bool = False,
    cpu_quota: bool = True,
    cpu_share: float = 2.0,
    boot: Boot = BOOT,
) -> ET.Element:
    host = Host(Path("/e/qemu"), owner="mark", walls=walls, kvm=kvm, cpu_quota=cpu_quota)
    return ET.fromstring(domain_xml(spec(arch, cpu_share), boot, FILES, host, UUID))


def test_an_amd64_machine_is_an_emulated_pc_with_every_cpu_feature() -> None:
    domain = element()
    assert domain.get("type") == "qemu"
    assert domain.find("os/type").attrib == {"arch": "x86_64", "machine": "pc"}  # type: ignore[union-attr]
    assert domain.find("cpu").attrib == {"mode": "maximum"}  # type: ignore[union-attr]
    assert domain.find("features/acpi") is not None


def test_an_arm64_machine_has_gic_3_and_no_acpi() -> None:
    """libvirt refuses ACPI on `virt` without firmware."""
    domain = element("arm64")
    assert domain.find("os/type").attrib == {"arch": "aarch64", "machine": "virt"}  # type: ignore[union-attr]
    assert domain.findtext("cpu/model") == "cortex-a72"
    assert domain.find("features/gic").attrib == {"version": "3"}  # type: ignore[union-attr]
    assert domain.find("features/acpi") is None


def test_with_kvm_the_guest_gets_the_hosts_own_processor() -> None:
    domain = element(kvm=True)
    assert domain.get("type") == "kvm"
    assert domain.find("cpu").attrib["mode"] == "host-passthrough"  # type: ignore[union-attr]
    assert element("arm64", kvm=True).find("features/gic").attrib == {}  # type: ignore[union-attr]


def test_size_and_boot_files_are_the_specs() -> None:
    domain = element()
    assert (domain.findtext("memory"), domain.findtext("vcpu")) == ("256", "2")
    assert domain.findtext("os/kernel") == "/i/kernel"
    assert domain.findtext("os/initrd") == "/i/initrd"
    assert domain.findtext("os/cmdline") == 'console=ttyS0 quiet "a<b"'


def test_the_system_disk_of_an_image_is_an_overlay_that_may_be_lost() -> None:
    """The data volume is not: what a guest has flushed there is on the host's disk."""
    assert [disk.findtext("serial") for disk in element().iterfind("devices/disk")] == ["data"]
    disks = {
        disk.findtext("serial"): disk
        for disk in element(boot=evolve(BOOT, disk=Path("/i/disk.qcow2"))).iterfind("devices/disk")
    }
    assert list(disks) == ["data", "system"]
    assert disks["system"].find("source").attrib == {"file": "/m/abc/system.qcow2"}  # type: ignore[union-attr]
    caches = {serial: disk.find("driver").get("cache") for serial, disk in disks.items()}  # type: ignore[union-attr]
    assert caches == {"data": None, "system": "unsafe"}


@pytest.mark.parametrize(("share", "quota"), [(2.0, None), (1.0, "50000"), (0.5, "25000"), (0.001, "1000")])
def test_a_share_is_a_quota_for_each_processor(share: float, quota: str | None) -> None:
    """libvirt multiplies by the number of processors and takes no less than a millisecond."""
    assert element(cpu_share=share).findtext("cputune/quota") == quota


def test_no_quota_where_the_host_cannot_enforce_one() -> None:
    assert element(cpu_share=0.5, cpu_quota=False).find("cputune") is None


def test_the_volume_is_the_disk_with_the_serial_data() -> None:
    disk = element().find("devices/disk")
    assert disk is not None
    assert disk.findtext("serial") == "data"
    assert disk.find("source").attrib == {"file": "/m/abc/volume.qcow2"}  # type: ignore[union-attr]
    assert disk.find("driver").attrib["error_policy"] == "report"  # type: ignore[union-attr]


def test_agent_and_console_are_sockets_of_qemus() -> None:
    domain = element()
    agent = domain.find("devices/channel")
    assert agent is not None
    assert agent.find("target").attrib == {"type": "virtio", "name": "org.ecompute.agent.0"}  # type: ignore[union-attr]
    assert agent.find("source").attrib == {"mode": "bind", "path": "/m/abc/agent"}  # type: ignore[union-attr]
    console = domain.find("devices/serial/source")
    assert console is not None
    assert console.attrib == {"mode": "bind", "path": "/m/abc/console"}


def test_nothing_of_the_identity_is_in_the_xml() -> None:
    """The domain's XML is readable to whoever may ask libvirt, and stays in its logs."""
    text = ET.tostring(element(), encoding="unicode")
    for secret in ("SECRET", "name-of-guest", "f" * 32, "ssh-ed25519"):
        assert secret not in text


@pytest.mark.parametrize(("vcpus", "told"), [(1, "quiet acpi=noirq debug"), (2, "quiet debug")])
def test_what_hides_processors_is_told_only_to_a_guest_of_one(vcpus: int, told: str) -> None:
    """Linux finds no other processor under `acpi=noirq`."""
    host = Host(Path("/e/qemu"), owner="mark", walls=Mode.NAMESPACE, kvm=False, cpu_quota=True)
    boot = evolve(BOOT, arguments="quiet acpi=noirq debug")
    domain = ET.fromstring(domain_xml(evolve(spec(), vcpus=vcpus), boot, FILES, host, UUID))
    assert domain.findtext("os/cmdline") == told


def test_there_is_no_screen_and_no_device_that_nobody_asked_for() -> None:
    tags = {child.tag for child in element().find("devices")}  # type: ignore[union-attr]
    assert tags == {
        *("emulator", "disk", "interface", "serial", "channel", "controller", "memballoon", "rng"),
    }


@pytest.mark.parametrize("walls", Mode)
def test_the_metadata_tells_container_generation_and_walls_back(walls: Mode) -> None:
    """Another server's domains are not ours, whatever their ids."""
    metadata = element(walls=walls).find(f"metadata/{{{METADATA_URI}}}machine")
    assert metadata is not None
    text = ET.tostring(metadata, encoding="unicode")
    assert known_from_metadata(text, "mark") == Known(Machine("abc", 7), walls)
    assert known_from_metadata(text, "another server's") is None
    del metadata.attrib["walls"]
    old = ET.tostring(metadata, encoding="unicode")
    assert known_from_metadata(old, "mark") == Known(Machine("abc", 7), Mode.NAMESPACE)


@pytest.mark.parametrize(
    "text",
    [
        *("", "<broken", "<machine owner='mark'/>", "<m owner='mark' container='a' generation='x'/>"),
        "<m owner='mark' container='a' generation='1' walls='paper'/>",
    ],
)
def test_metadata_that_cannot_be_read_is_nobodys(text: str) -> None:
    """A machine with walls that are not known is not taken over."""
    assert known_from_metadata(text, "mark") is None


@pytest.mark.parametrize("arch", ["amd64", "arm64"])
def test_a_restricted_machine_has_one_card_and_it_is_restricted(arch: str) -> None:
    """libvirt would give it a second, unrestricted one."""
    domain = element(arch, walls=Mode.RESTRICTED)
    assert domain.find("devices/interface") is None
    values = [each.get("value") for each in domain.iter(f"{{{QEMU_URI}}}arg")]
    assert values[:2] == ["-netdev", f"user,id={NETDEV},restrict=on"]
    assert values[2] == "-device"
    assert str(values[3]).startswith(f"virtio-net-pci,netdev={NETDEV},mac={mac_address('abc')},")
    assert len(values) == 4


def test_other_machines_have_one_card_too() -> None:
    """And QEMU is told of the wrapper's folder only where there is a wrapper."""
    for walls, told in ((Mode.NAMESPACE, ["/m/abc"]), (Mode.FIREWALL, [])):
        domain = element(walls=walls)
        assert [card.get("type") for card in domain.iter("interface")] == ["user"]
        assert [each.get("value") for each in domain.iter(f"{{{QEMU_URI}}}env")] == told
        assert not list(domain.iter(f"{{{QEMU_URI}}}arg"))


def test_names_and_addresses_are_steady_and_apart() -> None:
    assert element().findtext("uuid") == UUID
    assert element().findtext("name") == domain_name("abc", 7) != domain_name("abc", 8)
    assert mac_address("abc") == mac_address("abc") != mac_address("abd")
    assert mac_address("abc").startswith("52:54:00:")
