"""Rules of single fields: each takes a value of the right type and gives back its normal form, or says what
is wrong with it.

The right type itself (shape) is checked by `codec`, on both sides; these rules are the server's. Rules that
need records (is this key the caller's own?) belong to the handlers.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import frozen

from . import catalog
from .problems import Fault, InvalidFields
from .public_key import PublicKey, PublicKeyError
from .scopes import Grants, Scope, ScopeError


@frozen
class Bounds:
    """Limits that a host may draw tighter than the contract."""

    memory_mb: range = catalog.MEMORY_MB
    storage_gb: range = catalog.STORAGE_GB


class Broken(ValueError):
    """A rule is broken; `str()` completes a sentence that begins with the field's name."""


Rule = Callable[[Any, Bounds], Any]
"""Gives the normal form of a value, or raises `Broken` (or `InvalidFields` for faults inside a list)."""


def container_name(value: str, bounds: Bounds) -> str:
    """Container and key names: 1 to 63 printable characters after trimming; any script, not unique."""
    return _name(value, catalog.NAME_LENGTH)


def token_name(value: str, bounds: Bounds) -> str:
    """Names of API tokens: 1 to 64 printable characters after trimming."""
    return _name(value, catalog.TOKEN_NAME_LENGTH)


def _name(value: str, lengths: range) -> str:
    name = value.strip()
    if len(name) not in lengths:
        raise Broken(f"must have {lengths[0]} to {lengths[-1]} characters")
    if not name.isprintable():
        raise Broken("must not hold control characters or other characters that do not print")
    return name


def instance_type(value: str, bounds: Bounds) -> str:
    """One of the catalogue's types."""
    if value not in catalog.INSTANCE_TYPES:
        raise Broken(f"must be one of {', '.join(catalog.INSTANCE_TYPES)}")
    return value


def memory_mb(value: int, bounds: Bounds) -> int:
    """Megabytes within the host's bounds."""
    return _within(value, bounds.memory_mb)


def storage_gb(value: int, bounds: Bounds) -> int:
    """Gigabytes within the host's bounds."""
    return _within(value, bounds.storage_gb)


def _within(value: int, allowed: range) -> int:
    if value not in allowed:
        raise Broken(f"must be {allowed[0]} to {allowed[-1]}")
    return value


def terminal_size(value: int, bounds: Bounds) -> int:
    """Rows or columns of a terminal."""
    return _within(value, catalog.TERMINAL_SIZE)


def ingress_port(value: int, bounds: Bounds) -> int:
    """An external port on which a container may be published."""
    if not catalog.is_ingress_port(value):
        raise Broken("must be 80, 443 or 8000 to 8999")
    return value


def target_port(value: int, bounds: Bounds) -> int:
    """A port inside a container."""
    return _within(value, catalog.TARGET_PORTS)


def expires_in(value: str, bounds: Bounds) -> str:
    """One of the lifetimes of the catalogue."""
    if value not in catalog.TOKEN_EXPIRIES:
        raise Broken(f"must be one of {', '.join(catalog.TOKEN_EXPIRIES)}")
    return value


def token_scopes(value: Mapping[str, Sequence[str]], bounds: Bounds) -> Mapping[str, tuple[str, ...]]:
    """At least one well-formed scope, each with at least one action. Whose they are is the handler's
    question.
    """
    if not value:
        raise Broken("must grant at least one scope")
    if not all(value.values()):
        raise Broken("must grant at least one action on each scope")
    try:
        for scope in value:
            Scope.parse(scope)  # a client fills in who is meant
        return {scope: tuple(actions) for scope, actions in Grants(value).to_dict().items()}
    except ScopeError as error:
        sentence = str(error)
        raise Broken(f"are malformed: {sentence[0].lower()}{sentence[1:].rstrip('.')}") from None


def key_ids(value: Sequence[int], bounds: Bounds) -> tuple[int, ...]:
    """At least one, all different. Whose they are is the handler's question."""
    if not value:
        raise Broken("must name at least one SSH key")
    seen: set[int] = set()
    faults = []
    for index, key_id in enumerate(value):
        if key_id in seen:
            faults.append(Fault(f"[{index}]", "is in the list already"))
        seen.add(key_id)
    if faults:
        raise InvalidFields(tuple(faults))
    return tuple(value)


def public_key(value: str, bounds: Bounds) -> str:
    """A well-formed key of an accepted type, as `type base64 comment`."""
    try:
        return str(PublicKey.parse(value))
    except PublicKeyError as error:
        raise Broken(str(error)) from None


FORBIDDEN_ROOTS = ("/proc", "/sys", "/dev", "/run", "/boot", "/etc", "/bin", "/sbin", "/usr")


def mount_path(value: str) -> str:
    """One absolute path in normal form that may carry persistent data.

    Raises:
        Broken: relative, holds `..` or NUL, too long, the root itself, or in the system's part of the tree.
    """
    if "\0" in value:
        raise Broken("must not hold a NUL character")
    if not value.startswith("/"):
        raise Broken("must be an absolute path")
    if ".." in value.split("/"):
        raise Broken("must not hold '..'")
    if len(value.encode()) > catalog.MAX_MOUNT_PATH_BYTES:
        raise Broken(f"must have at most {catalog.MAX_MOUNT_PATH_BYTES} bytes")
    # POSIX gives exactly two leading slashes a meaning of their own, which normpath keeps
    path = "/" + posixpath.normpath(value).lstrip("/")
    if path == "/":
        raise Broken("must not be the root of the file system")
    first = "/" + path.split("/")[1]
    if first in FORBIDDEN_ROOTS or first.startswith("/lib"):
        raise Broken(f"must not be in {first}, which belongs to the system")
    return path


def mount_paths(value: Sequence[str], bounds: Bounds) -> tuple[str, ...]:
    """The whole list: every path in normal form, equal ones merged, none inside another."""
    if not value:
        raise Broken("must name at least one path")
    faults: list[Fault] = []
    paths: dict[str, int] = {}
    for index, raw in enumerate(value):
        try:
            paths.setdefault(mount_path(raw), index)
        except Broken as broken:
            faults.append(Fault(f"[{index}]", str(broken)))
    if len(paths) > catalog.MAX_MOUNT_PATHS:
        # each is compared with each other only when there are few
        faults.append(Fault("", f"must name at most {catalog.MAX_MOUNT_PATHS} paths"))
        raise InvalidFields(tuple(faults))
    for path, index in paths.items():
        if any(path.startswith(other + "/") for other in paths):
            faults.append(Fault(f"[{index}]", "is inside another path of the list"))
    if faults:
        raise InvalidFields(tuple(faults))
    return tuple(paths)
