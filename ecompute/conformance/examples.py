"""Property tests inside a check: Hypothesis, by the run's seed and without a database."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis.errors import FlakyFailure
from hypothesis.strategies import SearchStrategy

from .verdict import Deviation

_HEALTH = (
    HealthCheck.data_too_large,
    HealthCheck.filter_too_much,
    HealthCheck.large_base_example,
    HealthCheck.too_slow,
)
"""What says something about the machine or the way to the server, and nothing about that."""


def options(count: int) -> settings:
    """How Hypothesis is to work here: what it finds depends on the seed alone."""
    return settings(
        max_examples=count,
        database=None,
        deadline=None,
        derandomize=False,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=_HEALTH,
        report_multiple_bugs=False,
        print_blob=False,
    )


def run_examples(
    strategy: SearchStrategy[Any], trial: Callable[[Any], None], *, count: int, seed: int
) -> None:
    """Try so many values; the exception is that of the simplest value that fails.

    Raises:
        Deviation: the trial has raised it.
    """

    @seeded(seed)
    @options(count)
    @given(strategy)
    def test(value: Any) -> None:
        trial(value)

    with unflaky():
        test()


class unflaky:
    """Hypothesis's word that a failure did not come again is no news here: what a server does depends on time
    as well, and the failure counts.
    """

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, FlakyFailure):
            found = next((e for e in error.exceptions if isinstance(e, Deviation)), None)
            raise (found or error.exceptions[0]) from None
