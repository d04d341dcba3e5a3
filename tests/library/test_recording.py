"""What a program used, and that it can do with that: the recorder, and `needed_for` put to the test."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import Context, copy_context
from typing import Any

import anyio
import pytest

import ecompute
from ecompute.contract.catalog import Status
from ecompute.contract.endpoints import (
    DELETE_CONTAINER,
    DELETE_SSH_KEY,
    EVENTS,
    GET_CONTAINER,
    GET_SESSION,
    LIST_CONTAINERS,
    LIST_TOKENS,
)
from ecompute.contract.needs import ROWS
from ecompute.contract.scopes import Action, Grants, Scope
from ecompute.exchange import HTTPAnswer, HTTPRequest
from ecompute.recording import Recorder, answered, note, recorded_grants
from ecompute_server.testing import RunningServer, running_server

from .fake_server import LIMIT

Connect = Callable[..., Any]


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    """One server for all of these."""
    with running_server() as running:
        yield running


def used(recorder: Recorder) -> str:
    return str(recorder.grants)


def pairs(grants: Grants) -> list[tuple[Scope, Action]]:
    return [(scope, action) for scope, actions in grants for action in actions]


def test_what_is_noted_is_kept_in_its_smallest_form() -> None:
    """At any time, also after the block; and by the row's scope, whatever id is told."""
    with recorded_grants() as recorder:
        assert not recorder.grants
        assert repr(recorder) == "<Recorder: nothing>"
        note(GET_CONTAINER, "a1")
        note(DELETE_SSH_KEY, 7)
        assert used(recorder) == "compute.<uid>.containers.a1=read compute.<uid>.keys=delete"
        note(LIST_CONTAINERS)
        note(DELETE_CONTAINER, "a1", "u1")
        note(GET_SESSION)
    assert used(recorder) == (
        "compute.<uid>.containers=read compute.<uid>.keys=delete compute.u1.containers.a1=delete"
    )
    assert recorder.session_only == frozenset()
    assert used(recorder) in repr(recorder)


def test_what_is_outside_does_not_count() -> None:
    """Before the block, after it, and with nobody listening."""
    note(GET_CONTAINER, "a1")
    with recorded_grants() as recorder:
        inside = copy_context()
    note(GET_CONTAINER, "a1")
    inside.run(note, GET_CONTAINER, "a1")
    assert not recorder.grants


def test_an_id_that_no_scope_can_name_is_left_out() -> None:
    """There is nothing of that name; the program is not disturbed."""
    with recorded_grants() as recorder:
        note(GET_CONTAINER, "a.b")
    assert not recorder.grants


def test_what_only_a_session_may_do_is_told_apart() -> None:
    """No grant helps there."""
    with recorded_grants() as recorder:
        note(LIST_TOKENS)
    assert not recorder.grants
    assert recorder.session_only == {"tokens.list"}


def test_blocks_may_be_nested() -> None:
    """Each records what is done inside of it."""
    with recorded_grants() as outer:
        note(GET_CONTAINER, "a1")
        with recorded_grants() as inner:
            note(GET_CONTAINER, "b1")
        note(GET_CONTAINER, "c1")
    assert used(inner) == "compute.<uid>.containers.b1=read"
    assert len(outer.grants.by_scope) == 3


def test_a_block_may_end_in_another_context() -> None:
    """As a generator's does that somebody else closes; the context that it began in records no more."""
    block = recorded_grants()
    began = copy_context()
    recorder = began.run(block.__enter__)
    began.run(note, GET_CONTAINER, "a1")
    block.__exit__(None, None, None)
    began.run(note, GET_CONTAINER, "b1")
    assert used(recorder) == "compute.<uid>.containers.a1=read"


