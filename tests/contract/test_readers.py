"""The quick readers against the converter that explains: they judge alike."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import attrs
import pytest
from attrs import field, frozen
from hypothesis import given
from hypothesis import strategies as st

from ecompute.contract import codec, converter, endpoints, messages, resources
from ecompute.contract.endpoint import request_fields
from ecompute.contract.problems import InvalidFields
from ecompute.contract.readers import reader


def told_classes() -> Iterator[type]:
    """Every class that is read from JSON as a whole."""
    for module in (resources, messages):
        for cls in vars(module).values():
            if inspect.isclass(cls) and attrs.has(cls) and cls.__module__ == module.__name__:
                yield cls


CLASSES = [*told_classes()]
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.sampled_from(
        ["", "running", "2024-01-15T10:30:00Z", "2024-01-15T10:30:00+02:00", "soon", "\ud800", "é"]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


FIELD_TYPES = [*{field.type: None for row in endpoints.ENDPOINTS for field in request_fields(row.request)}]
"""What fields of requests are made of."""


def agree(kind: Any, data: Any) -> None:
    """The reader takes what the converter finds no fault with, and nothing else."""
    try:
        expected = converter.structured(data, kind)
    except InvalidFields:
        with pytest.raises((TypeError, ValueError)):
            reader(kind)(data)
    else:
        found = reader(kind)(data)
        assert found == expected
        # 1, 1.0 and True are equal
        assert repr(found) == repr(expected)


@given(st.data())
@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_readers_of_classes_and_the_converter_agree(cls: type, data: st.DataObject) -> None:
    """Fields missing, null, unknown and of every type, also those that would be right."""
    right = {
        str: st.sampled_from(["", "running", "é"]),
        int: st.integers(),
        bool: st.booleans(),
        datetime: st.sampled_from(["2024-01-15T10:30:00Z", "2024-01-15", "2024-01-15T10:30:00+02:00"]),
    }
    attrs.resolve_types(cls)
    fields = {
        a.name: right.get(a.type, json_values) if data.draw(st.booleans()) else json_values
        for a in attrs.fields(cls)
        if a.name != "extra"
    }
    drawn = st.fixed_dictionaries({}, optional={**fields, "extra": json_values, "newer": json_values})
    # a class without fields asks for nothing
    agree(cls, data.draw(drawn | json_values if fields else drawn))


@pytest.mark.parametrize(
    "time",
    ["", "soon", "2024-13-01", 7, [], "0001-01-01T00:00:00+02:00", "9999-12-31T23:59:59-02:00"],
)
def test_what_is_no_time(time: Any) -> None:
    """Among it times that lie in no year of four digits once they are in UTC."""
    agree(datetime, time)
    agree(resources.SSHKey, {"id": 1, "name": "a", "public_key": "k", "created_at": time})
    with pytest.raises(InvalidFields, match="created_at"):
        codec.structure({"id": 1, "name": "a", "public_key": "k", "created_at": time}, resources.SSHKey)


@given(json_values)
@pytest.mark.parametrize("kind", FIELD_TYPES, ids=str)
def test_readers_of_fields_and_the_converter_agree(kind: Any, data: Any) -> None:
    """Lists, mappings and values that may be missing too."""
    agree(kind, data)


def test_a_value_made_by_a_reader_is_as_every_other() -> None:
    """Frozen, of the very class, equal, and hashed alike."""
    made = codec.structure({"id": "a", "name": "b", "status": "running"}, resources.Container)
    assert type(made) is resources.Container
    assert made == resources.Container("a", "b", "running")
    assert hash(made) == hash(resources.Container("a", "b", "running"))
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        made.id = "c"  # type: ignore[misc]
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        del made.id


@frozen(eq=False)
class Special(resources.Container):
    """A container with more to it."""

    _more: int = field(default=7, kw_only=True)


def test_a_subclass_is_made_where_its_base_is_told_of() -> None:
    """Also within lists; its own fields keep their defaults, whatever the server says."""
    told = {"id": "a", "name": "b", "status": "running", "_more": 1}
    (made,) = codec.structure({"containers": [told]}, resources.ContainerList, Special).containers
    assert type(made) is Special
    assert made == resources.Container("a", "b", "running", extra={"_more": 1})
    assert made._more == 7
    with pytest.raises(InvalidFields):
        codec.structure({"containers": [{}]}, resources.ContainerList, Special)


BOX = {"id": "a", "name": "b", "status": "running"}
NEWS = [
    {"type": "containers", "data": []},
    {"type": "containers", "data": [BOX, {**BOX, "id": "c", "newer": {"x": [1]}}]},
    {"data": [BOX], "type": "containers"},
    {"type": "containers", "data": [BOX], "newer": 1},
    {"type": "containers", "data": [BOX, {}]},
    {"type": "containers", "data": [BOX, 3]},
    {"type": "containers", "data": {}},
    {"type": "container_status", "data": {"container_id": "a", "status": "running"}},
    {"type": "news"},
    [],
]
WORDS = [*(json.dumps(news, indent=indent) for news in NEWS for indent in (None, 1))]
TORN = [
    '{"type":"containers","data":[{}',
    '{"type":"containers","data":[]',
    "",
    "{",
    '{"type":"containers","data":[] } x',
]


@pytest.mark.parametrize("text", [*WORDS, *TORN])
def test_a_message_is_the_same_read_in_one_way_or_the_other(text: str) -> None:
    """A list that is taken one by one, and all else as a whole: the same message, or the same faults."""

    def read(way: Callable[[], Any]) -> Any:
        try:
            return way()
        except InvalidFields as error:
            return error.faults

    assert read(lambda: codec.read_news(text)) == read(lambda: codec.read_message(codec.load_answer(text)))


def test_a_list_within_a_message_can_be_of_another_class() -> None:
    """As `into` asks, in the usual form and in any other."""
    for text in WORDS[2:6]:
        message = codec.read_news(text, Special)
        assert isinstance(message, messages.ContainerSnapshot)
        assert {type(box) for box in message.containers} == {Special}


def test_times_are_in_utc() -> None:
    """Whatever offset was told, and where none was."""
    told = {"id": "a", "name": "b", "status": "running"}
    for text in ("2024-01-15T10:30:00Z", "2024-01-15T12:30:00+02:00", "2024-01-15T10:30:00"):
        made = codec.structure({**told, "created_at": text}, resources.Container)
        assert made.created_at == datetime(2024, 1, 15, 10, 30, tzinfo=UTC)
        assert made.created_at.tzinfo is UTC
