"""Faults put into the reference server from outside, and whether the contract kit finds them.

`make faults` runs all. Each fault is one small mistake that a programmer could have made, in a server process
of its own; the shipped server has no switch for any of them.
"""

from __future__ import annotations

from importlib import import_module

from .fault import FAULTS, Fault


def load() -> dict[str, Fault]:
    """Every fault by its name."""
    for module in ("rights", "resources", "life", "talk", "answers"):
        import_module(f".{module}", __name__)
    return FAULTS