def test_a_thread_with_the_context_is_included() -> None:
    """Many at once, none lost."""
    with recorded_grants() as recorder:
        threads = [
            threading.Thread(target=copy_context().run, args=(note, GET_CONTAINER, f"a{number}"))
            for number in range(20)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(recorder.grants.by_scope) == 20


def test_a_context_of_its_own_is_not_included() -> None:
    """As a plain thread has, as a rule."""
    with recorded_grants() as recorder:
        Context().run(note, GET_CONTAINER, "a1")
    assert not recorder.grants


async def look(name: str) -> None:
    note(GET_CONTAINER, name)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_tasks_are_included(anyio_backend: str) -> None:
    """Those that are started inside, and the threads of `anyio.to_thread`; two blocks at once are apart."""

    async def one(name: str, told: dict[str, str]) -> None:
        with recorded_grants() as recorder:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(look, name)
                await anyio.to_thread.run_sync(note, DELETE_CONTAINER, name)
        told[name] = used(recorder)

    told: dict[str, str] = {}
    async with anyio.create_task_group() as tasks:
        for name in ("a1", "b1"):
            tasks.start_soon(one, name, told)
    assert told == {name: f"compute.<uid>.containers.{name}=delete,read" for name in ("a1", "b1")}


def test_the_thread_of_asyncio_is_included() -> None:
    """`asyncio.to_thread` copies the context."""

    async def main() -> str:
        with recorded_grants() as recorder:
            await asyncio.to_thread(note, GET_CONTAINER, "a1")
        return used(recorder)

    assert asyncio.run(main()) == "compute.<uid>.containers.a1=read"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_an_answer_tells_its_row(row: Any) -> None:
    """By method and target, with the id in it."""
    target = row.path.format(id="a%2D1", port=80) + "?rows=1"
    with recorded_grants() as recorder:
        answered(HTTPRequest("x", row.method, target), HTTPAnswer(200, {}, b""))
    if row.scope is None:
        assert not recorder.grants
        assert recorder.session_only == ({row.name} if row.auth == "session" else set())
    else:
        assert recorder.grants == Grants.needed_for(row, "a-1")


@pytest.mark.parametrize("body", [b"", b"[]", b'{"id": 7}', b"\xff"])
def test_an_answer_that_tells_no_container_does_not_disturb(body: bytes) -> None:
    """What is wrong with it is told elsewhere."""
    with recorded_grants() as recorder:
        answered(HTTPRequest("x", "POST", "/compute/containers"), HTTPAnswer(200, {}, body))
    assert recorder.repeatable == recorder.grants == Grants.needed_for("containers.create")


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_uses_nothing(status: int) -> None:
    """For want of a right, that is: any other answer says that there was one."""
    request = HTTPRequest("x", "GET", "/compute/containers")
    with recorded_grants() as recorder:
        answered(request, HTTPAnswer(status, {}, b""))
        answered(HTTPRequest("x", "GET", "/elsewhere"), HTTPAnswer(200, {}, b""))
        assert not recorder.grants
        answered(request, HTTPAnswer(404, {}, b""))
        assert recorder.grants == Grants.needed_for(LIST_CONTAINERS)


async def program(client: Any, id_: str) -> None:
    """Every way to the server: calls, a command, a terminal, the feed, a view, waits."""
    await client.run(id_, "true", check=True)
    async with client.terminal(id_):
        pass
    await client.ssh_access.set(id_, True)
    await client.containers.stop(id_)
    await client.containers.wait(id_, Status.STOPPED, timeout=LIMIT)
    await client.containers.start(id_, wait=True, timeout=LIMIT)
    async with client.events(), client.watch():
        pass
    await client.ssh_keys.list()


@pytest.mark.anyio
async def test_a_program_can_do_with_what_was_recorded(server: RunningServer, connect: Connect) -> None:
    """A token of it is enough, and with one grant less it is not."""
    async with connect(server.url, token=server.token) as owner, owner.temporary() as box:
        with recorded_grants() as recorder:
            await program(owner, box.id)
        assert used(recorder) == f"compute.<uid>=read compute.<uid>.containers.{box.id}=update"
        enough = await owner.tokens.create("enough", recorder.grants)
        async with connect(server.url, token=enough.token) as limited:
            await program(limited, box.id)
        for left_out in pairs(recorder.grants):
            less = Grants.of([pair for pair in pairs(recorder.grants) if pair != left_out])
            token = await owner.tokens.create("less", less)
            async with connect(server.url, token=token.token) as limited:
                with pytest.raises(ecompute.Forbidden):
                    await program(limited, box.id)


@pytest.mark.anyio
async def test_what_a_temporary_container_uses(server: RunningServer, connect: Connect) -> None:
    """Its making, its wait and its end are the block's; another run has another one."""
    async with connect(server.url, token=server.token) as client:
        with recorded_grants() as recorder:
            async with client.temporary() as box:
                pass
        assert recorder.grants == Grants.parse(
            f"compute.<uid>=read compute.<uid>.containers=create compute.<uid>.containers.{box.id}=delete "
            "compute.<uid>.keys=create,delete"
        )
        again = recorder.repeatable
        assert again == (recorder.grants | Grants.needed_for("containers.delete")).minimal()
        made = await client.tokens.create("again", again)
        async with connect(server.url, token=made.token) as limited, limited.temporary() as box:
            assert box.id not in str(again)


@pytest.mark.anyio
async def test_a_wait_uses_the_feed(server: RunningServer, connect: Connect) -> None:
    """Although it is opened elsewhere, for all who wait."""
    async with connect(server.url, token=server.token) as client, client.temporary() as box:
        with recorded_grants() as recorder:
            await client.containers.wait(box.id, Status.RUNNING, timeout=LIMIT)
    assert recorder.grants == Grants.needed_for(EVENTS)


@pytest.mark.anyio
async def test_a_wait_without_a_feed_uses_less(server: RunningServer, connect: Connect) -> None:
    """The refused feed does not count."""
    async with connect(server.url, token=server.token) as owner, owner.temporary() as box:
        least = Grants.needed_for("containers.wait", box.id)
        made = await owner.tokens.create("looks", least)
        async with connect(server.url, token=made.token) as client:
            with recorded_grants() as recorder:
                await client.containers.wait(box.id, Status.RUNNING, timeout=LIMIT)
    assert recorder.grants == least


@pytest.mark.anyio
async def test_a_refused_operation_uses_nothing(server: RunningServer, connect: Connect) -> None:
    """Neither a call nor the opening of a terminal."""
    token = server.api_token({"compute.<uid>.keys": ["read"]})
    async with connect(server.url, token=token) as client:
        with recorded_grants() as recorder:
            with pytest.raises(ecompute.Forbidden):
                await client.containers.get("abc12345")
            with pytest.raises(ecompute.Forbidden):
                await client.run("abc12345", "true")
            await client.ssh_keys.list()
    assert used(recorder) == "compute.<uid>.keys=read"


def opened(thing: Any) -> None:
    with thing:
        pass


OPERATIONS: dict[str, tuple[Callable[[Any], Any], dict[str, bool], Callable[[Any, str], Any]]] = {
    "run": (lambda c: c.run, {}, lambda c, id_: c.run(id_, "true", check=True)),
    "terminal": (lambda c: c.terminal, {}, lambda c, id_: opened(c.terminal(id_))),
    "events": (lambda c: c.events, {}, lambda c, id_: opened(c.events())),
    "watch": (lambda c: c.watch, {}, lambda c, id_: opened(c.watch())),
    "wait": (lambda c: c.containers.wait, {}, lambda c, id_: c.containers.wait(id_)),
    "wait_all": (lambda c: c.containers.wait_all, {}, lambda c, id_: c.containers.wait_all([id_])),
    "start": (
        lambda c: c.containers.start,
        {"wait": True},
        lambda c, id_: c.containers.start(id_, wait=True),
    ),
    "temporary": (lambda c: c.temporary, {}, lambda c, id_: opened(c.temporary())),
    "delete": (lambda c: c.containers.delete, {}, lambda c, id_: c.containers.delete(id_)),
}


@contextmanager
def tidied(owner: ecompute.Client, kept: str) -> Iterator[None]:
    """Deletes what a token could make and could not delete."""
    keys = {key.id for key in owner.ssh_keys.list()}
    yield
    for box in owner.containers.list():
        if box.id != kept:
            owner.containers.delete(box)
    for key in owner.ssh_keys.list():
        if key.id not in keys:
            owner.ssh_keys.delete(key)


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_least_grants_are_enough_and_not_too_much(server: RunningServer, name: str) -> None:
    """A token of them does it; a token with one grant less is refused."""
    method, options, do = OPERATIONS[name]
    with server.client() as owner, owner.temporary() as box:
        least = Grants.needed_for(method(owner), box, user_id=server.user_id, **options)
        other = (Scope.fill("compute.<uid>.containers.other", user_id=server.user_id), Action.READ)
        for left_out in pairs(least):
            rest = Grants.of([other, *(pair for pair in pairs(least) if pair != left_out)])
            token = server.api_token(rest.to_dict())
            with tidied(owner, box.id), server.client(token) as limited, pytest.raises(ecompute.Forbidden):
                do(limited, box.id)
        with server.client(server.api_token(least.to_dict())) as limited:
            do(limited, box.id)
