"""Values just within the rules and just outside of them, for those who try each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ecompute.contract import catalog

_LONGEST = catalog.NAME_LENGTH[-1]

GOOD_NAMES = (
    "a",
    "  a b  ",
    "a" * _LONGEST,
    f" {'é' * _LONGEST} ",
    "日本 🦆",
    "<b>\"\\/&'%s{}",
    "\tend\n",
)
"""Names that are taken, once they are trimmed."""

BAD_NAMES = (
    "",
    "   ",
    "a" * (_LONGEST + 1),
    "é" * (_LONGEST + 1),
    "a\nb",
    "a\0b",
    "a\x7fb",
    "a\x1b[1mb",
)
"""Texts that are no names."""

_NO_INTEGERS = (True, False, 512.0, 0.0, 1.5, "512", "0", [512], {"a": 1})

BAD_SIZES: Mapping[str, tuple[Any, ...]] = {
    "memory_mb": (
        catalog.MEMORY_MB[0] - 1,
        catalog.MEMORY_MB[-1] + 1,
        1,
        -1,
        -512,
        2**31,
        2**63,
        2**64 + 512,
        *_NO_INTEGERS,
    ),
    "storage_gb": (catalog.STORAGE_GB[-1] + 1, -1, -5, 2**31, 2**63, 2**64 + 5, *_NO_INTEGERS),
}
"""By field of a container what is no size of it."""

BAD_CHOICES: Mapping[str, tuple[Any, ...]] = {
    "instance_type": ("large", "NANO", "nano ", " ", "arm64", 1, True, ["nano"], {"nano": 1}),
    "ssh_enabled": ("true", "false", "yes", "", 1, 0, 1.0, [], [True], {}),
}
"""By field of a container what is none of the choices there."""

DEFAULTS: Mapping[str, Any] = {
    "instance_type": catalog.DEFAULT_INSTANCE_TYPE,
    "memory_mb": catalog.DEFAULT_MEMORY_MB,
    "storage_gb": catalog.DEFAULT_STORAGE_GB,
    "ssh_enabled": False,
}
"""What a container is that was made without a word on these fields."""

ZEROS: Mapping[str, tuple[Any, ...]] = {
    "instance_type": ("", None),
    "memory_mb": (0, None),
    "storage_gb": (0, None),
    "ssh_enabled": (False, None),
    "mount_paths": ([], None),
}
"""By field what clients send that leave it open: the zero value of its type, or null."""

OTHER_ZEROS: Mapping[str, tuple[Any, ...]] = {
    "instance_type": (0, []),
    "memory_mb": ("", []),
    "storage_gb": ("", []),
    "mount_paths": (0, ""),
}
"""By field the zero values of other types."""

ODD_IDS = (
    "aaaaaaaa",
    "ABCDEFGH",
    "0",
    "-1",
    "null",
    "a" * 300,
    "%20",
    "%00",
    "%F0%9F%A6%86",
    "%27%20OR%20%271%27=%271",
    "%25",
    "*",
    "a.b",
)
"""Texts in the place of a container's id, as they are in a path; no container has one of them."""
