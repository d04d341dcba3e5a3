"""Rows to messages and back, where no network is needed."""

from __future__ import annotations

import pytest

from ecompute import errors
from ecompute.contract.endpoint import request_fields
from ecompute.contract.endpoints import CHANNELS, ENDPOINTS, GET_CONTAINER, LOG_IN, LOG_OUT
from ecompute.contract.problems import PROBLEMS, Problem
from ecompute.contract.requests import GetContainer, LogIn, LogOut
from ecompute.protocol import wire

SENT = wire.HTTPRequest("containers.get a", "GET", "/compute/containers/a")


def refusal(status: int, body: bytes, **headers: str) -> errors.Error:
    return wire.refusal(SENT, wire.HTTPAnswer(status, headers, body))


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=lambda problem: problem.code)
def test_each_row_of_the_error_table_is_its_class(problem: Problem) -> None:
    """By its code, whatever the status; without a code by the status."""
    by_code = refusal(problem.status, f'{{"error": "No.", "code": "{problem.code}"}}'.encode())
    assert type(by_code) is errors.ERROR_CLASSES[problem.code]
    other_server = refusal(400, f'{{"error": "No.", "code": "{problem.code}"}}'.encode())
    assert type(other_server) is type(by_code)
    by_status = refusal(problem.status, b"<html>")
    assert isinstance(by_code, type(by_status))


def test_a_new_code_is_the_class_of_its_status() -> None:
    """A newer server's special error is still its general one, with the word kept."""
    error = refusal(409, b'{"error": "Too late.", "code": "too_late"}')
    assert type(error) is errors.Conflict
    assert isinstance(error, errors.APIError)
    assert (error.code, error.message) == ("too_late", "Too late.")


def test_foreign_text_is_made_fit() -> None:
    """Line ends, control characters and endless sentences do not reach a message."""
    error = refusal(400, b'{"error": "a\\u001b[31m\\r\\nb' + b"x" * 10_000 + b'", "code": "invalid_request"}')
    assert str(error).isprintable()
    assert len(str(error)) < 700


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "9" * 400}, 1e6),
        (
            {
                "date": "Wed, 21 Oct 2015 07:28:00 GMT",
                "retry-after": "Wed, 21 Oct 2015 07:28:00 +99999999999999",
            },
            None,
        ),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "²"}, None),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, None),
        (
            {"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT", "date": "Wed, 21 Oct 2015 07:27:00 GMT"},
            60.0,
        ),
        (
            {"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT", "date": "Wed, 21 Oct 2015 07:29:00 GMT"},
            0.0,
        ),
    ],
)
def test_retry_after(headers: dict[str, str], expected: float | None) -> None:
    """Seconds or a date; a date counts from the answer's own, so that clocks need not agree."""
    assert wire.retry_after(headers) == expected


def test_every_path_can_be_filled() -> None:
    """The templates use nothing but the fields of their requests."""
    for row in (*ENDPOINTS, *CHANNELS):
        parameters = {f.name: "x" for f in request_fields(row.request) if f.place == "path"}
        assert "{" not in row.path.format(**parameters)


def test_a_body_is_in_no_repr() -> None:
    """Requests and answers can be shown: passwords and keys are not in them."""
    request = wire.encode(LOG_IN, LogIn("alice", "pa55"))
    assert request.body is not None
    assert b"pa55" in request.body
    assert "pa55" not in repr(request) + repr(LogIn("alice", "pa55"))
    assert "t0ken" not in repr(wire.HTTPAnswer(200, {}, b"t0ken"))


def test_an_idempotency_key_travels_as_a_header() -> None:
    """Where one is given; it is not shown either."""
    request = wire.encode(LOG_OUT, LogOut(), idempotency_key="k3y")
    assert request.headers == {"Idempotency-Key": "k3y"}
    assert "k3y" not in repr(request)
    assert wire.encode(LOG_OUT, LogOut()).headers == {}


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, False),
        ({"idempotency-supported": "true"}, True),
        ({"idempotency-supported": " True"}, True),
        ({"idempotency-supported": "false"}, False),
    ],
)
def test_who_honours_keys(headers: dict[str, str], expected: bool) -> None:
    """Whoever says so, on any answer."""
    assert wire.honours_keys(wire.HTTPAnswer(404, headers, b"")) is expected


def test_reads_have_no_body() -> None:
    """Only rows with body fields send one."""
    assert wire.encode(GET_CONTAINER, GetContainer("a")).body is None
