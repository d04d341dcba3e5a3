"""The tables as an OpenAPI 3.1 document.

Each WebSocket is a GET whose success is 101; `x-websocket` says what travels on it. `x-scope` and `x-action`
are what a row needs of a token.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import attrs

from ecompute.contract import catalog, codec, messages
from ecompute.contract.endpoint import Auth, Channel, Endpoint, path_parameters, request_fields
from ecompute.contract.endpoints import CHANNELS, ENDPOINTS
from ecompute.contract.rules import Bounds

from . import refusals, samples, schemas
from .conversations import CONVERSATIONS, Conversation
from .examples import ANSWERS, EXAMPLES
from .schemas import Schema, reference
from .words import about, details, meaning

Row = Endpoint[Any, Any] | Channel[Any, Any]
ROWS: tuple[Row, ...] = (*ENDPOINTS, *CHANNELS)

NOUNS: Mapping[str, tuple[str, str]] = {
    "containers": ("Containers", "Machines that run, stop and start again, with their data."),
    "ssh_keys": ("SSH keys", "The public keys that open containers."),
    "ssh_access": ("SSH access", "SSH from outside, by container."),
    "ingress": ("Ingress rules", "Ports of containers that can be reached from outside."),
    "mounts": ("Mount paths", "What of a container persists over stop and start."),
    "login": ("Sessions", "Who the caller is."),
    "session": ("Sessions", "Who the caller is."),
    "logout": ("Sessions", "Who the caller is."),
    "tokens": ("API tokens", "Credentials with a part of their maker's rights."),
    "events": ("WebSockets", "Status changes as they happen, and terminals."),
    "terminal": ("WebSockets", "Status changes as they happen, and terminals."),
}
"""The heading, and a sentence about it, under which each noun's rows stand."""

ABOUT = (
    "Containers, each a machine of its own. Every success is 200 with a JSON body; every error is a JSON "
    "object with a sentence in `error` and a word for programs in `code`. HEAD works where GET does. Unknown "
    "fields of a body are ignored. Checks come in this order: path and method, credential, scope, what the "
    "path names, the body, the present state."
    " Every answer has an `X-Request-Id`, by which the server's log knows it, and says"
    " `Idempotency-Supported: true` where idempotency keys are honoured. Web pages may call the API from the"
    " origins that the operator allows."
)


def document(*, version: str, server_url: str | None = None, bounds: Bounds | None = None) -> dict[str, Any]:
    """The whole API as an OpenAPI 3.1.0 document, ready for `json.dumps`.

    `version` is that of the software; `bounds` are the host's, where they are tighter than the contract's.
    """
    limits = bounds or Bounds()
    paths: dict[str, dict[str, Any]] = defaultdict(dict)
    for row in ENDPOINTS:
        paths[row.path][row.method.lower()] = _operation(row, limits)
    for channel in CHANNELS:
        paths[channel.path][channel.method.lower()] = _channel(channel, limits)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Compute API", "version": version, "description": ABOUT},
        **({"servers": [{"url": server_url}]} if server_url else {}),
        "tags": [{"name": name, "description": words} for name, words in dict(NOUNS.values()).items()],
        "paths": dict(paths),
        "components": {
            "schemas": _schemas(limits),
            "responses": refusals.responses(ROWS),
            "headers": {name: dict(header) for name, header in refusals.HEADERS.items()},
            "securitySchemes": _SECURITY,
        },
    }


# --- operations -----------------------------------------------------------------------------------


def operation_id(row: Row) -> str:
    """The row's name as an identifier."""
    return row.name.replace(".", "_")


def noun(row: Row) -> str:
    """The heading under which a row stands."""
    return NOUNS[row.name.partition(".")[0]][0]


def needs(row: Row) -> str:
    """What a row needs of its caller, as the end of a sentence."""
    if row.scope is not None:
        return f"a session, or a token with `{row.action}` on `{row.scope}`"
    match row.auth:
        case Auth.NONE:
            return "no credential"
        case Auth.SESSION:
            return "a session; an API token is refused"
        case Auth.ANY:
            return "a session or a token of any scope"


def answer_example(row: Endpoint[Any, Any]) -> Any:
    """The JSON body of a worked answer."""
    return codec.unstructure(ANSWERS.get(row.name, EXAMPLES[row.response]))


def request_example(row: Row) -> codec.Written:
    """Path, query and body of a worked request."""
    return codec.write_request(EXAMPLES[row.request])


def _common(row: Row, bounds: Bounds) -> dict[str, Any]:
    scope = {} if row.scope is None else {"x-scope": row.scope, "x-action": str(row.action)}
    words = [details(row.request), f"Needs {needs(row)}."]
    return {
        "operationId": operation_id(row),
        "summary": row.summary,
        "description": "\n\n".join(filter(None, words)),
        "tags": [noun(row)],
        "security": _security(row),
        **scope,
        "parameters": _parameters(row, bounds),
        "x-codeSamples": [
            {"lang": "Shell", "label": "curl", "source": samples.curl(row)},
            {"lang": "Python", "label": "Python", "source": samples.python(row)},
        ],
    }


def _operation(row: Endpoint[Any, Any], bounds: Bounds) -> dict[str, Any]:
    operation = _common(row, bounds)
    if row.has_body:
        operation["requestBody"] = {
            "required": True,
            "content": _json_content(reference(row.request.__name__), request_example(row).body),
        }
    success: dict[str, Any] = {
        "description": about(row.response),
        "headers": refusals.header_references(refusals.ALWAYS),
        "content": _json_content(reference(row.response.__name__), answer_example(row)),
    }
    links = _links(row)
    if links:
        success["links"] = links
    operation["responses"] = {"200": success, **refusals.references(row)}
    return operation


