"""What people change about a container that is there: pure functions from a record to the next one.

Each gives the new record, the effects that bring machine and doors after it, and what the change answers.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from attrs import evolve, frozen

from .lifecycle import UP, Command, EffectKind, step
from .record import ContainerRecord, Rule

T = TypeVar("T")


@frozen
class Edited(Generic[T]):
    """What a change leads to. `result` is the change's own answer."""

    record: ContainerRecord
    effects: tuple[EffectKind, ...]
    result: T


def command(record: ContainerRecord, order: Command) -> Edited[None]:
    """Take the step of a command through the lifecycle."""
    taken = step(record.life, order)
    return Edited(record.with_life(taken.life), taken.effects, None)


def set_ssh_access(record: ContainerRecord, enabled: bool) -> Edited[None]:
    """Open or close SSH from outside."""
    after = evolve(record, ssh_enabled=enabled)
    return Edited(after, _doors(record, after), None)


def put_rule(record: ContainerRecord, port: int, target_port: int, *, now: int) -> Edited[Rule]:
    """Publish a port. A rule of that port keeps its id and age and leads to the new target."""
    old = next((rule for rule in record.ingress if rule.port == port), None)
    if old is not None:
        rule = evolve(old, target_port=target_port)
        after = evolve(record, ingress=_sorted(rule, *(r for r in record.ingress if r is not old)))
    else:
        rule = Rule(record.rules_made + 1, port, target_port, now)
        after = evolve(record, ingress=_sorted(rule, *record.ingress), rules_made=rule.id)
    # also when nothing changes: whoever asks again wants it open now, and it may have been in somebody's way
    doors = (EffectKind.OPEN_DOORS,) if record.is_running else ()
    return Edited(after, doors, rule)


def remove_rule(record: ContainerRecord, port: int) -> Edited[bool]:
    """Publish a port no longer; the result says whether there was such a rule."""
    kept = tuple(rule for rule in record.ingress if rule.port != port)
    after = evolve(record, ingress=kept)
    return Edited(after, _doors(record, after), len(kept) < len(record.ingress))


def set_mounts(record: ContainerRecord, paths: tuple[str, ...]) -> Edited[bool]:
    """Choose the persistent paths; the result says whether the container restarts for it.

    The same paths in another order are remembered so, and nothing else happens.
    """
    after = evolve(record, mount_paths=paths)
    if set(paths) == set(record.mount_paths) or record.life.status not in UP:
        return Edited(after, (), False)
    restarted = command(after, Command.RESTART)
    return Edited(restarted.record, restarted.effects, True)


def _doors(before: ContainerRecord, after: ContainerRecord) -> tuple[EffectKind, ...]:
    # a container that is not running has no doors; they are opened as it is once it runs
    return (EffectKind.OPEN_DOORS,) if before.is_running and before != after else ()


def _sorted(*rules: Rule) -> tuple[Rule, ...]:
    return tuple(sorted(rules, key=lambda rule: rule.port))
