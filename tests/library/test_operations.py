"""The rows beyond containers and keys: what is sent, what comes back, what is repeated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import ecompute
from ecompute import Grants, IngressRule, Mounts, Scope, SSHAccess, Token
from ecompute.contract.scopes import Action

from .conftest import script
from .fake_server import FakeServer, Request

pytestmark = pytest.mark.anyio

Serve = Callable[..., FakeServer]
Connect = Callable[..., Any]
Handle = Callable[[Request], None]

RULE = {"id": 3, "port": 8080, "target_port": 3000, "created_at": 1705326600}
TOKEN = {"id": "k1", "name": "ci", "scopes": {"compute.u1": ["read"]}, "expires_at": 9, "created_at": 1}
OK = {"status": "ok"}


def expects(method: str, target: str, body: Any, answer: Any) -> Handle:
    def handle(request: Request) -> None:
        assert (request.method, request.target) == (method, target)
        assert (request.json() if request.body else None) == body
        request.answer(answer)

    return handle


async def test_ssh_access(serve: Serve, connect: Connect) -> None:
    """Told and switched."""
    path = "/compute/containers/a/ssh"
    server = serve(
        script(
            expects("GET", path, None, {"ssh_enabled": False}),
            expects("PUT", path, {"ssh_enabled": True}, {"ssh_enabled": True}),
        )
    )
    async with connect(server) as client:
        assert await client.ssh_access.get("a") == SSHAccess(False)
        assert await client.ssh_access.set("a", True) == SSHAccess(True)
        with pytest.raises(ecompute.InvalidArgument):
            await client.ssh_access.set("a", 1)


async def test_ingress(serve: Serve, connect: Connect) -> None:
    """A target that was not given is not sent; a port stands in the path as a number."""
    path = "/compute/containers/a/ingress"
    server = serve(
        script(
            expects("GET", path, None, {"rules": [RULE]}),
            expects("POST", path, {"port": 8080}, RULE),
            expects("POST", path, {"port": 8080, "target_port": 3000}, RULE),
            expects("DELETE", path + "/8080", None, OK),
        )
    )
    rule = IngressRule(3, 8080, 3000, 1705326600)
    async with connect(server) as client:
        assert await client.ingress.list("a") == [rule]
        assert await client.ingress.add("a", 8080) == rule
        assert await client.ingress.add("a", 8080, target_port=3000) == rule
        assert await client.ingress.remove("a", 8080) is None
        for bad in ("8080", 80.0, True, None):
            with pytest.raises(ecompute.InvalidArgument):
                await client.ingress.add("a", bad)
            with pytest.raises(ecompute.InvalidArgument):
                await client.ingress.remove("a", bad)


async def test_mounts(serve: Serve, connect: Connect) -> None:
    """Any kind of sequence will do, but no single text."""
    path = "/compute/containers/a/mounts"
    server = serve(
        script(
            expects("GET", path, None, {"mount_paths": ["/root"]}),
            expects("PUT", path, {"mount_paths": ["/data"]}, {"mount_paths": ["/data"], "restarted": True}),
        )
    )
    async with connect(server) as client:
        assert await client.mounts.get("a") == Mounts(("/root",))
        assert await client.mounts.set("a", iter(["/data"])) == Mounts(("/data",), True)
        with pytest.raises(ecompute.InvalidArgument):
            await client.mounts.set("a", "/data")


SCOPE = Scope.parse("compute.u1.containers")


@pytest.mark.parametrize(
    "scopes",
    [
        {"compute.u1.containers": ["create", "read"]},
        {"compute.u1.containers": ("create", "read")},
        {SCOPE: [Action.CREATE, Action.READ]},
        Grants({SCOPE: {Action.READ, Action.CREATE}}),
    ],
)
async def test_scopes_may_be_said_in_many_ways(serve: Serve, connect: Connect, scopes: Any) -> None:
    """Texts, `Scope` and `Grants` are the same on the wire."""
    body = {"name": "ci", "scopes": {str(SCOPE): ["create", "read"]}, "expires_in": "90d"}
    server = serve(expects("POST", "/api/tokens", body, {**TOKEN, "token": "ecloud_s3cret"}))
    async with connect(server) as client:
        token = await client.tokens.create("ci", scopes, "90d")
    assert token == Token("k1", "ci", {"compute.u1": ("read",)}, 9, 1, token="ecloud_s3cret")
    assert "s3cret" not in repr(token)


@pytest.mark.parametrize(
    "scopes", [None, "compute.u1", ["compute.u1"], {"compute.u1": "read"}, {"compute.u1": [1]}, {1: ["read"]}]
)
async def test_scopes_that_are_none(serve: Serve, connect: Connect, scopes: Any) -> None:
    """The wrong shape is told before anything is sent; whether a scope is known is the server's matter."""
    server = serve(lambda r: r.refuse(400, "invalid_request"))
    async with connect(server) as client:
        with pytest.raises(ecompute.InvalidArgument):
            await client.tokens.create("ci", scopes)
        assert server.seen == []
        with pytest.raises(ecompute.InvalidRequest):
            await client.tokens.create("ci", {"storage.u1": ["dance"]}, "3d")


