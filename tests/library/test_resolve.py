"""Requests whose outcome is unknown: repeated under their keys where that is safe, or settled later."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest

import ecompute

from .fake_server import FakeServer, Request

pytestmark = pytest.mark.anyio

Serve = Callable[..., FakeServer]
Connect = Callable[..., Any]

SUPPORTED = {"Idempotency_Supported": "true"}


class Api:
    """Makes containers, one for each key, and loses as many answers as it is told."""

    def __init__(self, *, honours_keys: bool = True, loses: int = 0) -> None:
        self.made: dict[str, dict[str, Any]] = {}
        self.posts: list[str] = []
        self.probes = 0
        self.loses = loses
        self.refusal: tuple[int, str] | None = None
        self.under_way = 0
        self.users: dict[str, str] = {}
        """By their tokens, where the server tells whose they are."""
        self._more = SUPPORTED if honours_keys else {}
        self._lock = threading.Lock()

    def __call__(self, request: Request) -> None:
        with self._lock:
            if request.method == "GET":
                self.probes += 1
                user = self.users.get(request.headers["authorization"].removeprefix("Bearer "))
                if user is not None:
                    told = {"username": user, "display_name": user, "user_id": user, "is_admin": False}
                    request.answer(told, **self._more)
                    return
                request.refuse(403, "forbidden", **self._more)
                return
            key = request.headers["idempotency-key"]
            self.posts.append(key)
            if self.under_way:
                self.under_way -= 1
                request.refuse(409, "conflict", Retry_After="0", **self._more)
                return
            if self.refusal is not None:
                request.refuse(*self.refusal, **self._more)
                return
            name = key if self._more else str(len(self.made))
            box = {"id": f"box{len(self.made)}", "name": "b", "status": "pending"}
            answer = self.made.setdefault(name, box)
            self.loses -= 1
        if self.loses >= 0:
            request.wire.drop()
        request.answer(answer, **self._more)


async def test_a_lost_answer_is_asked_for_again(serve: Serve, connect: Connect) -> None:
    """The server says that it honours keys when it is asked; then the create is repeated under its key."""
    api = Api(loses=2)
    async with connect(serve(api)) as client:
        assert (await client.containers.create("b", [1])).id == "box0"
        assert (await client.containers.create("b", [1])).id == "box1"
    first, second, third, other = api.posts
    assert first == second == third != other
    assert (len(api.made), api.probes) == (2, 1)


async def test_a_server_that_honours_no_keys(serve: Serve, connect: Connect) -> None:
    """It is asked once, and the create is never sent again."""
    api = Api(honours_keys=False, loses=1)
    async with connect(serve(api)) as client:
        with pytest.raises(ecompute.OutcomeUnknown, match="list before trying again") as caught:
            await client.containers.create("b", [1])
        with pytest.raises(ecompute.Unsupported):
            await client.resolve(caught.value)
    assert (len(api.posts), len(api.made)) == (1, 1)


async def test_a_first_request_that_is_not_answered_yet(serve: Serve, connect: Connect) -> None:
    """It is waited for, longer than other troubles are, whoever sent it."""
    api = Api(loses=1)
    server_says = api.__call__

    def handle(request: Request) -> None:
        if len(api.posts) == 1 and request.method == "POST":
            api.under_way = 9
        server_says(request)

    async with connect(serve(handle)) as client:
        assert (await client.containers.create("b", [1], idempotency_key="mine")).id == "box0"
        assert len(api.posts) == 11
        api.under_way = 9
        assert (await client.containers.create("b", [1], idempotency_key="mine")).id == "box0"


@pytest.mark.parametrize("status", [408, 500, 502, 503, 504, 520])
async def test_a_gateway_that_lost_the_answer(serve: Serve, connect: Connect, status: int) -> None:
    """Whatever it says in the server's place, without a code of the API it leaves doubt."""
    api = Api()
    server_says = api.__call__
    left = [status]

    def handle(request: Request) -> None:
        if request.method == "POST" and left:
            api.made[request.headers["idempotency-key"]] = {"id": "box0", "name": "b", "status": "pending"}
            request.answer(b"upstream connect error", left.pop())
        else:
            server_says(request)

    async with connect(serve(handle)) as client:
        assert (await client.containers.create("b", [1])).id == "box0"
    assert len(api.made) == 1


async def test_the_callers_own_key(serve: Serve, connect: Connect) -> None:
    """It is sent as it is, and gives the same container; what is none is refused at once."""
    api = Api()
    async with connect(serve(api)) as client:
        for _ in range(2):
            assert (await client.containers.create("b", [1], idempotency_key="deploy-7")).id == "box0"
        for bad in ("", "ü", "a\nb", "x" * 256, 7, " a"):
            with pytest.raises(ecompute.InvalidArgument, match="idempotency key"):
                await client.containers.create("b", [1], idempotency_key=bad)
    assert api.posts == ["deploy-7"] * 2


async def lost(client: Any, api: Api) -> ecompute.OutcomeUnknown:
    api.loses = 100
    with pytest.raises(ecompute.OutcomeUnknown) as caught:
        await client.containers.create("b", [1])
    api.loses = 0
    return caught.value


