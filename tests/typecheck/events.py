"""What a type checker makes of events: each kind is told by `isinstance` and by `match`."""

from __future__ import annotations

from typing import assert_never, assert_type

from ecompute import Client, Container, Deleted, Event, Snapshot, StatusChanged


def by_match(event: Event[Container]) -> str:
    match event:
        case Snapshot(containers):
            assert_type(containers, tuple[Container, ...])
            return "all"
        case StatusChanged(container_id=id_, status="failed", status_reason=reason):
            assert_type(reason, str | None)
            return id_
        case StatusChanged():
            assert_type(event.previous, str | None)
            return event.status
        case Deleted():
            return event.container_id
        case _:
            assert_never(event)


def by_isinstance(event: Event[Container]) -> str:
    if isinstance(event, Snapshot):
        assert_type(event.containers[0], Container)
        return "all"
    assert_type(event, StatusChanged | Deleted)
    return event.container_id


def from_a_client(client: Client) -> None:
    with client.events() as events:
        assert_type(events.receive(), Event[Container])
        for event in events:
            by_match(event)
