"""JSON Schema 2020-12 of the contract's classes, made from their types and rules.

What a regular expression cannot tell stands as a `format`: `printable-name` (no character that does not
print), `ssh-public-key` (the key is well-formed) and `mount-path` (at most 255 bytes). Patterns name
characters one by one, since `\\s` and `\\w` mean something else in each dialect of regular expressions.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Union, get_args, get_origin

import attrs

from ecompute.contract import catalog, messages, resources, rules
from ecompute.contract.endpoint import RequestField, request_fields
from ecompute.contract.rules import Bounds, Rule
from ecompute.contract.scopes import SERVICES, Action

from .words import about, meaning

Schema = dict[str, Any]

CONTAINER_ID = "^[a-z0-9]{8}$"
IDEMPOTENCY_KEY = "^[!-~]([ -~]{0,253}[!-~])?$"
INGRESS_PORT: Schema = {
    "type": "integer",
    "anyOf": [{"enum": [80, 443]}, {"minimum": 8000, "maximum": 8999}],
}

_SPACE = "\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000"
_UNPRINTABLE = "\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029"


def _name(lengths: range) -> Schema:
    inner, edge = f"[^{_UNPRINTABLE}]", f"[^{_UNPRINTABLE}{_SPACE}]"
    most = lengths[-1] - 2
    return {
        "pattern": f"^[{_SPACE}]*{edge}({inner}{{0,{most}}}{edge})?[{_SPACE}]*$",
        "format": "printable-name",
    }


def _within(allowed: range) -> Schema:
    return {"minimum": allowed[0], "maximum": allowed[-1]}


def _public_key() -> Schema:
    kinds = "|".join(catalog.PUBLIC_KEY_TYPES)
    comment = f"([{_SPACE}][^\\x00-\\x08\\x0a-\\x1f\\x7f\\x85\\u2028\\u2029]*)?"
    return {
        "pattern": f"^[ \\t\\r\\n]*({kinds})[ \\t][{_SPACE}]*AAAA[A-Za-z0-9+/]+=?=?{comment}[ \\t\\r\\n]*$",
        "format": "ssh-public-key",
    }


def _mount_path() -> Schema:
    roots = "|".join(root[1:] for root in rules.FORBIDDEN_ROOTS)
    root, system = "\\.?(?![\\s\\S])", f"({roots})(?![^/])|lib"
    return {
        "type": "string",
        "pattern": f"^(?!/(\\.?/)*({root}|{system}))(?![^\\x00]*/\\.\\.(?![^/]))/[^\\x00]*$",
        "maxLength": catalog.MAX_MOUNT_PATH_BYTES,
        "format": "mount-path",
    }


def _scopes() -> Schema:
    services = "|".join(
        f"{service}\\.[a-z0-9]{{1,64}}(\\.({'|'.join(sorted(kinds))})(\\.[A-Za-z0-9_-]{{1,64}})?)?"
        for service, kinds in SERVICES.items()
    )
    return {
        "minProperties": 1,
        "propertyNames": {"pattern": f"^({services})$"},
        "additionalProperties": {
            "type": "array",
            "minItems": 1,
            "items": {"type": "string", "enum": [*Action]},
        },
    }


RULES: Mapping[Rule, Callable[[Bounds], Schema]] = {
    rules.container_name: lambda _: _name(catalog.NAME_LENGTH),
    rules.token_name: lambda _: _name(catalog.TOKEN_NAME_LENGTH),
    rules.instance_type: lambda _: {"enum": [*catalog.INSTANCE_TYPES]},
    rules.memory_mb: lambda bounds: _within(bounds.memory_mb),
    rules.storage_gb: lambda bounds: _within(bounds.storage_gb),
    rules.terminal_size: lambda _: _within(catalog.TERMINAL_SIZE),
    rules.ingress_port: lambda _: INGRESS_PORT,
    rules.target_port: lambda _: _within(catalog.TARGET_PORTS),
    rules.expires_in: lambda _: {"enum": [*catalog.TOKEN_EXPIRIES]},
    rules.token_scopes: lambda _: _scopes(),
    rules.key_ids: lambda _: {"minItems": 1, "uniqueItems": True},
    rules.public_key: lambda _: _public_key(),
    rules.mount_paths: lambda _: {"minItems": 1, "items": _mount_path()},
}
"""What each rule of `rules` adds to the schema of its type."""

_EXACT: Mapping[tuple[type, str], Schema] = {
    (resources.Acknowledgement, "status"): {"const": "ok"},
    (resources.Container, "id"): {"pattern": CONTAINER_ID},
    (resources.Container, "instance_type"): {"enum": [*catalog.INSTANCE_TYPES]},
    (resources.Container, "status"): {"enum": [*catalog.Status]},
    (resources.IngressRule, "port"): INGRESS_PORT,
    (resources.IngressRule, "target_port"): _within(catalog.TARGET_PORTS),
    (messages.ContainerStatus, "container_id"): {"pattern": CONTAINER_ID},
    (messages.ContainerStatus, "status"): {"enum": [*catalog.Status]},
    (messages.ContainerDeleted, "container_id"): {"pattern": CONTAINER_ID},
}


def reference(name: str) -> Schema:
    """A reference to one of the document's schemas."""
    return {"$ref": f"#/components/schemas/{name}"}


