"""Machines as libvirt domains on this host. Importing this loads no libvirt."""

from ecompute_server.hypervisor.libvirt.driver import LibvirtHypervisor
from ecompute_server.hypervisor.libvirt.process import prepare_process
from ecompute_server.hypervisor.libvirt.settings import LibvirtSettings

__all__ = ["LibvirtHypervisor", "LibvirtSettings", "prepare_process"]
