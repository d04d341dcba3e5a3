"""The contract kit: tests any server of the Compute API.

    from ecompute.conformance import Target, run

    report = run(Target("http://127.0.0.1:7780", token))
    print(report.exit_code, report.deviations)

`ecompute conformance run` and `pytest --pyargs ecompute.conformance` do the same from outside. It needs the
extra `ecompute[conformance]`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .report import CheckReport, Report
    from .runner import run
    from .target import Profile, Target
    from .verdict import CannotTest, Outcome, Verdict

__all__ = ["CannotTest", "CheckReport", "Outcome", "Profile", "Report", "Target", "Verdict", "run"]

_HOMES = {
    "report": ("CheckReport", "Report"),
    "runner": ("run",),
    "target": ("Profile", "Target"),
    "verdict": ("CannotTest", "Outcome", "Verdict"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    try:
        return getattr(import_module(f".{_HOME_OF[name]}", __name__), name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "hypothesis":
            raise
        raise ModuleNotFoundError(
            "The contract kit needs Hypothesis: pip install 'ecompute[conformance]'.", name=error.name
        ) from None
