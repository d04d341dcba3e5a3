"""Bodies that are no request, or hold something of the wrong type."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, get_args

import httpx
import pytest

from ecompute.contract import requests
from ecompute.contract.endpoint import Endpoint, RequestField, request_fields
from ecompute.contract.endpoints import CREATE_CONTAINER, ENDPOINTS
from tests.server.http.peers import fields, key_ids, name_of, path_of, problem, with_field

WITH_BODY = [row for row in ENDPOINTS if row.has_body]

NO_JSON = {
    "nothing": b"",
    "white space": b" \r\n\t",
    "invalid UTF-8": b'{"name": "\xff"}',
    "overlong UTF-8": b'{"name": "\xc0\xaf"}',
    "a surrogate in UTF-8": b'{"name": "\xed\xa0\x80"}',
    "UTF-16": '{"name": "x"}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"name": "x"}',
    "a NUL in a text": b'{"name": "a\0b"}',
    "a NUL behind": b'{"name": "x"}\0',
    "a line break in a text": b'{"name": "a\nb"}',
    "a name twice": b'{"name": "a", "name": "b"}',
    "a name twice, written in two ways": b'{"name": "a", "n\\u0061me": "b"}',
    "a name twice, further inside": b'{"name": "a", "other": [{"a": 1, "a": 1}]}',
    "lists 10,000 deep": b"[" * 10_000 + b"]" * 10_000,
    "objects 10,000 deep": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    "10,000 deep where nobody looks": b'{"name": "x", "other": ' + b"[" * 10_000 + b"]" * 10_000 + b"}",
    "not a number": b'{"name": NaN}',
    "infinity": b'{"name": -Infinity}',
    "an integer of 5,000 digits": b'{"name": ' + b"9" * 5_000 + b"}",
    "a hexadecimal number": b'{"name": 0x10}',
    "a leading zero": b'{"name": 010}',
    "a comment": b'{"name": "x" /* y */}',
    "a comma too many": b'{"name": "x",}',
    "single quotes": b"{'name': 'x'}",
    "a bad escape": b'{"name": "\\x41"}',
    "half of it": b'{"name": "x"',
    "two of them": b'{"name": "x"}{"name": "x"}',
    "a form": b"name=x&ssh_key_ids=1",
    "a list": b"[]",
    "a text": b'"name"',
    "a number": b"1",
    "null": b"null",
}


@pytest.mark.parametrize("body", NO_JSON.values(), ids=NO_JSON)
@pytest.mark.parametrize("row", WITH_BODY, ids=name_of)
def test_what_is_no_json_object_is_no_request(
    mine: httpx.Client, box: str, row: Endpoint[Any, Any], body: bytes
) -> None:
    """400, in one sentence about the whole body."""
    answer = mine.request(row.method, path_of(row, box), content=body)
    assert problem(answer) == (400, "invalid_request")
    assert fields(answer) == [""]


RAW = {
    "1.0": b"1.0",
    "1e2": b"1e2",
    "1e400": b"1e400",
    "-1e400": b"-1e400",
    "1e-999999999": b"1e-999999999",
    "-0.0": b"-0.0",
    "2^53 as a float": b"9007199254740993.0",
    "true": b"true",
    "false": b"false",
    "a text": b'"1"',
    "a list": b"[1]",
    "an object": b'{"a": 1}',
    "an integer": b"1",
    "2^63": b"9223372036854775808",
    "-2^63 - 1": b"-9223372036854775809",
    "2^64": b"18446744073709551616",
    "a thousand digits": b"1" * 1000,
}
FITTING = {
    int: {"an integer", "2^63", "-2^63 - 1", "2^64", "a thousand digits"},
    bool: {"true", "false"},
    str: {"a text"},
    tuple: {"a list"},
    Mapping: {"an object"},
}
OUT_OF_64_BITS = ("2^63", "-2^63 - 1", "2^64", "a thousand digits")


def kind_of(spec: RequestField) -> Any:
    """What JSON type a field has."""
    alternatives = [one for one in get_args(spec.type) if one is not type(None)]
    is_optional = type(None) in get_args(spec.type)
    kind = alternatives[0] if is_optional else spec.type
    return getattr(kind, "__origin__", None) or kind


BODY_FIELDS = [
    (row, spec) for row in WITH_BODY for spec in request_fields(row.request) if spec.place == "body"
]
FIELD_NAMES = [f"{row.name} {spec.name}" for row, spec in BODY_FIELDS]


@pytest.mark.parametrize(("row", "spec"), BODY_FIELDS, ids=FIELD_NAMES)
def test_every_field_has_its_type(
    mine: httpx.Client, box: str, row: Endpoint[Any, Any], spec: RequestField
) -> None:
    """No number is a flag, no text a number, no float an integer; the answer says which field it was."""
    wrong = RAW.keys() - FITTING[kind_of(spec)]
    assert len(wrong) >= 12
    for name in sorted(wrong):
        answer = mine.request(row.method, path_of(row, box), content=with_field(row, spec.name, RAW[name]))
        assert problem(answer) == (400, "invalid_request"), name
        assert spec.name in [fault["path"].partition("[")[0] for fault in answer.json()["fields"]], name


@pytest.mark.parametrize("raw", [b'""', b"[]", b"0", b"-0", b"null"])
@pytest.mark.parametrize("field", ["instance_type", "memory_mb", "storage_gb", "mount_paths"])
def test_what_other_languages_send_for_nothing_is_the_default(
    mine: httpx.Client, box: str, field: str, raw: bytes
) -> None:
    """Zero values of a create stand for the default."""
    body = json.loads(with_field(CREATE_CONTAINER, field, raw)) | {"ssh_key_ids": key_ids(mine)}
    made = mine.post("/compute/containers", json=body)
    assert made.status_code == 200
    container = made.json()
    default = {spec.name: spec.default for spec in request_fields(requests.CreateContainer)}
    shown = (
        mine.get(f"/compute/containers/{container['id']}/mounts").json()
        if field == "mount_paths"
        else container
    )
    assert shown[field] == (list(default[field]) if field == "mount_paths" else default[field])
    mine.delete(f"/compute/containers/{container['id']}")


@pytest.mark.parametrize("name", OUT_OF_64_BITS)
@pytest.mark.parametrize(
    ("row", "spec"),
    [(row, spec) for row, spec in BODY_FIELDS if kind_of(spec) is int],
    ids=[f"{row.name} {spec.name}" for row, spec in BODY_FIELDS if kind_of(spec) is int],
)
def test_integers_out_of_64_bits_are_out_of_every_range(
    mine: httpx.Client, box: str, row: Endpoint[Any, Any], spec: RequestField, name: str
) -> None:
    """Whatever their size."""
    body = with_field(row, spec.name, RAW[name])
    answer = mine.request(row.method, path_of(row, box), content=body)
    assert problem(answer) == (400, "invalid_request")
    assert spec.name in fields(answer)


@pytest.mark.parametrize(
    "raw", [*(RAW[name] for name in OUT_OF_64_BITS), b"0", b"-1", b"-0", b"1.0", b"true", b'"1"', b"null"]
)
def test_what_is_no_key_of_mine_is_refused_at_its_place(mine: httpx.Client, box: str, raw: bytes) -> None:
    """Inside of a list as well."""
    body = with_field(CREATE_CONTAINER, "ssh_key_ids", b"[%d, %s]" % (key_ids(mine)[0], raw))
    answer = mine.post("/compute/containers", content=body)
    assert problem(answer) == (400, "invalid_request")
    assert fields(answer) == ["ssh_key_ids[1]"]


@pytest.mark.parametrize("depth", [*range(50, 1000, 95), *range(900, 1001, 4)])
def test_deep_nesting_is_taken_or_refused(mine: httpx.Client, box: str, depth: int) -> None:
    """Wherever the limit lies, what is below it is carried out and what is above it is told, also under an
    idempotency key, for which the body is written again.
    """
    body = b'{"port": 8001, "other": ' + b"[" * depth + b"]" * depth + b"}"
    answer = mine.post(
        f"/compute/containers/{box}/ingress", content=body, headers={"Idempotency-Key": f"deep {depth}"}
    )
    assert answer.status_code in (200, 400)
    assert answer.status_code == 200 or problem(answer) == (400, "invalid_request")
