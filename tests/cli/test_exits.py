"""The exit codes: one table, with everything in it."""

from __future__ import annotations

from ecompute import errors
from ecompute.cli.app import COMMANDS
from ecompute.cli.exits import MEANINGS, PASSING, CommandError, Exit, code_of
from ecompute.contract.problems import PROBLEMS


def test_each_code_has_a_meaning_and_each_command_that_passes_codes_exists() -> None:
    """None is forgotten."""
    assert [*MEANINGS] == [*Exit]
    assert set(COMMANDS) >= PASSING


def test_errors_have_the_code_of_their_kind() -> None:
    """Also those that a newer server may send."""
    codes = {
        problem.code: code_of(errors.ERROR_CLASSES[problem.code]("x", status=problem.status))
        for problem in PROBLEMS.values()
    }
    assert {code for code, exit_ in codes.items() if exit_ == Exit.REFUSED} == {
        "invalid_request",
        "method_not_allowed",
        "conflict",
        "limit_reached",
        "not_running",
        "too_large",
        "rate_limited",
        "internal",
    }
    assert codes["not_found"] == Exit.NOT_FOUND
    assert codes["unauthenticated"] == codes["forbidden"] == Exit.NO_ACCESS
    assert codes["unavailable"] == code_of(errors.ConnectError("x")) == Exit.UNREACHABLE
    assert code_of(errors.InvalidAnswer("x")) == Exit.UNREACHABLE
    assert code_of(errors.DeadlineExceeded("x")) == Exit.DEADLINE
    assert code_of(errors.ContainerFailed("x", container_id="x")) == Exit.CONTAINER_FAILED
    assert code_of(errors.InvalidArgument("x")) == Exit.USAGE
    assert code_of(errors.MissingServer("x")) == code_of(errors.MissingToken("x")) == Exit.NO_ACCESS
    assert code_of(errors.Unsupported("x")) == Exit.REFUSED
    assert code_of(CommandError("x", Exit.NOT_FOUND)) == Exit.NOT_FOUND
