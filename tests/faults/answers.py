"""Mistakes in the form of answers, and in reading what clients send."""

from __future__ import annotations

import json
from typing import Any

import attrs

from ecompute.contract.problems import PROBLEMS, Code, Fault

from .fault import fault, wrap


@fault("ERR-001", area="errors")
def error_without_code() -> None:
    """Errors have no `code`."""
    from ecompute_server.core.refusal import Refusal

    wrap(Refusal, "body", lambda old, self: {k: v for k, v in old(self).items() if k != "code"})


@fault("ERR-006", area="errors")
def error_repeats_the_id() -> None:
    """A 404 repeats the id of the path."""
    from ecompute_server.core.refusal import Refusal
    from ecompute_server.http import gate

    old = gate.container_of

    def container_of(services: Any, row: Any, connection: Any, caller: Any) -> Any:
        try:
            return old(services, row, connection, caller)
        except Refusal as error:
            error.message = f"There is no container {connection.path_params['id']}."
            raise

    from ecompute_server.http import app

    app.container_of = container_of  # type: ignore[attr-defined]


@fault("ERR-006", area="errors")
def error_repeats_the_body() -> None:
    """A 400 repeats the value that was wrong."""
    from ecompute.contract import rules

    old = rules.instance_type

    def instance_type(value: str, bounds: Any) -> str:
        try:
            return old(value, bounds)
        except rules.Broken:
            raise rules.Broken(f"must not be {value}") from None

    from ecompute.contract import requests as ask

    from .fault import request_field

    request_field(ask.CreateContainer, "instance_type", rule=instance_type)


@fault("ERR-005", area="errors")
def request_id_always_the_same() -> None:
    """`X-Request-Id` is the same on every answer."""
    from ecompute_server.http import app

    class Same:
        @staticmethod
        def token_hex(count: int) -> str:
            return "0" * 2 * count

    app.secrets = Same  # type: ignore[assignment]


@fault("ERR-004", area="errors")
def request_id_missing_on_errors() -> None:
    """Errors come without `X-Request-Id`."""
    from ecompute_server.http.app import Api

    async def call(old: Any, self: Any, scope: Any, receive: Any, send: Any) -> None:
        async def stripped(message: Any) -> None:
            if message["type"] == "http.response.start" and message["status"] >= 400:
                headers = [pair for pair in message["headers"] if pair[0].lower() != b"x-request-id"]
                message = {**message, "headers": headers}
            await send(message)

        await old(self, scope, receive, stripped)

    wrap(Api, "__call__", call)


@fault("ERR-003", area="errors")
def errors_as_html() -> None:
    """Errors are told in HTML."""
    from starlette.responses import Response

    from ecompute_server.http import responses

    def error(old: Any, refusal: Any) -> Any:
        return Response(f"<h1>{refusal.message}</h1>", refusal.status, dict(refusal.headers), "text/html")

    wrap(responses, "error", error)


@fault("ERR-007", area="errors")
def unknown_path_is_401() -> None:
    """An unknown path is answered with 401 to who has no credential."""
    from ecompute_server.core.refusal import Refusal
    from ecompute_server.http.app import Api

    async def unknown(old: Any, self: Any, scope: Any, receive: Any, send: Any) -> None:
        if not any(name == b"authorization" for name, _ in scope["headers"]):
            raise Refusal(Code.UNAUTHENTICATED, "A credential is needed.")
        await old(self, scope, receive, send)

    wrap(Api, "_unknown", unknown)


@fault("ERR-009", area="errors")
def wrong_method_without_allow() -> None:
    """A 405 comes without `Allow`."""
    from ecompute_server.core.refusal import Refusal
    from ecompute_server.http import app

    wrap(app, "_wrong_method", lambda old, allowed: Refusal(Code.METHOD_NOT_ALLOWED, "Not this way."))


@fault("ERR-010", area="errors")
def body_before_scope() -> None:
    """A malformed body is told to a token that may not do this at all."""
    from ecompute_server.core.refusal import invalid
    from ecompute_server.http import app

    old = app.authorise

    def authorise(services: Any, row: Any, connection: Any) -> Any:
        length = connection.headers.get("content-length", "0")
        if row.name == "containers.create" and length in ("1", "2"):
            raise invalid((Fault("", "The body must be a JSON object."),))
        return old(services, row, connection)

    app.authorise = authorise


@fault("ERR-012", area="errors")
def body_before_container() -> None:
    """A malformed body is told before the container is looked for."""
    from ecompute_server.core.refusal import invalid
    from ecompute_server.http import app

    old = app.container_of

    def container_of(services: Any, row: Any, connection: Any, caller: Any) -> Any:
        if row.name == "mounts.set" and connection.headers.get("content-length", "0") in ("1", "2"):
            raise invalid((Fault("", "The body must be a JSON object."),))
        return old(services, row, connection, caller)

    app.container_of = container_of


@fault("ERR-002", area="errors")
def conflict_is_400() -> None:
    """A conflict has the status 400."""
    from ecompute_server.core import refusal

    refusal.PROBLEMS = {  # type: ignore[attr-defined]
        code: attrs.evolve(problem, status=400) if code is Code.CONFLICT else problem
        for code, problem in PROBLEMS.items()
    }


@fault("ERR-020", area="errors")
def key_id_no_integer_is_404() -> None:
    """`/ssh-keys/abc` is answered with 404."""
    from ecompute_server.core.refusal import not_found
    from ecompute_server.http import app

    def invalid(old: Any, faults: Any) -> Any:
        return not_found("SSH key") if any(fault.path == "id" for fault in faults) else old(faults)

    wrap(app, "invalid", invalid)


