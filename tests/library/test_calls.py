"""Single operations over a socket: what is sent, what comes back, what is repeated."""

from __future__ import annotations

import ast
import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

import ecompute

from .conftest import script
from .fake_server import FakeServer, Request, render

pytestmark = pytest.mark.anyio

Serve = Callable[..., FakeServer]
Connect = Callable[..., Any]

BOX = {
    "id": "abc12345",
    "name": "box",
    "status": "hibernating",
    "hostname": "abc12345.compute.localhost",
    "memory_mb": 512,
    "storage_gb": 5,
    "instance_type": "giga",
    "created_at": "2024-01-15T10:30:00Z",
    "ssh_enabled": False,
    "https_enabled": False,
    "colour": "blue",
}
KEY = {"id": 7, "name": "k", "public_key": "ssh-ed25519 AAAA", "created_at": "2024-01-15T10:30:00Z"}


def answers(data: Any, status: int = 200, **headers: str) -> Callable[[Request], None]:
    return lambda request: request.answer(data, status, **headers)


async def test_a_create_sends_what_was_given_and_nothing_else(serve: Serve, connect: Connect) -> None:
    """Fields that were not given are left out, so that the server's defaults hold."""
    server = serve(answers(BOX))
    async with connect(server) as client:
        box = await client.containers.create("box", [1, 2], mount_paths=["/data"])
    (request,) = server.seen
    assert (request.method, request.target) == ("POST", "/compute/containers")
    assert request.json() == {"name": "box", "ssh_key_ids": [1, 2], "mount_paths": ["/data"]}
    assert request.headers["authorization"] == "Bearer t0ken"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"] == f"ecompute/{ecompute.__version__}"
    assert box.created_at == datetime(2024, 1, 15, 10, 30, tzinfo=UTC)


async def test_strangers_pass(serve: Serve, connect: Connect) -> None:
    """A status, a type and a field of a newer server are handed on."""
    async with connect(serve(answers(BOX))) as client:
        box = await client.containers.get("abc12345")
    assert (box.status, box.instance_type, box.extra) == ("hibernating", "giga", {"colour": "blue"})


async def test_lists_are_lists(serve: Serve, connect: Connect) -> None:
    """A list operation gives a plain list of resources."""
    async with connect(serve(answers({"containers": [BOX], "ssh_keys": [KEY]}))) as client:
        (box,) = await client.containers.list()
        (key,) = await client.ssh_keys.list()
    assert isinstance(box, ecompute.contract.resources.Container)
    assert type(key) is ecompute.SSHKey


async def test_an_id_cannot_leave_its_place_in_the_path(serve: Serve, connect: Connect) -> None:
    """What stands in an id is encoded; what a path would swallow is refused before it is sent."""
    server = serve(answers(BOX))
    async with connect(server) as client:
        await client.containers.get("../ssh-keys/1?x=%2F#ü")
        for bad in ("", ".", "..", None, 3, "\ud800"):
            with pytest.raises(ecompute.InvalidArgument):
                await client.containers.delete(bad)
        for bad in ("1", 1.0, True, None):
            with pytest.raises(ecompute.InvalidArgument):
                await client.ssh_keys.delete(bad)
    assert [r.target for r in server.seen] == ["/compute/containers/..%2Fssh-keys%2F1%3Fx%3D%252F%23%C3%BC"]


async def test_all_wrong_shapes_are_told_at_once(serve: Serve, connect: Connect) -> None:
    """A request of the wrong shape is not sent, and says everything that is wrong with it."""
    server = serve(answers(BOX))
    async with connect(server) as client:
        with pytest.raises(ecompute.InvalidArgument) as caught:
            await client.containers.create(3, "12", memory_mb=1.5, ssh_enabled="yes", mount_paths=7)
        assert isinstance(caught.value, ValueError)
        paths = [f.path for f in caught.value.fields]
        assert paths == ["name", "ssh_key_ids", "memory_mb", "ssh_enabled", "mount_paths"]
    assert server.seen == []


async def test_a_server_with_a_path_of_its_own(serve: Serve, connect: Connect) -> None:
    """The base URL may end in a path."""
    server = serve(answers(BOX))
    async with connect(server.url + "/eu/v1/") as client:
        await client.containers.get("a")
    assert server.seen[0].target == "/eu/v1/compute/containers/a"


async def test_log_in(serve: Serve, log_in: Connect) -> None:
    """A login needs no token, sends none, and its password and token show up in no repr."""
    session = {"token": "s3cret", "username": "alice", "user_id": "u1", "display_name": "A", "is_admin": True}
    server = serve(answers(session))
    found = await log_in(server.url, "alice", "pa55")
    assert "authorization" not in server.seen[0].headers
    assert (found.token, found.user_id, found.is_admin) == ("s3cret", "u1", True)
    assert "s3cret" not in repr(found)


