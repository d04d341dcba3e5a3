"""The exceptions: total, one sentence each, pickled whole, free of secrets, and never another library's."""

from __future__ import annotations

import inspect
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import httpcore
import httpx
import pytest

import ecompute
from ecompute import carrier, errors
from ecompute.contract.problems import PROBLEMS, Fault
from ecompute.contract.requests import CreateContainer

pytestmark = pytest.mark.anyio

CLASSES = [c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, errors.Error)]

SAMPLES: dict[str, dict[str, Any]] = {
    "ConnectError": {"maybe_sent": True, "timed_out": True, "close_code": 1011},
    "InvalidAnswer": {"status": 200, "fields": (Fault("a", "is b"),)},
    "OutcomeUnknown": {"operation": "containers.create", "request": CreateContainer("b", (1,))},
    "DeadlineExceeded": {"last_status": "pending"},
    "ContainerFailed": {"container_id": "a", "reason": "It burnt."},
    "CommandFailed": {"result": errors.CommandResult(3, b"out", b"err")},
    "InvalidArgument": {"fields": (Fault("a", "is b"),)},
}


def sample(cls: type[errors.Error]) -> errors.Error:
    if issubclass(cls, errors.APIError):
        return cls(
            "No.",
            status=409,
            code="conflict",
            operation="containers.stop a",
            request_id="r-1",
            fields=(Fault("name", "is required"),),
            needed=errors.Needed("compute.u1", "read"),
            retry_after=3.0,
        )
    return cls("It did not work.", **SAMPLES.get(cls.__name__, {}))


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_an_error_pickles_whole(cls: type[errors.Error]) -> None:
    """Between processes, with everything it carries."""
    error = sample(cls)
    twin = pickle.loads(pickle.dumps(error))
    assert type(twin) is cls
    assert (str(twin), repr(twin), vars(twin), twin.args) == (
        str(error),
        repr(error),
        vars(error),
        error.args,
    )


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_an_error_is_public_and_drawn(cls: type[errors.Error]) -> None:
    """Every class is exported, stands in the picture and says what it means."""
    assert getattr(ecompute, cls.__name__) is cls
    assert re.search(rf"\b{cls.__name__}\b", errors.__doc__ or "")
    assert cls.__doc__


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_an_error_is_one_sentence(cls: type[errors.Error]) -> None:
    """Printable, with one full stop at its end."""
    text = str(sample(cls))
    assert text.isprintable()
    assert text.endswith(".")
    assert not text.endswith("..")


def test_the_table_is_covered() -> None:
    """One class for each row of the error table."""
    assert set(errors.ERROR_CLASSES) == set(PROBLEMS)
    assert len(set(errors.ERROR_CLASSES.values())) == len(PROBLEMS)


def test_the_builtin_families() -> None:
    """What the standard library has a word for can be caught by it."""
    assert issubclass(ecompute.ConnectError, ConnectionError)
    assert issubclass(ecompute.DeadlineExceeded, TimeoutError)
    assert issubclass(ecompute.InvalidArgument, ValueError)


def foreign_classes() -> list[type[Exception]]:
    found = set()
    for module in (httpx, httpcore):
        for _, value in inspect.getmembers(module, inspect.isclass):
            if issubclass(value, Exception):
                found.add(value)
    found |= {
        anyio.BrokenResourceError,
        anyio.ClosedResourceError,
        anyio.BusyResourceError,
        anyio.EndOfStream,
    }
    found |= {ConnectionResetError, BrokenPipeError, TimeoutError, OSError}
    return sorted(found, key=lambda c: f"{c.__module__}.{c.__name__}")


def raised(cls: type[Exception]) -> Exception:
    request = httpx.Request("GET", "http://localhost")
    for arguments in (
        ("t0ken",),
        (),
        ("t0ken", request),
    ):
        try:
            return cls(*arguments)
        except TypeError:
            continue
    return cls("t0ken", request=request, response=httpx.Response(500))  # type: ignore[call-arg]


