"""What checks look for in answers: faults that are told, times, the parts of a container that stay."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from .wire import Answer

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")

_CLOSE = 30.0
_CLOCKS_APART = 600.0

PASSING = frozenset({"status", "memory_used_mb", "storage_used_gb", "status_reason"})
"""The fields of a container that change without anybody's doing."""


def faults_told(answer: Answer) -> set[str]:
    """The paths of the faults that a refusal lists."""
    fields = answer.body.get("fields")
    if not isinstance(fields, list):
        return set()
    return {str(fault["path"]) for fault in fields if isinstance(fault, dict) and "path" in fault}


def moment(text: object) -> float | None:
    """Seconds since the epoch of a time in ISO 8601 in UTC with Z; None for anything else."""
    if not isinstance(text, str) or _TIME.fullmatch(text) is None:
        return None
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None


def is_now(seconds: object, answer: Answer) -> bool:
    """Whether a time is that at which an answer was given, by the server's clock where it tells it."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return False
    try:
        there = parsedate_to_datetime(answer.headers["date"]).astimezone(UTC).timestamp()
    except (KeyError, ValueError):
        return abs(seconds - time.time()) < _CLOCKS_APART
    return abs(seconds - there) < _CLOSE


def lasting(container: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a container that only a request changes."""
    return {name: value for name, value in container.items() if name not in PASSING}


def places(listed: Any, ids: Iterable[Any]) -> list[int]:
    """Where in a list of objects those with these ids are; -1 for one that is not there."""
    order = [item.get("id") for item in listed if isinstance(item, dict)]
    return [order.index(id_) if id_ in order else -1 for id_ in ids]


_LATE = PASSING | {"external_ip", "ssh_host_key", "ssh_command"}


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> set[str]:
    """The fields in which two answers about a container differ that nobody has changed in between. What is
    known only after a while may be missing in one of them.
    """
    both = one.keys() & other.keys()
    differing = {name for name in both - PASSING if one[name] != other[name]}
    return differing | ((one.keys() ^ other.keys()) - _LATE)
