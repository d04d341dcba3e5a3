"""What may be repeated, and when."""

from __future__ import annotations

import pytest

from ecompute import errors
from ecompute.contract.endpoints import ENDPOINTS
from ecompute.protocol import policy


def test_only_creating_is_never_repeated() -> None:
    """Spelled out, so that a new row is a decision."""
    never = {row.name for row in ENDPOINTS if not policy.may_repeat(row)}
    assert never == {"containers.create", "ssh_keys.add", "tokens.create"}


def test_what_has_reached_its_aim() -> None:
    """Spelled out too: which refusal of a repeated request means that the first one had its effect."""
    refusals = {"not_found": errors.NotFound, "unauthenticated": errors.Unauthenticated}
    found = {
        (row.name, code)
        for row in ENDPOINTS
        for code, cls in refusals.items()
        if policy.has_reached_aim(row, cls("x", status=0))
    }
    assert found == {
        ("containers.delete", "not_found"),
        ("ssh_keys.delete", "not_found"),
        ("ingress.remove", "not_found"),
        ("tokens.delete", "not_found"),
        ("logout", "unauthenticated"),
    }


def test_pauses_grow_to_a_limit_and_are_spread() -> None:
    """Half of a pause is random; the server's wish is a floor."""
    retries = policy.Retries(first=1.0, longest=4.0)
    assert [retries.pause(n, 1.0) for n in (1, 2, 3, 4, 5000)] == [1.0, 2.0, 4.0, 4.0, 4.0]
    assert [retries.pause(n, 0.0) for n in (1, 2, 3, 4, 5000)] == [0.5, 1.0, 2.0, 2.0, 2.0]
    assert retries.pause(1, 0.0, retry_after=7) == 7
    assert retries.pause(1, 0.0, retry_after=0) == 0.5


SENT = errors.ConnectError("x", maybe_sent=True)
UNSENT = errors.ConnectError("x")


def answer(status: int, code: str = "") -> errors.APIError:
    return errors.error_class(status, code)("x", status=status, code=code)


@pytest.mark.parametrize(
    ("error", "for_all", "if_repeatable", "doubtful"),
    [
        (UNSENT, True, True, False),
        (SENT, False, True, True),
        (answer(429), True, True, False),
        (answer(502), False, True, True),
        (answer(503, "unavailable"), False, True, False),
        (answer(503), False, True, True),
        (answer(408), False, False, True),
        (answer(520), False, False, True),
        (answer(504), False, True, True),
        (answer(500, "internal"), False, False, False),
        (answer(500), False, False, True),
        (answer(409), False, False, False),
        (answer(401), False, False, False),
        (errors.InvalidAnswer("x", status=200), False, False, True),
        (errors.InvalidAnswer("x", status=302), False, False, False),
        (errors.Closed("x"), False, False, False),
    ],
)
def test_the_table(error: errors.Error, for_all: bool, if_repeatable: bool, doubtful: bool) -> None:
    """Which failure may be followed by another try, and which leaves the outcome in doubt."""
    assert policy.is_transient(error, repeatable=False) is for_all
    assert policy.is_transient(error, repeatable=True) is if_repeatable
    assert policy.leaves_doubt(error) is doubtful
