"""Guests of the simulated hypervisor: a small shell over each machine's files, in this process."""

from .guests import SimulatedGuests

__all__ = ["SimulatedGuests"]
