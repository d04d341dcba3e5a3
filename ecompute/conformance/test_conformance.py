"""The checks as tests, for `pytest --pyargs ecompute.conformance`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ecompute.conformance.check import Check
from ecompute.conformance.lab import Lab
from ecompute.conformance.opening import open_lab
from ecompute.conformance.pytest_plugin import target_of
from ecompute.conformance.report.table import deviation
from ecompute.conformance.runner import chosen, clean, perform
from ecompute.conformance.verdict import CannotTest, Outcome


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test for each check of the profile."""
    if "check" in metafunc.fixturenames:
        if int(getattr(metafunc.config, "workerinput", {}).get("workercount", 1)) > 1:
            raise pytest.UsageError(
                "The contract kit's checks count what a user has, and cannot run at once: give -n 0."
            )
        checks = chosen(target_of(metafunc.config).profile)
        metafunc.parametrize("check", [pytest.param(check, id=check.name) for check in checks])


@pytest.fixture(scope="module")
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """The laboratory at the server that the options name; what it has made goes at the end."""
    try:
        opened = open_lab(target_of(request.config))
    except CannotTest as error:
        pytest.exit(str(error), returncode=2)
    try:
        yield opened
    finally:
        left = clean(opened)
        opened.wire.close()
    assert not left, f"could not be deleted: {', '.join(left)}"


def test_contract(lab: Lab, check: Check) -> None:
    """The server does what the requirements of a check say."""
    try:
        verdicts = perform(lab, check).verdicts
    except CannotTest as error:
        pytest.exit(str(error), returncode=2)
    deviations = [verdict for verdict in verdicts if verdict.outcome is Outcome.DEVIATES]
    if deviations:
        pytest.fail("\n".join(line for verdict in deviations for line in deviation(verdict)), pytrace=False)
    undecided = [verdict for verdict in verdicts if verdict.outcome is Outcome.UNDECIDED]
    if len(undecided) == len(verdicts):
        pytest.skip("; ".join(sorted({verdict.note for verdict in undecided})))