async def test_tokens(serve: Serve, connect: Connect) -> None:
    """Listed without secrets, thirty days unless said, revoked by id."""
    body = {"name": "ci", "scopes": {}, "expires_in": "30d"}
    server = serve(
        script(
            expects("GET", "/api/tokens", None, {"tokens": [TOKEN]}),
            expects("POST", "/api/tokens", body, TOKEN),
            expects("DELETE", "/api/tokens/k1", None, OK),
        )
    )
    async with connect(server) as client:
        (token,) = await client.tokens.list()
        assert (token.id, token.token) == ("k1", None)
        await client.tokens.create("ci", {})
        assert await client.tokens.delete("k1") is None


async def test_logging_out(serve: Serve, connect: Connect) -> None:
    """Nothing but the credential is sent."""
    server = serve(expects("POST", "/api/logout", None, OK))
    async with connect(server) as client:
        assert await client.logout() is None
    assert server.seen[0].headers["authorization"] == "Bearer t0ken"


def lost(request: Request) -> None:
    request.wire.drop()


async def test_what_does_no_harm_twice_is_repeated(serve: Serve, connect: Connect) -> None:
    """Publishing a port, switching and choosing paths say how it is to be, not what to add."""
    answers = [lambda r: r.answer(RULE), lambda r: r.answer({"ssh_enabled": True})]
    paths = lambda r: r.answer({"mount_paths": ["/a"], "restarted": False})  # noqa: E731
    server = serve(script(*(turn for answer in [*answers, paths] for turn in (lost, answer))))
    async with connect(server) as client:
        assert (await client.ingress.add("a", 8080)).id == 3
        assert (await client.ssh_access.set("a", True)).ssh_enabled
        assert (await client.mounts.set("a", ["/a"])).mount_paths == ("/a",)
    assert len(server.seen) == 6


async def test_a_token_is_made_once(serve: Serve, connect: Connect) -> None:
    """A lost answer leaves the outcome unknown rather than two tokens, and the error holds no secret."""
    server = serve(lost)
    async with connect(server) as client:
        with pytest.raises(ecompute.OutcomeUnknown) as caught:
            await client.tokens.create("ci", {"compute.u1": ["read"]})
    assert caught.value.operation == "tokens.create"
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    ("act", "code", "refusal"),
    [
        (lambda c: c.ingress.remove("a", 80), "not_found", (404, ecompute.NotFound)),
        (lambda c: c.tokens.delete("k1"), "not_found", (404, ecompute.NotFound)),
        (lambda c: c.logout(), "unauthenticated", (401, ecompute.Unauthenticated)),
    ],
)
async def test_an_end_that_finds_its_work_done(
    serve: Serve, connect: Connect, act: Any, code: str, refusal: tuple[int, type[Exception]]
) -> None:
    """After a lost answer, nothing left to end is the success; without one it is the refusal."""
    status, expected = refusal
    server = serve(script(lost, *[lambda r: r.refuse(status, code)] * 2))
    async with connect(server) as client:
        assert await act(client) is None
        with pytest.raises(expected):
            await act(client)
    assert len(server.seen) == 3


async def test_a_busy_answer_is_no_lost_one(serve: Serve, connect: Connect) -> None:
    """503 says that nothing was done: the 404 after it is the answer."""
    server = serve(
        script(
            lambda r: r.refuse(503, "unavailable", Retry_After="0"),
            lambda r: r.refuse(404, "not_found"),
        )
    )
    async with connect(server) as client:
        with pytest.raises(ecompute.NotFound):
            await client.tokens.delete("k1")