def _channel(row: Channel[Any, Any], bounds: Bounds) -> dict[str, Any]:
    operation = _common(row, bounds)
    operation["description"] += (
        "\n\nThis is a WebSocket (RFC 6455). Refusals come before the upgrade, as ordinary answers; a "
        "request that asks for no upgrade is refused with 400."
    )
    operation["x-websocket"] = {
        "subprotocols": list(row.subprotocols),
        "conversations": [_conversation(one) for one in CONVERSATIONS[row.name]],
        "closeCodes": {str(int(code)): words for code, words in messages.CLOSE_MEANINGS.items()},
    }
    upgraded: dict[str, Any] = {
        "Upgrade": {"description": "`websocket`.", "required": True, "schema": {"type": "string"}},
        "Connection": {"description": "`Upgrade`.", "required": True, "schema": {"type": "string"}},
        "Sec-WebSocket-Accept": {
            "description": "Proof that the key of the request was read (RFC 6455 §4.2.2).",
            "required": True,
            "schema": {"type": "string"},
        },
    }
    if row.subprotocols:
        upgraded["Sec-WebSocket-Protocol"] = {
            "description": "The subprotocol of those offered that was chosen; left out when none was.",
            "schema": {"type": "string", "enum": list(row.subprotocols)},
        }
    headers = {**upgraded, **refusals.header_references(refusals.ALWAYS)}
    operation["responses"] = {
        "101": {"description": "The connection is a WebSocket now.", "headers": headers},
        **refusals.references(row),
    }
    return operation


def _conversation(one: Conversation) -> dict[str, Any]:
    return {
        "subprotocol": one.subprotocol,
        "send": [reference(cls.__name__) for cls in one.send],
        "receive": [reference(cls.__name__) for cls in one.receive],
        "text": one.text,
        "binary": one.binary,
    }


def _parameters(row: Row, bounds: Bounds) -> list[dict[str, Any]]:
    written = request_example(row)
    found = []
    for spec in request_fields(row.request):
        if spec.place == "body":
            continue
        found.append(
            {
                "name": spec.name,
                "in": spec.place,
                "required": spec.place == "path",
                "description": meaning(row.request, spec.name),
                "schema": schemas.parameter(spec, bounds),
                "example": getattr(EXAMPLES[row.request], spec.name),
            }
        )
    assert {**written.path, **written.query}.keys() == {one["name"] for one in found}
    if isinstance(row, Endpoint) and row.takes_idempotency_key:
        found.append(_IDEMPOTENCY_KEY)
    return found


_IDEMPOTENCY_KEY: dict[str, Any] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": (
        f"Makes the request safe to repeat: for {catalog.IDEMPOTENCY_HOURS} hours the same user, path and "
        "key get the first success again, without a second effect. With another body, or while the first "
        "request is on its way, the answer is 409."
    ),
    "schema": {"type": "string", "pattern": schemas.IDEMPOTENCY_KEY},
}


def _links(row: Endpoint[Any, Any]) -> dict[str, Any]:
    """What can be done next with the thing that a row made: the rows below its path."""
    if row.method != "POST" or "id" not in {a.name for a in attrs.fields(row.response)}:
        return {}
    made = row.path + "/{"
    return {
        operation_id(other): {
            "operationId": operation_id(other),
            "parameters": {name: _source(row, name) for name in path_parameters(other.path)},
        }
        for other in ROWS
        if other.path.startswith(made)
    }


def _source(row: Endpoint[Any, Any], name: str) -> str:
    return f"$request.path.{name}" if name in path_parameters(row.path) else f"$response.body#/{name}"


def _json_content(schema: Schema, example: Any) -> dict[str, Any]:
    return {"application/json": {"schema": schema, "examples": {"example": {"value": example}}}}


# --- components -----------------------------------------------------------------------------------

_SECURITY: Mapping[str, Schema] = {
    "credential": {
        "type": "http",
        "scheme": "bearer",
        "description": "A session token or an API token (RFC 6750 §2.1).",
    },
    "session": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "A session token; an API token is refused.",
    },
    "query": {
        "type": "apiKey",
        "in": "query",
        "name": "token",
        "description": "Either kind of token; on WebSockets only, since a browser cannot set their headers.",
    },
}


def _security(row: Row) -> list[dict[str, list[str]]]:
    match row.auth:
        case Auth.NONE:
            return []
        case Auth.SESSION:
            return [{"session": []}]
        case Auth.ANY:
            header: dict[str, list[str]] = {"credential": []}
            return [header, {"query": []}] if isinstance(row, Channel) else [header]


def _schemas(bounds: Bounds) -> dict[str, Schema]:
    bodies = {row.request.__name__: schemas.body(row.request, bounds) for row in ENDPOINTS if row.has_body}
    nouns = {cls.__name__: schemas.resource(cls) for cls in EXAMPLES if cls.__module__.endswith(".resources")}
    said = {
        cls.__name__: schemas.message(cls)
        for conversations in CONVERSATIONS.values()
        for one in conversations
        for cls in (*one.send, *one.receive)
    }
    return {**bodies, **nouns, **said, "Error": refusals.ERROR}
