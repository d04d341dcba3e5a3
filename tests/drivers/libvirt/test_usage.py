"""What a guest tells of its usage, and how long it counts."""

from __future__ import annotations

from ecompute_server.hypervisor.interface import Usage
from ecompute_server.hypervisor.libvirt.usage import KEPT, LastUsage

FIRST, SECOND = Usage(1, 2), Usage(3, 4)


def test_the_last_figures_count_until_they_are_old_or_forgotten() -> None:
    """Old ones do not come back when the clock is asked again."""
    now = [100.0]
    last = LastUsage(lambda: now[-1])
    assert last.get() is None
    last.note(FIRST)
    now.append(100 + KEPT)
    assert last.get() == FIRST
    last.note(SECOND)
    now.append(100 + 2 * KEPT)
    assert last.get() == SECOND
    now.append(101 + 2 * KEPT)
    assert last.get() is None
    last.note(FIRST)
    assert last.get() == FIRST
    last.forget()
    assert last.get() is None