async def test_a_refused_login(serve: Serve, log_in: Connect) -> None:
    """A wrong pair is Unauthenticated, and the error holds no password."""
    server = serve(lambda r: r.refuse(401, "unauthenticated"))
    with pytest.raises(ecompute.Unauthenticated) as caught:
        await log_in(server.url, "alice", "pa55")
    assert "pa55" not in str(caught.value) + repr(caught.value) + repr(vars(caught.value))


async def test_a_refusal_carries_all_that_was_told(serve: Serve, connect: Connect) -> None:
    """Status, code, sentence, request id and the missing scope are there, and the sentence names the cure."""
    body = {
        "error": "The token lacks a scope.",
        "code": "forbidden",
        "needed": {"scope": "compute.u1.containers.a", "action": "update"},
    }
    async with connect(serve(answers(body, 403))) as client:
        with pytest.raises(ecompute.Forbidden) as caught:
            await client.containers.stop("a")
    error = caught.value
    assert (error.status, error.code, error.request_id) == (403, "forbidden", "r-1")
    assert error.needed is not None
    assert (error.needed.scope, error.needed.action) == ("compute.u1.containers.a", "update")
    assert str(error) == (
        "containers.stop a was refused: The token lacks a scope; use a token that grants 'update' on "
        "'compute.u1.containers.a' (403 forbidden, request r-1)."
    )


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, b"<html>" + b"x" * 1_000_000, ecompute.InvalidAnswer),
        (200, b'{"id": "a", "na', ecompute.InvalidAnswer),
        (200, b'{"id": "a", "name": "n"}', ecompute.InvalidAnswer),
        (200, b'{"id": 1, "name": "n", "status": "x"}', ecompute.InvalidAnswer),
        (200, b"[" * 100_000, ecompute.InvalidAnswer),
        (200, b"", ecompute.InvalidAnswer),
        (200, b"\xff", ecompute.InvalidAnswer),
        (204, b"", ecompute.InvalidAnswer),
        (404, b"<html>not here</html>", ecompute.NotFound),
        (418, b"[]", ecompute.APIError),
        (500, b'{"error": 3, "code": [], "fields": "x", "needed": 1}', ecompute.InternalError),
        (599, b"", ecompute.APIError),
    ],
)
async def test_answers_that_are_none(
    serve: Serve, connect: Connect, status: int, body: bytes, expected: type[Exception]
) -> None:
    """Web pages, torn JSON and missing fields end in a documented exception with a short message."""
    async with connect(serve(answers(body, status, Content_Type="text/html"))) as client:
        with pytest.raises(ecompute.Error) as caught:
            await client.containers.get("a")
    assert type(caught.value) is expected
    assert len(str(caught.value)) < 300


async def test_a_broken_encoding(serve: Serve, connect: Connect) -> None:
    """A body that is not what its headers say is an invalid answer."""
    async with connect(serve(answers(b"no gzip", Content_Encoding="gzip"))) as client:
        with pytest.raises(ecompute.InvalidAnswer):
            await client.session()


async def test_redirects_are_not_followed(serve: Serve, connect: Connect) -> None:
    """The credential stays where it was sent; the error tells the new address without its query."""
    elsewhere = serve(answers(BOX))
    server = serve(answers(b"", 302, Location=elsewhere.url + "/x?secret=1"))
    async with connect(server) as client:
        with pytest.raises(ecompute.InvalidAnswer) as caught:
            await client.containers.get("a")
    assert elsewhere.seen == []
    assert elsewhere.url in str(caught.value)
    assert "secret" not in str(caught.value)


async def test_reads_are_repeated(serve: Serve, connect: Connect) -> None:
    """A read outlives a connection that breaks, a busy gateway and a rate limit."""
    server = serve(
        script(
            lambda r: r.wire.drop(),
            lambda r: r.refuse(429, "rate_limited", Retry_After="0"),
            lambda r: r.answer(b"", 502),
            lambda r: r.answer(BOX),
        )
    )
    async with connect(server) as client:
        assert (await client.containers.get("abc12345")).name == "box"
    assert len(server.seen) == 4


async def test_tries_are_counted(serve: Serve, connect: Connect) -> None:
    """The last answer is raised when the tries are used up."""
    server = serve(lambda r: r.refuse(503, "unavailable", Retry_After="0"))
    async with connect(server) as client:
        with pytest.raises(ecompute.Unavailable):
            await client.containers.list()
    assert len(server.seen) == 4


async def test_a_wait_that_the_deadline_forbids_is_not_begun(serve: Serve, connect: Connect) -> None:
    """A Retry-After beyond the deadline is handed to the caller at once."""
    server = serve(lambda r: r.refuse(429, "rate_limited", Retry_After="3600"))
    async with connect(server) as client:
        with pytest.raises(ecompute.RateLimited) as caught:
            await client.containers.list()
    assert caught.value.retry_after == 3600
    assert len(server.seen) == 1