_PLAIN: Mapping[Any, Schema] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    datetime: {"type": "string", "format": "date-time"},
}


def of_type(kind: Any) -> Schema:
    """The schema of a field's type; None in a union is not part of it."""
    if kind in _PLAIN:
        return dict(_PLAIN[kind])
    if get_origin(kind) in (Union, types.UnionType):
        (one,) = (part for part in get_args(kind) if part is not type(None))
        return of_type(one)
    if get_origin(kind) is tuple:
        return {"type": "array", "items": of_type(get_args(kind)[0])}
    if get_origin(kind) is Mapping:
        return {"type": "object", "additionalProperties": of_type(get_args(kind)[1])}
    return reference(kind.__name__)


def _ruled(spec: RequestField, bounds: Bounds) -> Schema:
    schema = of_type(spec.type)
    return {**schema, **RULES[spec.rule](bounds)} if spec.rule else schema


def parameter(spec: RequestField, bounds: Bounds) -> Schema:
    """The schema of a field that stands in the path or the query."""
    schema = _ruled(spec, bounds)
    if spec.place == "path" and spec.type is str:
        return {**schema, "minLength": 1}
    if spec.place == "path":
        return schema
    return {**schema, "default": spec.default}


def body(cls: type, bounds: Bounds) -> Schema:
    """The schema of a request's JSON body. Unknown fields are allowed, and ignored by the server."""
    fields = [spec for spec in request_fields(cls) if spec.place == "body"]
    return {
        "type": "object",
        "description": about(cls),
        "properties": {spec.name: _body_field(cls, spec, bounds) for spec in fields},
        "required": [spec.name for spec in fields if not spec.has_default],
    }


def _body_field(cls: type, spec: RequestField, bounds: Bounds) -> Schema:
    words = {"description": meaning(cls, spec.name)}
    schema = _ruled(spec, bounds)
    if not spec.has_default:
        return {**words, **schema}
    unset: Schema = {"enum": [None, *spec.empty], "description": "The same as leaving it out."}
    default = {} if spec.default is None else {"default": _json(spec.default)}
    return {**words, "anyOf": [schema, unset], **default}


def _json(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def resource(cls: type) -> Schema:
    """The schema of a resource, or of what a message tells: fields that can be without a value are left out
    when they are, and a newer server may send more.
    """
    attrs.resolve_types(cls)
    fields = [a for a in attrs.fields(cls) if a.name != "extra"]
    return {
        "type": "object",
        "description": about(cls),
        "properties": {
            a.name: {
                "description": meaning(cls, a.name),
                **of_type(a.type),
                **_EXACT.get((cls, a.name), {}),
            }
            for a in fields
        },
        "required": [a.name for a in fields if type(None) not in get_args(a.type)],
    }


def message(cls: type) -> Schema:
    """The schema of a WebSocket's JSON message as it travels."""
    if cls is messages.ContainerSnapshot:
        return _typed("containers", cls, {"data": of_type(tuple[resources.Container, ...])})
    for type_, one in messages.MESSAGE_TYPES.items():
        if one is cls:
            return _typed(type_, cls, {"data": resource(cls)})
    inner = resource(cls)
    for type_, control in messages.CONTROL_TYPES.items():
        if control is cls:
            return _typed(type_, cls, inner["properties"])
    # a message that clients send has fields that may be left out
    optional = {a.name for a in attrs.fields(cls) if a.default is not attrs.NOTHING}
    return {**inner, "required": [name for name in inner["required"] if name not in optional]}


def _typed(type_: str, cls: type, properties: Schema) -> Schema:
    return {
        "type": "object",
        "description": about(cls),
        "properties": {"type": {"const": type_}, **properties},
        "required": ["type", *properties],
    }
