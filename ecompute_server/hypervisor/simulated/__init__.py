"""A host without a hypervisor: machines that are rows in a file, for tests, demos and developers' laptops."""

from .driver import SimulatedHypervisor
from .files import Files
from .machine import Boot, Phase, SimulatedMachine
from .nodes import Kind, Node, OpenFile
from .services import Service

__all__ = [
    "Boot",
    "Files",
    "Kind",
    "Node",
    "OpenFile",
    "Phase",
    "Service",
    "SimulatedHypervisor",
    "SimulatedMachine",
]
