"""The OpenAPI document in words, for the pages that people read: what a schema asks for, in a phrase, and
the rows by their headings.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from attrs import evolve, frozen

Document = Mapping[str, Any]

_FORMATS: Mapping[str, str] = {
    "date-time": "time",
    "printable-name": "printable text",
    "ssh-public-key": "SSH public key",
    "mount-path": "absolute path",
}
_PLURALS: Mapping[str, str] = {
    "integer": "integers",
    "object": "objects",
    "text": "texts",
    "absolute path": "absolute paths",
}


def resolve(document: Document, reference: str) -> Any:
    """What a `$ref` of the document points at."""
    found: Any = document
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return found


def name_of(reference: Mapping[str, str]) -> str:
    """The last part of a `$ref`."""
    return reference["$ref"].rpartition("/")[2]


def phrase(schema: Mapping[str, Any]) -> str:
    """What values a schema allows, in a few words. Names of other schemas stand as they are."""
    if "$ref" in schema:
        return name_of(schema)
    if "const" in schema:
        return f'"{schema["const"]}"'
    if "enum" in schema:
        values = ", ".join(_value(one) for one in schema["enum"])
        return f"one of {values}" if "type" in schema else values
    if "anyOf" in schema:
        return ", ".join(phrase(one) for one in schema["anyOf"] if None not in one.get("enum", ()))
    if schema.get("type") == "array":
        least = ", at least one" if schema.get("minItems") else ""
        inner = phrase(schema["items"])
        return f"list of {_PLURALS.get(inner, inner)}{least}"
    if "propertyNames" in schema:
        return f"object: scope to {phrase(schema['additionalProperties'])}"
    if schema.get("type") == "object" and "additionalProperties" in schema:
        return f"object: text to {phrase(schema['additionalProperties'])}"
    if "minimum" in schema and "maximum" in schema:
        kind = f"{schema['type']}, " if "type" in schema else ""
        return f"{kind}{schema['minimum']} to {schema['maximum']}"
    kind = str(schema["type"])
    return _FORMATS.get(schema.get("format", ""), {"string": "text"}.get(kind, kind))


def _value(one: Any) -> str:
    return f'"{one}"' if isinstance(one, str) else str(one)


@frozen
class Field:
    """One line of a table of fields. `place` is path, query, header, body, or empty for an answer's."""

    name: str
    place: str
    kind: str
    required: bool
    default: Any
    meaning: str


@frozen
class Operation:
    """One operation of the document, with the place where it stands."""

    path: str
    method: str
    heading: str
    said: Mapping[str, Any]

    @property
    def id(self) -> str:
        return str(self.said["operationId"])

    @property
    def is_websocket(self) -> bool:
        return "x-websocket" in self.said


def operations(document: Document) -> Iterator[Operation]:
    """All operations, in the order of the headings."""
    found = [
        Operation(path, method.upper(), said["tags"][0], said)
        for path, methods in document["paths"].items()
        for method, said in methods.items()
    ]
    for heading in document["tags"]:
        yield from (one for one in found if one.heading == heading["name"])


def asked(document: Document, operation: Operation) -> list[Field]:
    """The parameters and the body's fields of an operation."""
    parameters = [
        Field(
            name=one["name"],
            place=one["in"],
            kind=phrase(one["schema"]),
            required=one["required"],
            default=one["schema"].get("default"),
            meaning=one["description"],
        )
        for one in operation.said["parameters"]
    ]
    body = operation.said.get("requestBody")
    if body is None:
        return parameters
    schema = resolve(document, body["content"]["application/json"]["schema"]["$ref"])
    return [*parameters, *fields(schema, "body")]


def fields(schema: Mapping[str, Any], place: str = "") -> list[Field]:
    """The properties of an object's schema; those of objects within, as `data.status` and `fields[].path`."""
    found = []
    for name, one in schema.get("properties", {}).items():
        field = Field(
            name=name,
            place=place,
            kind=phrase(one),
            required=name in schema.get("required", ()),
            default=one.get("default"),
            meaning=one.get("description", ""),
        )
        inner = one.get("items", one)
        mark = "[]." if "items" in one else "."
        found += [field, *(evolve(sub, name=f"{name}{mark}{sub.name}") for sub in fields(inner, place))]
    return found


@frozen
class Refusal:
    """One error that an operation can answer with."""

    status: str
    code: str
    meaning: str


def refusals(document: Document, operation: Operation) -> list[Refusal]:
    """The errors of an operation, by status."""
    found = []
    for status, answer in operation.said["responses"].items():
        if "$ref" not in answer:
            continue
        examples = resolve(document, answer["$ref"])["content"]["application/json"]["examples"]
        found += [Refusal(status, code, one["value"]["error"]) for code, one in examples.items()]
    return found


def example(content: Mapping[str, Any]) -> Any:
    """The worked example of a body."""
    return content["application/json"]["examples"]["example"]["value"]
