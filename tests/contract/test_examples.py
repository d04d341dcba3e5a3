"""The worked examples: none is missing, and each keeps the contract's own rules."""

from __future__ import annotations

import inspect
from typing import Any

import attrs
import pytest

from ecompute.contract import codec, messages, requests, resources
from ecompute.contract.description.examples import ANSWERS, EXAMPLES
from ecompute.contract.description.words import FIELDS, SPECIAL
from ecompute.contract.endpoint import Channel, Endpoint
from ecompute.contract.endpoints import CHANNELS, ENDPOINTS
from ecompute.contract.rules import Bounds

ROWS: list[Endpoint[Any, Any] | Channel[Any, Any]] = [*ENDPOINTS, *CHANNELS]


def classes(module: Any) -> set[type]:
    found = (cls for _, cls in inspect.getmembers(module, inspect.isclass))
    return {cls for cls in found if cls.__module__ == module.__name__ and attrs.has(cls)}


@pytest.mark.parametrize("module", [requests, resources, messages], ids=lambda module: module.__name__)
def test_every_class_has_an_example(module: Any) -> None:
    """Requests, resources and messages alike."""
    assert {cls for cls in EXAMPLES if cls.__module__ == module.__name__} == classes(module)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_an_example_request_is_read_as_it_stands(row: Endpoint[Any, Any] | Channel[Any, Any]) -> None:
    """A server finds no fault in it and changes nothing."""
    example = EXAMPLES[row.request]
    written = codec.write_request(example)
    assert codec.read_request(row.request, written.path, written.body, Bounds(), written.query) == example


@pytest.mark.parametrize("row", ENDPOINTS, ids=lambda row: row.name)
def test_an_example_answer_is_read_as_it_stands(row: Endpoint[Any, Any]) -> None:
    """It is of the row's class and says nothing that the class does not know."""
    example = ANSWERS.get(row.name, EXAMPLES[row.response])
    assert codec.structure(codec.unstructure(example), row.response) == example
    assert not example.extra


def test_special_answers_belong_to_rows() -> None:
    """No answer is kept for a row that is gone."""
    assert ANSWERS.keys() <= {row.name for row in ENDPOINTS}


@pytest.mark.parametrize("cls", messages.MESSAGE_TYPES.values())
def test_an_example_message_is_read_as_it_stands(cls: type) -> None:
    """Every message of the feed."""
    assert codec.read_message(codec.write_message(EXAMPLES[cls])) == EXAMPLES[cls]


@pytest.mark.parametrize("cls", messages.CONTROL_TYPES.values())
def test_an_example_control_message_is_read_as_it_stands(cls: type) -> None:
    """Every message of the terminal."""
    assert codec.read_control(codec.write_control(EXAMPLES[cls])) == EXAMPLES[cls]


def test_the_example_command_is_read_as_it_stands() -> None:
    """The first message of an execution, which has no type."""
    example = EXAMPLES[messages.Execute]
    assert codec.read_execute(codec.write_control(example)) == example


def test_secrets_are_recognisably_examples() -> None:
    """Nobody mistakes one for a credential."""
    secrets = [
        ANSWERS["tokens.create"].token,
        EXAMPLES[resources.Session].token,
        EXAMPLES[requests.LogIn].password,
    ]
    assert all("EXAMPLE" in secret for secret in secrets)


def test_words_are_about_fields_that_are_there() -> None:
    """None is left of a field that is gone, and none is never read."""
    fields = {(cls, a.name) for cls in EXAMPLES for a in attrs.fields(cls)}
    assert SPECIAL.keys() <= fields
    assert FIELDS.keys() <= {name for cls, name in fields if (cls, name) not in SPECIAL}