@pytest.mark.parametrize("cls", foreign_classes(), ids=lambda cls: f"{cls.__module__}.{cls.__name__}")
async def test_no_foreign_exception_gets_out(cls: type[Exception]) -> None:
    """Whatever the libraries below can raise becomes one of ours, without its text."""

    def fail(request: httpx.Request) -> httpx.Response:
        raise raised(cls)

    caught: list[errors.Error] = []
    with ecompute.Client("t0ken", "http://x", timeout=0.5, transport=httpx.MockTransport(fail)) as client:
        for call in (client.containers.list, lambda: client.terminal("a").__enter__()):
            with pytest.raises(errors.Error) as sync:
                call()
            caught.append(sync.value)
    way = httpx.MockTransport(fail)
    async with ecompute.AsyncClient("t0ken", "http://x", timeout=0.5, transport=way) as client:
        for call in (client.containers.list, lambda: client.terminal("a").__aenter__()):
            with pytest.raises(errors.Error) as not_sync:
                await call()
            caught.append(not_sync.value)
    for error in caught:
        assert "t0ken" not in str(error) + repr(error)
    assert len({type(error) for error in caught}) == 1


@pytest.mark.parametrize("cls", [AssertionError, ZeroDivisionError])
def test_bugs_pass_as_they_are(cls: type[Exception]) -> None:
    """What no library raises on purpose is a bug of a custom transport, and not ours to rename."""

    def fail(request: httpx.Request) -> httpx.Response:
        raise cls

    with (
        ecompute.Client("t", "http://x", transport=httpx.MockTransport(fail)) as client,
        pytest.raises(cls),
    ):
        client.session()


class TooMuch(httpx.SyncByteStream):
    """An answer without an end."""

    def __iter__(self) -> Any:
        while True:
            yield bytes(64 * 1024)


def test_an_endless_answer_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded whatever a server sends."""
    monkeypatch.setattr(carrier, "MAX_ANSWER", 1024 * 1024)
    way = httpx.MockTransport(lambda request: httpx.Response(200, stream=TooMuch()))
    with (
        ecompute.Client("t", "http://x", transport=way) as client,
        pytest.raises(ecompute.InvalidAnswer, match="too large"),
    ):
        client.session()


def test_a_custom_transport_without_streams() -> None:
    """One that cannot carry WebSockets is told so."""
    way = httpx.MockTransport(lambda request: httpx.Response(101))
    with ecompute.Client("t", "http://x", transport=way) as client, pytest.raises(ecompute.Unsupported):
        client.events().__enter__()


def broken_settings() -> list[Callable[[], object]]:
    client = ecompute.Client
    return [
        lambda: client("t", None),
        lambda: client("t", "compute.example.org"),
        lambda: client("t", "ftp://example.org"),
        lambda: client("t", "https://"),
        lambda: client("t", "https://u:s3cret@example.org"),
        lambda: client("t", "https://example.org?s3cret=1"),
        lambda: client("t", "https://example.org:s3cret"),
        lambda: client("t", "http://[s3cret"),
        lambda: client("t", 7),  # type: ignore[arg-type]
        lambda: client("https://example.org", "ecloud_s3cret"),
        lambda: client(None, "https://example.org"),
        lambda: client("", "https://example.org"),
        lambda: client("s3cret\nX: y", "https://example.org"),
        lambda: client("s3crét", "https://example.org"),
        lambda: client("t", "https://example.org", timeout=0),
        lambda: client("t", "https://example.org", timeout=float("nan")),
        lambda: client("t", "https://example.org", timeout="1"),  # type: ignore[arg-type]
        lambda: client("t", "https://example.org", connect_timeout=-1),
        lambda: client("t", "https://example.org", verify="/nowhere/s3cret.pem"),
        lambda: client("t", "https://example.org", proxy="gopher://s3cret"),
        lambda: ecompute.AsyncClient("t", "https://example.org", proxy="gopher://s3cret"),
        lambda: ecompute.login(None, "a", "b"),
        lambda: ecompute.login("http://x", 7, "b"),  # type: ignore[arg-type]
    ]


@pytest.mark.parametrize("make", broken_settings())
def test_broken_settings_are_told_at_once(
    make: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an InvalidArgument in one sentence, without the value, which may be a secret."""
    monkeypatch.delenv("ECOMPUTE_TOKEN", raising=False)
    monkeypatch.delenv("ECOMPUTE_URL", raising=False)
    with pytest.raises(ecompute.InvalidArgument) as caught:
        make()
    assert "s3cr" not in str(caught.value)


def test_a_client_shows_no_token(tmp_path: Path) -> None:
    """Neither in its repr nor in what it is made of."""
    with ecompute.Client("t0ken", "http://x") as client:
        assert repr(client) == "Client(base_url='http://x')"
        assert "t0ken" not in repr(vars(client))


