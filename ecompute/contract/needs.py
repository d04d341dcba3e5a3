"""What operations need: the rows behind each method of a client, and the least grants for them.

A method that is a row has the row's name; the tables here tell the others. Nothing here imports a client: a
method is known by its name and its class's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from .endpoint import Auth, Channel, Endpoint
from .endpoints import (
    ADD_SSH_KEY,
    CHANNELS,
    CREATE_CONTAINER,
    DELETE_CONTAINER,
    DELETE_SSH_KEY,
    ENDPOINTS,
    EVENTS,
    GET_CONTAINER,
    TERMINAL,
)
from .scopes import CALLER, Grants, Scope, ScopeError, checked_id, checked_user

Row = Endpoint[Any, Any] | Channel[Any, Any]

ROWS: tuple[Row, ...] = (*ENDPOINTS, *CHANNELS)
"""Every row of both tables."""

_BY_NAME: Mapping[str, Row] = {row.name: row for row in ROWS}

COMPOSED: Mapping[str, tuple[Row, ...]] = {
    "containers.wait": (GET_CONTAINER,),
    "containers.wait_all": (GET_CONTAINER,),
    "run": (TERMINAL,),
    "copy_to": (TERMINAL,),
    "copy_from": (TERMINAL,),
    # what it looks at besides is below what the feed needs
    "watch": (EVENTS,),
    "temporary": (ADD_SSH_KEY, CREATE_CONTAINER, GET_CONTAINER, DELETE_CONTAINER, DELETE_SSH_KEY),
    # it repeats one of these
    "resolve": (CREATE_CONTAINER, ADD_SSH_KEY),
    "with_options": (),
    "close": (),
    "aclose": (),
}
"""The methods of a client that are no row of the same name, with the rows that each cannot do without."""

OPTIONS: Mapping[str, Mapping[str, tuple[Row, ...]]] = {
    "containers.create": {"wait": (GET_CONTAINER,), "delete_on_failure": (DELETE_CONTAINER,)},
    "containers.start": {"wait": (GET_CONTAINER,)},
}
"""Arguments that make an operation need more."""

_GROUPS: Mapping[str, str] = {
    "Client": "",
    "Containers": "containers.",
    "SSHKeys": "ssh_keys.",
    "SSHSwitch": "ssh_access.",
    "Ingress": "ingress.",
    "MountPaths": "mounts.",
    "Tokens": "tokens.",
}

_FUNCTIONS: Mapping[str, str] = {"login": "login", "login_async": "login"}

_OF_CONTAINER: Mapping[str, str] = {
    "refresh": "containers.get",
    "start": "containers.start",
    "stop": "containers.stop",
    "delete": "containers.delete",
    "wait": "containers.wait",
    "get_ssh_access": "ssh_access.get",
    "set_ssh_access": "ssh_access.set",
    "list_ingress": "ingress.list",
    "add_ingress": "ingress.add",
    "remove_ingress": "ingress.remove",
    "get_mounts": "mounts.get",
    "set_mounts": "mounts.set",
    "terminal": "terminal",
    "run": "run",
    "copy_to": "copy_to",
    "copy_from": "copy_from",
}


def needed(
    operation: Callable[..., object] | Row | str,
    id: object,
    user_id: str | None,
    options: Iterable[str] = (),
) -> Grants:
    """As `Grants.needed_for`; `options` are the arguments that are set.

    Raises:
        ScopeError: as for that.
    """
    name = name_of(operation)
    rows = [*uses(name)]
    for option in options:
        more = OPTIONS.get(name, {}).get(option)
        if more is None:
            raise ScopeError(f"The operation {name} has no argument {option}.")
        rows += more
    if id is None and _class_of(operation) == "Container":
        id = getattr(operation, "__self__", None)
    if callable(id):
        raise ScopeError("A second operation is no id: the grants of several operations join with `|`.")
    user = CALLER if user_id is None else checked_user(user_id)
    things = id if isinstance(id, list | tuple) else [id]
    if CREATE_CONTAINER in rows:
        # what is not there yet has no id
        things = [None]
    return Grants.of(
        (_scope(row.scope, user, thing), row.action)
        for row in rows
        for thing in things
        if row.scope is not None and row.action is not None
    )


def _scope(template: str, user_id: str, thing: object) -> Scope:
    id_ = getattr(thing, "id", thing)
    if id_ is None or "<id>" not in template:
        return Scope.fill(template, user_id=user_id)
    if not isinstance(id_, str):
        raise ScopeError("The id of a container is a text.")
    return Scope.fill(template, user_id=user_id, id=checked_id(id_))


def uses(name: str) -> Sequence[Row]:
    """The rows that an operation uses.

    Raises:
        ScopeError: there is no such operation, or only a session may do it.
    """
    if name in COMPOSED:
        return COMPOSED[name]
    row = _BY_NAME.get(name)
    if row is None:
        raise ScopeError(f"There is no operation {name}.")
    if row.auth is Auth.SESSION:
        raise ScopeError(f"The operation {name} can be granted to no API token: it needs a session.")
    return (row,)


def name_of(operation: Callable[..., object] | Row | str) -> str:
    """The name of an operation: of a row, or of a method that the tables here know.

    Raises:
        ScopeError: it is no operation of a client.
    """
    if isinstance(operation, str):
        return operation
    if isinstance(operation, Endpoint | Channel):
        return operation.name
    kind, method = _class_of(operation), getattr(operation, "__name__", "")
    match kind:
        case "Container":
            known = _OF_CONTAINER.get(method)
        case "":
            known = _FUNCTIONS.get(method)
        case _:
            group = None if kind is None else _GROUPS.get(kind)
            known = None if group is None else f"{group}{method}"
    if known is None:
        raise ScopeError(
            "This is no operation: take a method of a client or a container, a row, or its name."
        )
    return known


def _class_of(operation: object) -> str | None:
    """The class that a method was written in, by the name of the sync twin; "" for a function, None for what
    is not of this library.
    """
    if getattr(operation, "__module__", "").partition(".")[0] != __name__.partition(".")[0]:
        return None
    return str(getattr(operation, "__qualname__", "")).rpartition(".")[0].removeprefix("Async")