async def test_settled_later(serve: Serve, connect: Connect) -> None:
    """By another client, from JSON; as often as one likes."""
    api = Api()
    server = serve(api)
    async with connect(server) as client:
        unknown = await lost(client, api)
        assert "resolve() can settle it" in str(unknown)
    text = unknown.to_json()
    assert "t0ken" not in text
    again = ecompute.OutcomeUnknown.from_json(text)
    assert (again.key, again.base_url, again.sent_at) == (unknown.key, unknown.base_url, unknown.sent_at)
    assert (str(again), again.request) == (str(unknown), unknown.request)
    async with connect(server) as client:
        for _ in range(2):
            box = await client.resolve(again)
            assert (box.id, type(box)) == ("box0", type(await client.containers.create("b", [1])))
    assert set(api.posts) >= {unknown.key}
    assert api.posts.count(str(unknown.key)) >= 3


async def test_a_refusal_says_that_nothing_was_made(serve: Serve, connect: Connect) -> None:
    """A server that had done it would answer as it did then."""
    api = Api()
    async with connect(serve(api)) as client:
        unknown = await lost(client, api)
        api.refusal = (409, "limit_reached")
        with pytest.raises(ecompute.LimitReached):
            await client.resolve(unknown)
        api.refusal = (401, "unauthenticated")
        with pytest.raises(ecompute.OutcomeUnknown) as caught:
            await client.resolve(unknown)
        assert isinstance(caught.value.__cause__, ecompute.Unauthenticated)
        assert caught.value.sent_at == unknown.sent_at


async def test_another_user_cannot_settle_it(serve: Serve, connect: Connect) -> None:
    """To whom the key would be a new one: refused, as far as the server tells who is who."""
    api = Api()
    api.users = {"t0ken": "u1", "other": "u2", "rotated": "u1"}
    server = serve(api)
    async with connect(server) as client:
        unknown = ecompute.OutcomeUnknown.from_json((await lost(client, api)).to_json())
    assert unknown.user_id == "u1"
    sent = len(api.posts)
    async with connect(server, token="other") as client:
        with pytest.raises(ecompute.InvalidArgument, match="another user"):
            await client.resolve(unknown)
    assert len(api.posts) == sent
    for token in ("rotated", "nobody's"):
        async with connect(server, token=token) as client:
            assert (await client.resolve(unknown)).id == "box0"


async def test_who_it_was_may_be_unknown(serve: Serve, connect: Connect) -> None:
    """Where the server did not tell, and in what an earlier version has written."""
    api = Api()
    async with connect(serve(api)) as client:
        unknown = await lost(client, api)
        assert unknown.user_id is None
        told = json.loads(unknown.to_json())
        del told["user_id"]
        assert (await client.resolve(ecompute.OutcomeUnknown.from_json(json.dumps(told)))).id == "box0"


async def test_whose_token_it_is_must_be_told_or_refused(serve: Serve, connect: Connect) -> None:
    """A server in trouble is no reason to leave it unchecked: the outcome stays unknown."""
    api = Api()
    api.users = {"t0ken": "u1"}
    troubled = False

    def handle(request: Request) -> None:
        if troubled and request.method == "GET":
            request.refuse(500, "internal")
        else:
            api(request)

    async with connect(serve(handle)) as client:
        unknown = await lost(client, api)
        troubled, sent = True, len(api.posts)
        with pytest.raises(ecompute.OutcomeUnknown) as caught:
            await client.resolve(unknown)
        assert isinstance(caught.value.__cause__, ecompute.InternalError)
    assert len(api.posts) == sent
    assert (caught.value.user_id, caught.value.sent_at) == ("u1", unknown.sent_at)


async def test_what_cannot_be_settled(serve: Serve, connect: Connect) -> None:
    """Another server's, one without a key, one that is too old, one of no operation: nothing is sent."""
    api = Api()
    async with connect(serve(api)) as client:
        unknown = await lost(client, api)
        sent = len(api.posts)
        told = json.loads(unknown.to_json())
        for change in (
            {"base_url": "http://elsewhere"},
            {"key": None},
            {"sent_at": told["sent_at"] - 24 * 3600},
            {"target": "/compute/containers/a/stop"},
        ):
            other = ecompute.OutcomeUnknown.from_json(json.dumps({**told, **change}))
            with pytest.raises(ecompute.InvalidArgument):
                await client.resolve(other)
    assert len(api.posts) == sent


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"message": 1}', "null", "\ud800"])
def test_other_text(text: str) -> None:
    """What `to_json` has not written is no unknown outcome."""
    with pytest.raises(ecompute.InvalidArgument, match="to_json"):
        ecompute.OutcomeUnknown.from_json(text)


async def test_a_token_has_no_key(serve: Serve, connect: Connect) -> None:
    """Its row takes none, so that its outcome cannot be had."""
    server = serve(lambda r: r.wire.drop())
    async with connect(server) as client:
        with pytest.raises(ecompute.OutcomeUnknown) as caught:
            await client.tokens.create("ci", {"compute.u1": ["read"]})
    assert caught.value.key is None
    assert len(server.seen) == 1
