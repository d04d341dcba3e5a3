"""A reference server of the Compute API that runs each container as a libvirt VM."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .embedding import create_app
    from .settings import Settings

__all__ = ["Settings", "create_app"]

_HOMES = {"Settings": "settings", "create_app": "embedding"}


def __getattr__(name: str) -> Any:
    # loaded on first use (PEP 562): a plugin or a test may name the package without wanting a server
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value
