"""Error answers in the OpenAPI document: for each status of a row one response, with its possible codes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from ecompute.contract import catalog
from ecompute.contract.endpoint import Channel, Endpoint
from ecompute.contract.problems import PROBLEMS, Code
from ecompute.contract.scopes import Action

from .examples import USER_ID
from .schemas import Schema, reference

Row = Endpoint[Any, Any] | Channel[Any, Any]

HEADERS: Mapping[str, Schema] = {
    "X-Request-Id": {
        "description": "Names this request in the server's log.",
        "required": True,
        "schema": {"type": "string", "pattern": "^[0-9a-f]{16}$"},
    },
    "Idempotency-Supported": {
        "description": "The server honours `Idempotency-Key`.",
        "required": True,
        "schema": {"type": "string", "const": "true"},
    },
    "Retry-After": {
        "description": "After how many seconds to try again.",
        "required": True,
        "schema": {"type": "string", "pattern": "^[0-9]+$"},
    },
    "WWW-Authenticate": {
        "description": "Which kind of credential is asked for (RFC 6750 §3).",
        "required": True,
        "schema": {"type": "string", "pattern": "^Bearer"},
    },
}
ALWAYS = ("X-Request-Id", "Idempotency-Supported")


ERROR: Schema = {
    "type": "object",
    "description": "Every answer that is no success.",
    "properties": {
        "error": {"type": "string", "minLength": 1, "description": "One sentence for people."},
        "code": {
            "type": "string",
            "enum": [*map(str, Code)],
            "description": "The error's word for programs.",
        },
        "fields": {
            "type": "array",
            "description": "Every rule that the request breaks.",
            "items": {
                "type": "object",
                "properties": {
                    "path": {"type": "string", "description": "Where; empty for the body as a whole."},
                    "problem": {"type": "string", "description": "What is wrong there."},
                },
                "required": ["path", "problem"],
            },
        },
        "needed": {
            "type": "object",
            "description": "What the credential lacks.",
            "properties": {
                "scope": {"type": "string"},
                "action": {"type": "string", "enum": [*map(str, Action)]},
            },
            "required": ["scope", "action"],
        },
    },
    "required": ["error", "code"],
}


def header_references(names: Iterable[str]) -> dict[str, Schema]:
    """References to headers of `HEADERS`, by name."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def errors_by_status(row: Row) -> dict[int, tuple[Code, ...]]:
    """The errors of a row, those of one status together."""
    found: dict[int, list[Code]] = defaultdict(list)
    for code in row.errors:
        found[PROBLEMS[code].status].append(code)
    return {status: tuple(codes) for status, codes in sorted(found.items())}


def error_example(code: Code) -> dict[str, Any]:
    """A worked body of an error answer."""
    body: dict[str, Any] = {"error": PROBLEMS[code].meaning, "code": str(code)}
    if code is Code.INVALID_REQUEST:
        low, high = catalog.MEMORY_MB[0], catalog.MEMORY_MB[-1]
        body["fields"] = [{"path": "memory_mb", "problem": f"must be {low} to {high}"}]
    if code is Code.FORBIDDEN:
        body["needed"] = {"scope": f"compute.{USER_ID}.containers", "action": "create"}
    return body


def references(row: Row) -> dict[str, Any]:
    """The refusals of a row by status, each a reference to one of `responses`."""
    return {
        str(status): {"$ref": f"#/components/responses/{_refusal_name(codes)}"}
        for status, codes in errors_by_status(row).items()
    }


def _refusal_name(codes: tuple[Code, ...]) -> str:
    return "Or".join(code.replace("_", " ").title().replace(" ", "") for code in codes)


def responses(rows: Iterable[Row]) -> dict[str, Any]:
    """The answers that `references` points at."""
    groups = {codes for row in rows for codes in errors_by_status(row).values()}
    return {_refusal_name(codes): _refusal(codes) for codes in sorted(groups)}


def _refusal(codes: tuple[Code, ...]) -> dict[str, Any]:
    own = tuple(dict.fromkeys(header for code in codes for header in PROBLEMS[code].headers))
    narrowed = {"properties": {"code": {"enum": [str(code) for code in codes]}}}
    return {
        "description": " ".join(PROBLEMS[code].meaning for code in codes),
        "headers": header_references((*ALWAYS, *own)),
        "content": {
            "application/json": {
                "schema": {"allOf": [reference("Error"), narrowed]},
                "examples": {str(code): {"value": error_example(code)} for code in codes},
            }
        },
    }