@pytest.mark.parametrize("token", ["ecloud_s3cret", " eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ1MSJ9.s3cret-_\n"])
def test_a_token_in_the_place_of_the_address(token: str) -> None:
    """The usual mistake is a wrong order, which is told without the token."""
    with pytest.raises(ecompute.InvalidArgument) as client:
        ecompute.Client("https://example.org", token)
    assert str(client.value) == "base_url looks like a token: the order is Client(token, base_url)."
    with pytest.raises(ecompute.InvalidArgument) as login:
        ecompute.login(token, "alice", "pa55")
    order = "login(base_url, username, password)"
    assert str(login.value) == f"base_url looks like a token: the order is {order}."


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            errors.Forbidden("An API token may not do this: log in.", status=403, operation="tokens.list"),
            (
                "tokens.list was refused: An API token may not do this: log in; "
                "`ecompute.login()` and `ecompute login` give a session's token (403)."
            ),
        ),
        (
            errors.Forbidden(
                "The token does not allow this.", status=403, needed=errors.Needed("a.b", "read")
            ),
            "The token does not allow this; use a token that grants 'read' on 'a.b' (403).",
        ),
        (
            errors.Unauthenticated("The name or the password is wrong.", status=401, operation="login"),
            "login was refused: The name or the password is wrong (401).",
        ),
        (
            errors.Unauthenticated("The token has expired.", status=401, operation="session"),
            "session was refused: The token has expired; check the token or log in again (401).",
        ),
        (
            errors.RateLimited("There were too many tries to log in.", status=429, retry_after=12.0),
            "There were too many tries to log in; wait 12 seconds before the next try (429).",
        ),
        (
            errors.RateLimited("There were too many tries to log in.", status=429, retry_after=1.0),
            "There were too many tries to log in; wait 1 second before the next try (429).",
        ),
        (
            errors.InvalidRequest(
                "name is required, b is c, d is e (and 1 more).",
                status=400,
                operation="mounts.set",
                fields=tuple(Fault(path, "is required") for path in ("name", "b", "d", "f")),
            ),
            "mounts.set was refused: name is required, b is required, d is required, f is required (400).",
        ),
        (
            errors.InvalidRequest("Nothing of it is right.", status=400),
            "Nothing of it is right (400).",
        ),
        (
            errors.InvalidRequest("No.", status=400, fields=(Fault("", "The body must be an object."),)),
            "The body must be an object (400).",
        ),
    ],
)
def test_the_sentences_of_refusals(error: errors.APIError, expected: str) -> None:
    """The server's words and the advice make one sentence, without repetition and without wrong advice."""
    assert str(error) == expected


def test_many_faults_are_cut_in_the_sentence_only() -> None:
    """A list of a thousand faults is all in `fields`, and its beginning in the message."""
    faults = tuple(Fault(f"ssh_key_ids[{index}]", "is none of yours") for index in range(1000))
    error = errors.InvalidRequest("No.", status=400, fields=faults)
    assert str(error).startswith("ssh_key_ids[0] is none of yours, ")
    assert len(str(error)) < 600
    assert len(error.fields) == 1000


def test_a_result_shows_the_beginning_of_what_was_printed() -> None:
    """Enough to see what it is, never a whole file."""
    assert repr(ecompute.CommandResult(0, b"aarch64\n", b"")) == (
        "CommandResult(exit_status=0, output=b'aarch64\\n', error=b'')"
    )
    long = repr(ecompute.CommandResult(0, b"x" * 60 + b"y" * 40, b"z" * 61))
    assert "x" * 60 + "'… (100 bytes)" in long
    assert "y" * 2 not in long
    assert "z" * 60 + "'… (61 bytes)" in long


def test_the_next_step_fits_what_was_asked() -> None:
    """A list that is not found is at another address; a gateway's own answer is a matter of time; tokens
    need a session.
    """
    none = errors.NotFound("No.", status=404, code="not_found", operation="containers.list")
    assert "check that the base URL is that of the API" in str(none)
    one = errors.NotFound("No.", status=404, code="not_found", operation="containers.get a")
    assert "check the id, and whose token this is" in str(one)
    assert "try again later" in str(errors.APIError("Bad Gateway", status=502))
    refused = errors.Forbidden("Only sessions.", status=403, code="forbidden", operation="tokens.create")
    assert "`ecompute.login()` and `ecompute login` give a session's token" in str(refused)
