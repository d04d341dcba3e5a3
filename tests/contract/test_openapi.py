"""The OpenAPI document: valid, whole, and exact about what the server's rules accept."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from ecompute.contract import catalog, codec, requests
from ecompute.contract.description import prose
from ecompute.contract.description.conversations import CONVERSATIONS
from ecompute.contract.description.examples import EXAMPLES
from ecompute.contract.description.openapi import document, operation_id
from ecompute.contract.description.schemas import RULES
from ecompute.contract.endpoint import Auth, Channel, Endpoint, path_parameters, request_fields
from ecompute.contract.endpoints import CHANNELS, ENDPOINTS
from ecompute.contract.problems import PROBLEMS, InvalidFields
from ecompute.contract.rules import Bounds

Row = Endpoint[Any, Any] | Channel[Any, Any]
ROWS: list[Row] = [*ENDPOINTS, *CHANNELS]
DOCUMENT = json.loads(json.dumps(document(version="1.2.3")))


def operation(row: Row) -> dict[str, Any]:
    return dict(DOCUMENT["paths"][row.path][row.method.lower()])


def response(row: Row, status: str) -> dict[str, Any]:
    found = operation(row)["responses"][status]
    return dict(prose.resolve(DOCUMENT, found["$ref"]) if "$ref" in found else found)


def accepts(schema: dict[str, Any], value: Any) -> bool:
    whole = {"components": DOCUMENT["components"], **schema}
    return bool(Draft202012Validator(whole).is_valid(value))


def media(value: Any) -> Iterator[dict[str, Any]]:
    """Everything in the document that has a schema and examples."""
    if isinstance(value, dict):
        if "schema" in value and "examples" in value:
            yield value
        for inner in value.values():
            yield from media(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from media(inner)


def test_the_document_is_valid() -> None:
    """For the standard validator, examples and defaults aside, which have tests of their own."""
    assert list(OpenAPIV31SpecValidator(DOCUMENT).iter_errors()) == []


def test_every_row_and_nothing_else_is_described() -> None:
    """Each under its own name."""
    found = {(one.method, one.path): one.id for one in prose.operations(DOCUMENT)}
    assert found == {(row.method, row.path): operation_id(row) for row in ROWS}
    assert len(set(found.values())) == len(ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_error_of_a_row_is_described(row: Row) -> None:
    """With its status, its headers, and an example for each code; and no other error is."""
    found = {code for status in operation(row)["responses"] for code in codes(row, status)}
    assert found == {(str(PROBLEMS[code].status), str(code)) for code in row.errors}
    for code in row.errors:
        headers = response(row, str(PROBLEMS[code].status))["headers"]
        assert {"X-Request-Id", "Idempotency-Supported", *PROBLEMS[code].headers} <= headers.keys()


def codes(row: Row, status: str) -> set[tuple[str, str]]:
    if status in ("200", "101"):
        return set()
    content = response(row, status)["content"]["application/json"]
    assert [one["value"]["code"] for one in content["examples"].values()] == list(content["examples"])
    return {(status, code) for code in content["examples"]}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_row_says_what_it_asks_for(row: Row) -> None:
    """Its parameters, its body, the credential, the scope and the action."""
    said = operation(row)
    fields = {spec.name: spec for spec in request_fields(row.request)}
    named = {one["name"] for one in said["parameters"]}
    keyed = isinstance(row, Endpoint) and row.takes_idempotency_key
    assert named == {name for name, spec in fields.items() if spec.place != "body"} | (
        {"Idempotency-Key"} if keyed else set()
    )
    assert {one["name"] for one in said["parameters"] if one["in"] == "path"} == set(
        path_parameters(row.path)
    )
    assert ("requestBody" in said) == any(spec.place == "body" for spec in fields.values())
    assert said.get("x-scope") == row.scope
    assert said.get("x-action") == row.action
    assert (said["security"] == []) == (row.auth is Auth.NONE)
    assert ({"query": []} in said["security"]) == isinstance(row, Channel)
    if row.scope:
        assert row.scope in said["description"]


def test_every_example_fits_its_schema() -> None:
    """Of bodies, answers and errors."""
    found = list(media(DOCUMENT))
    assert len(found) > len(ENDPOINTS)
    for one in found:
        for example in one["examples"].values():
            assert accepts(one["schema"], example["value"]), example


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_example_of_a_parameter_fits_its_schema(row: Row) -> None:
    """Path and query."""
    for one in operation(row)["parameters"]:
        assert "example" not in one or accepts(one["schema"], one["example"])


@pytest.mark.parametrize("channel", CHANNELS, ids=lambda row: row.name)
def test_a_websocket_says_what_travels_on_it(channel: Channel[Any, Any]) -> None:
    """A conversation for each subprotocol and for none, and the schema of each message fits its example."""
    conversations = CONVERSATIONS[channel.name]
    assert [one.subprotocol for one in conversations] == [None, *channel.subprotocols]
    said = operation(channel)["x-websocket"]["conversations"]
    for one, written in zip(conversations, said, strict=True):
        pairs = zip((*one.send, *one.receive), (*written["send"], *written["receive"]), strict=True)
        for cls, reference in pairs:
            assert accepts(reference, sent(cls))


def sent(cls: type) -> Any:
    if cls.__name__.startswith("Container"):
        return codec.write_message(EXAMPLES[cls])
    return json.loads(codec.write_control(EXAMPLES[cls]))


def test_every_rule_has_its_schema() -> None:
    """A rule that a request uses and no schema tells would make the document too wide."""
    used = {spec.rule for row in ROWS for spec in request_fields(row.request) if spec.rule}
    assert used == RULES.keys()


def test_every_pattern_means_the_same_in_python() -> None:
    """No escape that ECMA-262 knows and Python does not."""
    patterns = re.findall(r'"pattern": ("(?:[^"\\]|\\.)*")', json.dumps(DOCUMENT))
    assert patterns
    for pattern in patterns:
        re.compile(json.loads(pattern))


def test_a_host_s_bounds_are_told() -> None:
    """A server that admits less says so."""
    bounds = Bounds(memory_mb=range(128, 1025), storage_gb=range(1, 11))
    body = document(version="1", bounds=bounds)["components"]["schemas"]["CreateContainer"]["properties"]
    assert body["memory_mb"]["anyOf"][0] == {"type": "integer", "minimum": 128, "maximum": 1024}
    assert body["storage_gb"]["anyOf"][0] == {"type": "integer", "minimum": 1, "maximum": 10}


def test_a_server_s_address_is_told_only_when_it_is_known() -> None:
    """Otherwise paths are relative to where the document was found."""
    assert "servers" not in DOCUMENT
    assert document(version="1", server_url="http://x")["servers"] == [{"url": "http://x"}]


# --- as exact as the rules ------------------------------------------------------------------------

_TEXT = st.one_of(st.text(max_size=70), st.text("a \t\n\x00\x1f\x85\u2028\xa0/.", max_size=70))


def body_schema(cls: type) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{cls.__name__}"}


def reads(cls: type, body: dict[str, Any]) -> bool:
    try:
        codec.read_request(cls, {"id": "x"}, body, Bounds())
    except InvalidFields:
        return False
    return True


@given(_TEXT)
def test_what_a_name_s_schema_refuses_its_rule_refuses(name: str) -> None:
    """And what it accepts the rule accepts, unprintable characters of other scripts aside."""
    body = {"name": name, "ssh_key_ids": [1]}
    described = accepts(body_schema(requests.CreateContainer), body)
    assert described or not reads(requests.CreateContainer, body)
    assert not (described and name.isascii()) or reads(requests.CreateContainer, body)


@given(
    st.one_of(
        _TEXT,
        st.lists(
            st.sampled_from(["", ".", "..", "etc", "lib", "lib64", "library", "usr", "a", "etc\n", "\0"])
        )
        .map("/".join)
        .map("/{}".format),
    )
)
def test_a_mount_path_s_schema_is_as_exact_as_its_rule(path: str) -> None:
    """Up to the count in bytes, which JSON Schema does not know."""
    body = {"mount_paths": [path]}
    if path.isascii():
        assert accepts(body_schema(requests.SetMounts), body) == reads(requests.SetMounts, body)


@pytest.mark.parametrize("key", [EXAMPLES[requests.AddSSHKey].public_key])
@pytest.mark.parametrize("around", ["{}", " {}\n", "{} a b", "{}\t", "\t{}\xa0"])
def test_a_key_that_its_rule_accepts_its_schema_accepts(key: str, around: str) -> None:
    """With whatever space around it."""
    body = {"name": "k", "public_key": around.format(key)}
    assert reads(requests.AddSSHKey, body)
    assert accepts(body_schema(requests.AddSSHKey), body)


@given(st.one_of(st.integers(-1, 70000), st.sampled_from([80, 443, 7999, 8000, 8999, 9000])))
def test_ports_are_as_exact_as_their_rules(port: int) -> None:
    """The external one and the one inside."""
    for body in ({"port": port}, {"port": 80, "target_port": port}):
        assert accepts(body_schema(requests.AddIngress), body) == reads(requests.AddIngress, body)


@pytest.mark.parametrize("field", ["memory_mb", "storage_gb", "instance_type", "mount_paths", "ssh_enabled"])
@pytest.mark.parametrize("value", [None, 0, "", [], False, 1, "nano", ["/a"], 64, 1024, 65537, {}])
def test_values_that_mean_the_default_are_as_exact_as_the_codec(field: str, value: Any) -> None:
    """Zero values of other languages, and no more than those."""
    body = {"name": "box", "ssh_key_ids": [1], field: value}
    assert accepts(body_schema(requests.CreateContainer), body) == reads(requests.CreateContainer, body)


@pytest.mark.parametrize(
    "scopes",
    [
        {},
        {"compute.u1": []},
        {"compute.u1": ["read"]},
        {"compute.u1": ["read", "read"]},
        {"compute.u1": ["look"]},
        {"compute.U1": ["read"]},
        {"compute": ["read"]},
        {"storage.u1": ["read"]},
        {"compute.u1.keys.4": ["delete"]},
        {"compute.u1.tokens": ["read"]},
        {"compute.u1.containers.a.b": ["read"]},
    ],
    ids=repr,
)
def test_scopes_are_as_exact_as_their_grammar(scopes: dict[str, list[str]]) -> None:
    """Names and actions."""
    body = {"name": "t", "scopes": scopes, "expires_in": "30d"}
    assert accepts(body_schema(requests.CreateToken), body) == reads(requests.CreateToken, body)


def test_the_lifetimes_of_tokens_are_those_of_the_catalogue() -> None:
    """No more, no less."""
    schema = DOCUMENT["components"]["schemas"]["CreateToken"]["properties"]["expires_in"]
    assert schema["enum"] == [*catalog.TOKEN_EXPIRIES]
