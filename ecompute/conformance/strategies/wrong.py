"""Requests that are almost right: exactly one rule is broken, and it is known which."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from attrs import frozen
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from ecompute.contract import catalog, codec
from ecompute.contract import requests as ask

from . import faults
from .asked import requests
from .faults import MISSING, FieldFaults

R = TypeVar("R")


@frozen
class Almost:
    """A request in which one rule is broken.

    `body` is JSON; `parameters` are those of the path, `query` those of the query string. `path` is where the
    fault is, as a server tells it (`ssh_key_ids[1]`); `problem` says in words of our own what is wrong, and
    completes a sentence that begins with the field's name.
    """

    body: Mapping[str, Any]
    path: str
    problem: str
    parameters: Mapping[str, str] = {}
    query: Mapping[str, str] = {}


_NAME = faults.one_of(faults.missing, faults.no_text, faults.name(catalog.NAME_LENGTH[-1]))
_TYPES = faults.not_one_of("huge", "NANO", "nano ", "arm64", "0", "none")
_EXPIRIES = faults.not_one_of("1d", "30", "30D", "30 d", "0d", "-30d", "", "forever", "Never")
_SIZE = faults.query_number(catalog.TERMINAL_SIZE)

_BODIES: Mapping[type, FieldFaults] = {
    ask.CreateContainer: {
        "name": _NAME,
        "ssh_key_ids": faults.one_of(faults.missing, faults.no_list, faults.key_ids),
        "instance_type": faults.one_of(faults.no_text, _TYPES),
        "memory_mb": faults.one_of(faults.no_integer, faults.outside(catalog.MEMORY_MB, 0)),
        "storage_gb": faults.one_of(faults.no_integer, faults.outside(catalog.STORAGE_GB, 0)),
        "ssh_enabled": faults.no_flag,
        "mount_paths": faults.one_of(faults.no_list, faults.mount_paths),
    },
    ask.AddSSHKey: {
        "name": _NAME,
        "public_key": faults.one_of(faults.missing, faults.no_text, faults.public_key),
    },
    ask.SetSSHAccess: {"ssh_enabled": faults.one_of(faults.missing, faults.no_flag)},
    ask.AddIngress: {
        "port": faults.one_of(faults.missing, faults.no_integer, faults.ingress_port),
        "target_port": faults.one_of(faults.no_integer, faults.outside(catalog.TARGET_PORTS, 0)),
    },
    ask.SetMounts: {
        "mount_paths": faults.one_of(faults.missing, faults.no_list, faults.no_paths, faults.mount_paths)
    },
    ask.LogIn: {
        "username": faults.one_of(faults.missing, faults.no_text),
        "password": faults.one_of(faults.missing, faults.no_text),
    },
    ask.CreateToken: {
        "name": faults.one_of(faults.missing, faults.no_text, faults.name(catalog.TOKEN_NAME_LENGTH[-1])),
        "scopes": faults.one_of(faults.missing, faults.no_object, faults.granted_scopes),
        "expires_in": faults.one_of(faults.missing, faults.no_text, _EXPIRIES),
    },
}
_PARAMETERS: Mapping[type, FieldFaults] = {
    ask.DeleteSSHKey: {"id": faults.parameter},
    ask.RemoveIngress: {"port": faults.parameter},
}
_QUERIES: Mapping[type, FieldFaults] = {ask.OpenTerminal: {"rows": _SIZE, "cols": _SIZE}}

ALMOST: tuple[type, ...] = (*_BODIES, *_PARAMETERS, *_QUERIES)
"""The classes of requests that have a rule to break."""


def almost(cls: type[R], around: SearchStrategy[R] | None = None) -> SearchStrategy[Almost]:
    """Requests of a class with exactly one fault. `around` gives the good requests that are broken: for
    one's own server, those that name what is there.

    Raises:
        LookupError: no request of this class can be wrong in itself.
    """
    if cls not in ALMOST:
        raise LookupError(f"A {cls.__name__} has no rule that could be broken.")
    return _almost(cls, requests(cls) if around is None else around)


@st.composite
def _almost(draw: DrawFn, cls: type, around: SearchStrategy[Any]) -> Almost:
    written = codec.write_request(draw(around))
    fields: FieldFaults = _BODIES.get(cls) or _PARAMETERS.get(cls) or _QUERIES[cls]
    place = written.body if cls in _BODIES else written.path if cls in _PARAMETERS else written.query
    name = draw(st.sampled_from(tuple(fields)))
    broken = draw(fields[name](place.get(name)))
    changed: dict[str, Any] = {**place, name: broken.value}
    if broken.value is MISSING:
        del changed[name]
    return Almost(
        body=changed if cls in _BODIES else written.body,
        path=name + broken.place,
        problem=broken.problem,
        parameters=changed if cls in _PARAMETERS else written.path,
        query=changed if cls in _QUERIES else written.query,
    )