@fault("ERR-016", area="errors")
def head_unknown() -> None:
    """`HEAD` is not known where `GET` is."""
    from ecompute_server.core.refusal import Refusal
    from ecompute_server.http.app import Api

    def admit(old: Any, self: Any, scope: Any) -> None:
        if scope.get("method") == "HEAD":
            raise Refusal(Code.METHOD_NOT_ALLOWED, "No HEAD.", headers={"Allow": "GET"})
        old(self, scope)

    wrap(Api, "_admit", admit)


@fault("RDR-001", area="readers")
def unknown_fields_refused() -> None:
    """A body with a field that the server does not know is refused."""
    from ecompute.contract import codec, endpoint
    from ecompute.contract.problems import InvalidFields

    def read(old: Any, cls: type, path: Any, body: Any, *more: Any) -> Any:
        known = {field.name for field in endpoint.request_fields(cls)}
        if isinstance(body, dict) and (unknown := set(body) - known):
            raise InvalidFields(tuple(Fault(name, "is unknown") for name in sorted(unknown)))
        return old(cls, path, body, *more)

    wrap(codec, "read_request", read)


@fault("RDR-008", area="readers")
def duplicate_names_taken() -> None:
    """Of two equal names in a body the last one counts."""
    from ecompute.contract import codec

    codec._STRICT = json.JSONDecoder(parse_constant=codec._no_constant)


@fault("RDR-013", area="readers")
def nan_is_a_bug() -> None:
    """`NaN` in a body is answered with 500."""
    from ecompute.contract import codec

    def constant(name: str) -> Any:
        raise RuntimeError("no such number")

    codec._STRICT = json.JSONDecoder(object_pairs_hook=codec._no_duplicates, parse_constant=constant)


@fault("RDR-009", area="readers")
def floats_are_integers() -> None:
    """`512.0` is taken for an integer."""
    from ecompute.contract import codec

    def load(old: Any, body: bytes) -> Any:
        return _rounded(old(body))

    wrap(codec, "load_json", load)


def _rounded(value: Any) -> Any:
    match value:
        case float() if value.is_integer():
            return int(value)
        case dict():
            return {name: _rounded(item) for name, item in value.items()}
        case list():
            return [_rounded(item) for item in value]
        case _:
            return value


@fault("RDR-009", area="readers")
def flags_are_integers() -> None:
    """`true` is taken for the integer 1."""
    from ecompute.contract import codec

    def load(old: Any, body: bytes) -> Any:
        found = old(body)
        if isinstance(found, dict):
            for name in ("memory_mb", "storage_gb", "port", "target_port"):
                if found.get(name) is True:
                    found[name] = 80 if name.endswith("port") else 64
        return found

    wrap(codec, "load_json", load)


@fault("RDR-010", area="readers")
def texts_are_flags() -> None:
    """`"true"` is taken for a flag."""
    from ecompute.contract import codec

    def load(old: Any, body: bytes) -> Any:
        found = old(body)
        if isinstance(found, dict) and found.get("ssh_enabled") in ("true", "false"):
            found["ssh_enabled"] = found["ssh_enabled"] == "true"
        return found

    wrap(codec, "load_json", load)


@fault("RDR-014", area="readers")
def deep_nesting_is_a_bug() -> None:
    """A deeply nested body is answered with 500."""
    from ecompute.contract import codec

    def load(old: Any, body: bytes) -> Any:
        if body.count(b"[") > 10_000:
            raise RuntimeError("maximum recursion depth exceeded")
        return old(body)

    wrap(codec, "load_json", load)


@fault("RDR-001", area="readers")
def content_type_needed() -> None:
    """A body without `Content-Type: application/json` is refused."""
    from ecompute_server.core.refusal import Refusal
    from ecompute_server.http import app

    async def read(old: Any, request: Any) -> bytes:
        body: bytes = await old(request)
        if body and "json" not in request.headers.get("content-type", ""):
            raise Refusal(Code.INVALID_REQUEST, "The body must be JSON.")
        return body

    wrap(app, "read_body", read)


@fault("RDR-005", area="readers")
def start_needs_json() -> None:
    """The body of `start` and `stop` must be JSON."""
    from ecompute.contract import codec
    from ecompute_server.http import app

    async def read(old: Any, request: Any) -> bytes:
        body: bytes = await old(request)
        if body and request.url.path.endswith(("/start", "/stop")):
            codec.load_json(body)
        return body

    wrap(app, "read_body", read)


@fault("RDR-015", area="readers")
def surrogates_are_a_bug() -> None:
    """A lone surrogate in a name is answered with 500."""
    from ecompute.contract import codec

    def load(old: Any, body: bytes) -> Any:
        found = old(body)
        if isinstance(found, dict) and isinstance(name := found.get("name"), str):
            try:
                name.encode()
            except UnicodeEncodeError as error:
                raise RuntimeError(str(error)) from None
        return found

    wrap(codec, "load_json", load)


@fault("RDR-018", area="readers")
def big_numbers_are_a_bug() -> None:
    """A number beyond 64 bits is answered with 500."""
    from ecompute.contract import requests as ask

    from .fault import rule

    def keys(old: Any, value: Any, bounds: Any) -> Any:
        if any(abs(number) >= 1 << 63 for number in value):
            raise OverflowError("Python int too large to convert to SQLite INTEGER")
        return old(value, bounds)

    rule(ask.CreateContainer, "ssh_key_ids", keys)
