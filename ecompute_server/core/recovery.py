"""What to do after the server was away: compare what is remembered with what runs.

The differences become observations for the same `lifecycle.step` that serves every other day.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from attrs import frozen

from .lifecycle import Happening, Observation
from .record import ContainerRecord


@frozen
class Recovery:
    """`observations` are (container id, observation) pairs to apply; `strangers` are machines without a
    record.
    """

    observations: tuple[tuple[str, Observation], ...]
    strangers: tuple[str, ...]


def compare(records: Iterable[ContainerRecord], machines: Collection[str]) -> Recovery:
    """Compare records with the machines that were found (container ids).

    A machine of another generation counts as found as well: starting the right generation ends it, and so
    does powering off. Deleted records need nothing here, since their erasure stands in the journal.
    """
    observations = []
    known = set()
    for record in records:
        known.add(record.id)
        happening = Happening.MACHINE_FOUND if record.id in machines else Happening.MACHINE_MISSING
        observations.append((record.id, Observation(happening, record.life.generation)))
    strangers = tuple(sorted(set(machines) - known))
    return Recovery(tuple(observations), strangers)
