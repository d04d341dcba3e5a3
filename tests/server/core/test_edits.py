"""What people change about a container, without any server."""

from __future__ import annotations

import attrs
import pytest

from ecompute.contract.catalog import Status
from ecompute_server.core import edits
from ecompute_server.core.lifecycle import UP, EffectKind, Life
from ecompute_server.core.record import ContainerRecord, Rule
from tests.server.records import record


def at(status: Status, **more: object) -> ContainerRecord:
    return record(life=Life(status), **more)


def test_a_rule_of_the_same_port_is_changed_in_place() -> None:
    """It keeps its id and its age; a removed rule's id is never given again."""
    one = edits.put_rule(record(), 8080, 3000, now=5)
    assert one.result == Rule(1, 8080, 3000, 5)
    two = edits.put_rule(one.record, 80, 80, now=6)
    again = edits.put_rule(two.record, 8080, 4000, now=7)
    assert again.result == Rule(1, 8080, 4000, 5)
    assert again.record.ingress == (Rule(2, 80, 80, 6), Rule(1, 8080, 4000, 5))
    gone = edits.remove_rule(again.record, 80)
    assert gone.result is True
    assert edits.put_rule(gone.record, 81, 81, now=8).result.id == 3


def test_removing_what_is_not_there_changes_nothing() -> None:
    """And says so."""
    gone = edits.remove_rule(at(Status.RUNNING), 8080)
    assert (gone.record, gone.effects, gone.result) == (at(Status.RUNNING), (), False)


def test_https_is_enabled_by_its_port() -> None:
    """And by nothing else."""
    assert not edits.put_rule(record(), 8443, 443, now=1).record.https_enabled
    assert edits.put_rule(record(), 443, 8080, now=1).record.https_enabled


@pytest.mark.parametrize("status", Status)
def test_doors_move_only_while_the_container_runs(status: Status) -> None:
    """Before that they open as the record is when it runs; a change of nothing moves nothing."""
    expected = (EffectKind.OPEN_DOORS,) if status is Status.RUNNING else ()
    before = at(status)
    assert edits.put_rule(before, 80, 80, now=1).effects == expected
    assert edits.set_ssh_access(before, not before.ssh_enabled).effects == expected
    assert edits.set_ssh_access(before, before.ssh_enabled).effects == ()


@pytest.mark.parametrize("status", Status)
def test_other_mount_paths_restart_what_is_up(status: Status) -> None:
    """What is down only remembers them."""
    changed = edits.set_mounts(at(status), ("/data",))
    assert changed.record.mount_paths == ("/data",)
    assert changed.result is (status in UP)
    assert (changed.record.life.generation == 2) is (status in UP)
    assert bool(changed.effects) is (status in UP)


def test_the_same_mount_paths_in_another_order_do_nothing() -> None:
    """But the order is told as it was asked for."""
    before = at(Status.RUNNING, mount_paths=("/a", "/b"))
    changed = edits.set_mounts(before, ("/b", "/a"))
    assert changed.record == attrs.evolve(before, mount_paths=("/b", "/a"))
    assert (changed.effects, changed.result) == ((), False)
