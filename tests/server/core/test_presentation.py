"""How records look: what is known of their machines' usage in them."""

from __future__ import annotations

import json

import pytest
from attrs import evolve

from ecompute.contract.catalog import Status
from ecompute_server.core.presentation import View
from ecompute_server.core.record import ContainerRecord
from ecompute_server.core.usage import Usage
from tests.server.records import record

MB, GB = 1 << 20, 1 << 30
USAGE = Usage(memory_available=325 * MB, storage_used=int(2.3 * GB))


def box(status: Status = Status.RUNNING) -> ContainerRecord:
    made = record()
    return made.with_life(evolve(made.life, status=status))


def told(usage: Usage | None, status: Status = Status.RUNNING) -> dict[str, object]:
    """What a container of 512 MB and 5 GB tells of its usage."""
    shown = json.loads(View(usage=lambda container_id: usage).json(box(status)))
    return {name: value for name, value in shown.items() if "_used_" in name}


def test_memory_and_storage_in_use_are_told_in_the_units_of_their_limits() -> None:
    """Memory is what can no longer be had, the kernel's part included; storage has two digits."""
    assert told(USAGE) == {"memory_used_mb": 187, "storage_used_gb": 2.3}
    assert told(Usage(512 * MB - 1, 50 * MB)) == {"memory_used_mb": 1, "storage_used_gb": 0.05}


def test_without_figures_neither_field_is_there() -> None:
    """Not null, and not zero."""
    assert told(None) == {}


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.RUNNING])
def test_only_a_running_container_tells_its_usage(status: Status) -> None:
    """Its machine may be there for longer than it, and earlier than it runs."""
    assert told(USAGE, status) == {}


@pytest.mark.parametrize(
    ("usage", "memory", "storage"),
    [(Usage(0, 1 << 60), 512, 5.0), (Usage(1 << 60, 0), 0, 0.0), (Usage(513 * MB, 5 * GB + 1), 0, 5.0)],
)
def test_a_guest_cannot_claim_more_than_it_has(usage: Usage, memory: int, storage: float) -> None:
    """Nor less than nothing."""
    assert told(usage) == {"memory_used_mb": memory, "storage_used_gb": storage}


def test_an_answer_is_written_anew_when_record_or_usage_is_another() -> None:
    """And only then: the same bytes until one of them changes, and never those of before."""
    known: list[Usage | None] = [USAGE]
    view, shown = View(usage=lambda container_id: known[-1]), box()
    first = view.json(shown)
    assert view.json(shown) is first
    known.append(evolve(USAGE, storage_used=0))
    assert json.loads(view.json(shown)) == json.loads(first) | {"storage_used_gb": 0.0}
    known.append(None)
    assert "storage_used_gb" not in json.loads(view.json(shown))
    known.append(USAGE)
    assert json.loads(view.json(evolve(shown, name="other"))) == json.loads(first) | {"name": "other"}
