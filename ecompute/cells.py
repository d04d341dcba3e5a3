"""What people are shown of each kind of object: headings, and a text for each.

Tables of notebooks and of live views are made of these. No text holds a credential, and one that has nothing
to tell is empty.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from .contract.catalog import INSTANCE_TYPES
from .contract.resources import (
    Container,
    IngressRule,
    Mounts,
    Session,
    SSHAccess,
    SSHKey,
    Token,
)

Cells = Sequence[tuple[str, Callable[[Any], str]]]

STATUS = "status"
"""The heading whose texts are statuses."""
TYPED = frozenset(("id", "SSH", "key", "scopes", "paths that persist"))
"""The headings of what is typed or pasted elsewhere."""
PROSE = frozenset(("name", "reason", "request", "faults"))
"""The headings of texts that may be long: these are broken into lines."""


def _memory(box: Container) -> str:
    used = "" if box.memory_used_mb is None else f"{box.memory_used_mb} of "
    return f"{used}{box.memory_mb} MB" if box.memory_mb else ""


def _storage(box: Container) -> str:
    used = "" if box.storage_used_gb is None else f"{box.storage_used_gb:.1f} of "
    return f"{used}{box.storage_gb} GB" if box.storage_gb else ""


def _type(box: Container) -> str:
    known = INSTANCE_TYPES.get(box.instance_type)
    return box.instance_type if known is None else f"{known.name}, {known.arch}"


def _key(key: SSHKey) -> str:
    type_, _, rest = key.public_key.partition(" ")
    encoded, _, comment = rest.partition(" ")
    return f"{type_} …{encoded[-12:]} {comment}".rstrip()


def _scopes(token: Token) -> str:
    return "\n".join(f"{scope}: {', '.join(actions)}" for scope, actions in sorted(token.scopes.items()))


def _secret(token: Token) -> str:
    return "in .token, told this once" if token.token else ""


def yes_no(value: bool) -> str:
    return "yes" if value else "no"


def moment(time: datetime | int) -> str:
    """A time of a resource, to the minute; nothing for the epoch, which stands for one that is not told. One
    that is beyond the calendar is told in seconds.
    """
    if not time:
        return ""
    try:
        told = datetime.fromtimestamp(time, UTC) if isinstance(time, int) else time.astimezone(UTC)
    except (OverflowError, ValueError, OSError):
        return f"{time} seconds after 1970" if isinstance(time, int) else time.isoformat()
    return f"{told:%Y-%m-%d %H:%M} UTC" if told.timestamp() else ""


IN_LISTS: Mapping[type, Cells] = {
    Container: (
        ("name", lambda box: box.name),
        (STATUS, lambda box: box.status),
        ("id", lambda box: box.id),
        ("type", _type),
        ("memory", _memory),
        ("storage", _storage),
        ("address", lambda box: box.external_ip or ""),
        ("SSH", lambda box: box.ssh_command or ""),
        ("reason", lambda box: box.status_reason or ""),
    ),
    SSHKey: (
        ("name", lambda key: key.name),
        ("id", lambda key: str(key.id)),
        ("key", _key),
        ("created", lambda key: moment(key.created_at)),
    ),
    IngressRule: (
        ("port", lambda rule: str(rule.port)),
        ("leads to", lambda rule: str(rule.target_port)),
        ("id", lambda rule: str(rule.id)),
        ("created", lambda rule: moment(rule.created_at)),
    ),
    Token: (
        ("name", lambda token: token.name),
        ("id", lambda token: token.id),
        ("scopes", _scopes),
        ("expires", lambda token: moment(token.expires_at) or "never"),
        ("last used", lambda token: moment(token.last_used_at) or "never"),
    ),
}
"""The columns of lists."""

ALONE: Mapping[type, Cells] = {
    Container: (
        *IN_LISTS[Container],
        ("hostname", lambda box: box.hostname),
        ("HTTPS", lambda box: "published" if box.https_enabled else ""),
        ("created", lambda box: moment(box.created_at)),
    ),
    SSHKey: IN_LISTS[SSHKey],
    IngressRule: IN_LISTS[IngressRule],
    Token: (*IN_LISTS[Token], ("secret", _secret)),
    Mounts: (
        ("paths that persist", lambda mounts: "\n".join(mounts.mount_paths)),
        ("restarted", lambda mounts: "" if mounts.restarted is None else yes_no(mounts.restarted)),
    ),
    SSHAccess: (("SSH from outside", lambda access: "on" if access.ssh_enabled else "off"),),
    Session: (
        ("user", lambda session: session.username),
        ("id", lambda session: session.user_id),
        ("name", lambda session: session.display_name),
        ("administrator", lambda session: yes_no(session.is_admin)),
    ),
}
"""The lines of one object that stands alone."""


def kind_of(element: object, table: Mapping[type, Cells]) -> type | None:
    """The kind that an object is of, itself or by its class, or None."""
    return next((kind for kind in type(element).__mro__ if kind in table), None)


def columns(elements: Sequence[object]) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    """Headings and rows of a list of one kind, without columns that are empty throughout; else none."""
    kinds = {kind_of(element, IN_LISTS) for element in elements}
    kind = kinds.pop() if len(kinds) == 1 else None
    if kind is None:
        return (), ()
    full = [[text(element) for _, text in IN_LISTS[kind]] for element in elements]
    told = [place for place, column in enumerate(zip(*full, strict=True)) if any(column)]
    return [IN_LISTS[kind][place][0] for place in told], [[row[place] for place in told] for row in full]


def lines(element: object) -> Sequence[tuple[str, str]]:
    """What is told of one object, without what is empty."""
    kind = kind_of(element, ALONE)
    cells = () if kind is None else ALONE[kind]
    return [(heading, shown) for heading, text in cells if (shown := text(element))]
