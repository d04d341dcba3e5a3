"""Between JSON and the contract's classes."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ecompute.contract import codec, messages, resources
from ecompute.contract.problems import InvalidFields

TOLD = {
    "id": "abc12345",
    "name": "box",
    "status": "running",
    "hostname": "abc12345.compute.localhost",
    "memory_mb": 512,
    "storage_gb": 5,
    "instance_type": "nano",
    "created_at": "2024-01-15T10:30:00Z",
    "ssh_enabled": True,
    "https_enabled": False,
}


def test_a_container_survives_the_round_trip() -> None:
    """Fields without a value are not there, rather than null."""
    container = codec.structure(TOLD, resources.Container)
    assert container.created_at == datetime(2024, 1, 15, 10, 30, tzinfo=UTC)
    assert codec.unstructure(container) == TOLD


def test_unknown_fields_are_kept() -> None:
    """A newer server's fields are not lost between reading and writing."""
    container = codec.structure({**TOLD, "gpu": {"count": 1}}, resources.Container)
    assert container.extra == {"gpu": {"count": 1}}
    assert codec.unstructure(container)["gpu"] == {"count": 1}


def test_null_is_the_same_as_nothing() -> None:
    """Other servers write null where ours leaves a field out."""
    told = {**TOLD, "memory_used_mb": None, "ssh_command": None}
    assert codec.unstructure(codec.structure(told, resources.Container)) == TOLD


def test_every_fault_of_an_answer_is_told_with_its_path() -> None:
    """Down into lists."""
    with pytest.raises(InvalidFields) as caught:
        codec.structure({"containers": [TOLD, {"id": 1, "name": "x"}, 7]}, resources.ContainerList)
    assert [f.path for f in caught.value.faults] == [
        "containers[1].id",
        "containers[1].status",
        "containers[2]",
    ]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff{}",
        b'{"a": 1, "a": 2}',
        b'{"a": {"b": 1, "b": 1}}',
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b"[" * 10_000 + b"]" * 10_000,
        b'{"a":' * 100_000,
        b'{"a": ' + b"1" * 5000 + b"}",
        b"{} {}",
        b"\xef\xbb\xbf{}",
    ],
)
def test_what_is_no_strict_json_is_refused(body: bytes) -> None:
    """With one fault, about the body as a whole, and nothing else."""
    with pytest.raises(InvalidFields) as caught:
        codec.load_json(body)
    assert [fault.path for fault in caught.value.faults] == [""]


@pytest.mark.parametrize(
    "message",
    [
        messages.ContainerSnapshot((codec.structure(TOLD, resources.Container),)),
        messages.ContainerStatus("abc12345", "failed", "127.77.0.2", "No answer."),
        messages.ContainerDeleted("abc12345"),
    ],
)
def test_feed_messages_survive_the_round_trip(message: messages.FeedMessage) -> None:
    """Every class of message has its type on the wire."""
    assert codec.read_message(codec.load_json(codec.dump_json(codec.write_message(message)))) == message


@pytest.mark.parametrize("data", [{"type": "news", "data": 1}, {"data": []}, [], 3, {"type": ["containers"]}])
def test_messages_of_unknown_types_are_no_messages(data: object) -> None:
    """A client ignores what it does not know."""
    assert codec.read_message(data) is None


def test_a_known_message_with_a_malformed_content_is_a_fault() -> None:
    """It is told, not ignored."""
    with pytest.raises(InvalidFields):
        codec.read_message({"type": "container_status", "data": {"status": "running"}})