async def test_a_create_whose_answer_is_lost_is_not_sent_again(serve: Serve, connect: Connect) -> None:
    """Wherever the answer is cut, the outcome is unknown and there was one request."""
    whole = render(200, json.dumps(BOX).encode())
    for cut in sorted({*range(0, len(whole), 23), len(whole) - 1}):
        server = serve(lambda r, cut=cut: (r.wire.send(whole[:cut]), r.wire.drop()))
        async with connect(server) as client:
            with pytest.raises(ecompute.OutcomeUnknown) as caught:
                await client.containers.create("box", [1])
            assert caught.value.operation == "containers.create"
            assert json.loads(caught.value.request.body)["name"] == "box"
        assert [r.method for r in server.seen].count("POST") == 1


@pytest.mark.parametrize("answer", [(502, b""), (504, b""), (200, b'{"id": "a'), (200, b"<html>")])
async def test_a_create_whose_answer_cannot_be_read(
    serve: Serve, connect: Connect, answer: tuple[int, bytes]
) -> None:
    """A gateway's excuse or a success in pieces leaves the outcome unknown too."""
    server = serve(answers(answer[1], answer[0]))
    async with connect(server) as client:
        with pytest.raises(ecompute.OutcomeUnknown):
            await client.ssh_keys.add("k", "ssh-ed25519 AAAA")
    assert [r.method for r in server.seen].count("POST") == 1


async def test_a_create_that_was_certainly_not_taken_is_repeated(serve: Serve, connect: Connect) -> None:
    """A rate limit comes before any work; a refusal is an answer."""
    server = serve(
        script(
            lambda r: r.refuse(429, "rate_limited", Retry_After="0"),
            lambda r: r.answer(BOX),
            lambda r: r.refuse(503, "unavailable", Retry_After="0"),
        )
    )
    async with connect(server) as client:
        await client.containers.create("box", [1])
        with pytest.raises(ecompute.Unavailable):
            await client.containers.create("box", [1])
    assert len(server.seen) == 3


async def test_a_deletion_that_finds_its_work_done(serve: Serve, connect: Connect) -> None:
    """After a lost answer, nothing left to delete is the success; without one it is NotFound."""
    server = serve(
        script(
            lambda r: r.wire.drop(),
            lambda r: r.refuse(404, "not_found"),
            lambda r: r.refuse(404, "not_found"),
        )
    )
    async with connect(server) as client:
        assert await client.containers.delete("a") is None
        with pytest.raises(ecompute.NotFound):
            await client.containers.delete("a")


async def test_a_server_that_does_not_answer(serve: Serve, connect: Connect) -> None:
    """A read ends with its deadline; a create in doubt."""
    released = threading.Event()
    server = serve(lambda r: released.wait(20))
    async with connect(server) as client:
        with pytest.raises(ecompute.DeadlineExceeded) as caught:
            await client.containers.list(timeout=0.05)
        assert isinstance(caught.value, TimeoutError)
        with pytest.raises(ecompute.OutcomeUnknown):
            await client.containers.create("box", [1], timeout=1)
    released.set()
    assert [request.method for request in server.seen].count("POST") == 1


async def test_a_server_that_drips(serve: Serve, connect: Connect) -> None:
    """The deadline is a total: bytes that still come do not stretch it."""
    released = threading.Event()

    def drip(request: Request) -> None:
        request.wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n")
        while not released.wait(0.01):
            request.wire.send(b" ")

    async with connect(serve(drip), timeout=0.2) as client:
        with pytest.raises(ecompute.DeadlineExceeded):
            await client.containers.list()
    released.set()


async def test_nobody_there(serve: Serve, connect: Connect) -> None:
    """A refused connection is told as such, for a create too: nothing was sent."""
    server = serve(answers(BOX))
    server.stop()
    async with connect(server) as client:
        with pytest.raises(ecompute.ConnectError) as caught:
            await client.containers.create("box", [1])
    assert not caught.value.maybe_sent
    assert server.url in str(caught.value)
    assert isinstance(caught.value, ConnectionError)


async def test_a_client_that_is_closed(serve: Serve, connect: Connect) -> None:
    """Use after the end says so; closing twice is no fault."""
    client = connect(serve(answers(BOX)))
    await client.aclose()
    await client.aclose()
    for use in (
        client.containers.list(),
        client.events().__aenter__(),
        client.terminal("a").__aenter__(),
        client.watch().__aenter__(),
        client.temporary().__aenter__(),
        client.run("a", "true"),
    ):
        with pytest.raises(ecompute.Closed):
            await use


async def test_no_connection_is_left(serve: Serve, connect: Connect) -> None:
    """A closed client has closed its sockets."""
    server = serve(answers({"containers": []}))
    async with connect(server) as client:
        for _ in range(5):
            await client.containers.list()
        assert server.open_connections() == 1
    server.wait_idle()


def test_every_argument_is_named_in_the_signature() -> None:
    """The client takes no **kwargs: a mistyped name is an error of the call."""
    twins = ("client", "engine", "logging_in", "operations")
    for module in (*twins, *(f"async_{name}" for name in twins)):
        from pathlib import Path

        tree = ast.parse(Path(ecompute.__file__).with_name(f"{module}.py").read_text())
        functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
        assert not [f.name for f in functions if f.args.kwarg or f.args.vararg]
