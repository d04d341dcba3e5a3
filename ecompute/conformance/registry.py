"""All areas of the contract, in the order in which they are tested, with their requirements and checks."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

from .check import Check, checks_of
from .requirement import Area, Requirement

_NAMES = (
    "sessions",
    "keys",
    "containers",
    "creation",
    "lifecycle",
    "ssh_access",
    "ingress",
    "mounts",
    "limits",
    "tokens",
    "authorisation",
    "tenants",
    "errors",
    "readers",
    "idempotency",
    "feed",
    "terminal",
    "commands",
    "http",
    "websockets",
    "sequences",
    "persistence",
)

AREAS: tuple[Area, ...] = tuple(import_module(f".areas.{name}", __package__).AREA for name in _NAMES)
"""Every area."""

REQUIREMENTS: Mapping[str, Requirement] = {
    requirement.id: requirement for area in AREAS for requirement in area.requirements
}
"""Every requirement by its id."""

CHECKS: tuple[Check, ...] = tuple(check for name in _NAMES for check in checks_of(name))
"""Every check, by area, and there as they are written."""


def area_of(requirement: str) -> Area:
    """The area to which a requirement belongs."""
    return next(area for area in AREAS if REQUIREMENTS[requirement] in area.requirements)
