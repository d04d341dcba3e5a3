"""Tokens that come from a command or a function: when they are asked for, and what is never shown."""

from __future__ import annotations

import logging
import os
import pickle
import select
import shlex
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import anyio.from_thread
import pytest

import ecompute
from ecompute.credentials import Credential, Token, from_function, from_helper
from ecompute.errors import InvalidArgument

from .conftest import script
from .fake_server import LIMIT, FakeServer, Request
from .shown import shown

pytestmark = pytest.mark.anyio

Serve = Callable[..., FakeServer]
Connect = Callable[..., Any]

EMPTY: dict[str, list[object]] = {"containers": []}


def python(code: str, *arguments: object) -> str:
    return shlex.join([sys.executable, "-c", code, *map(str, arguments)])


def printing(output: str) -> str:
    return python("import sys; sys.stdout.write(sys.argv[1])", output)


@pytest.fixture
def profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[FakeServer, str], None]:
    """Makes the default profile one for a server, with a helper."""

    def make(server: FakeServer, helper: str) -> None:
        file = tmp_path / "config.toml"
        file.write_text(
            f'default_profile = "w"\n[profiles.w]\nurl = "{server.url}"\n'
            f"credential_helper = '''{helper}'''\n"
        )
        file.chmod(0o600)
        monkeypatch.setenv("ECOMPUTE_CONFIG", str(file))

    return make


def counting(folder: Path) -> str:
    """A helper that prints t1, t2, and so on."""
    code = "import sys; f = open(sys.argv[1], 'a'); f.write('x'); print(f't{f.tell()}')"
    return python(code, folder / "runs")


def authorized(request: Request) -> str:
    return request.headers["authorization"].removeprefix("Bearer ")


@pytest.mark.parametrize(
    ("output", "token", "expires_at"),
    [
        ("t0ken", "t0ken", None),
        ("t0ken\r\nmore\n", "t0ken", None),
        ('{"token": "t0ken"}', "t0ken", None),
        ('{\n"token": "t0ken",\n"expires_at": 0}\n', "t0ken", None),
        ('{"token": "t0ken", "expires_at": 2000000000.5}', "t0ken", 2000000000.5),
        ('{"token": "t0ken", "expires_at": "2033-05-18T03:33:20Z"}', "t0ken", 2000000000.0),
    ],
)
def test_what_a_helper_may_print(output: str, token: str, expires_at: float | None) -> None:
    """A line, or JSON with the moment at which the token ends."""
    found = from_helper(printing(output)).get(LIMIT)
    assert (found.reveal(), found.expires_at) == (token, expires_at)


@pytest.mark.parametrize(
    "output",
    [
        "",
        "s3cret s3cret",
        "s3crét",
        '{"token": "s3cret"',
        '{"token": ["s3cret"]}',
        '{"toke": "s3cret"}',
        '{"token": "s3cret", "expires_at": "soon"}',
        '{"token": "s3cret", "expires_at": "2033-05-18"}',
        '{"token": "s3cret", "expires_at": true}',
        '{"token": "s3cret", "expires_at": ' + "9" * 5000 + "}",
        '{"token": "s3cret", "more": ' + "[" * 60_000,
    ],
)
def test_what_is_no_token_is_not_shown(output: str, tmp_path: Path) -> None:
    """Neither in the sentence nor in the frames behind it."""
    file = tmp_path / "output"
    file.write_text(output)
    code = "import sys; print(open(sys.argv[1]).read())"
    with pytest.raises(InvalidArgument, match=r"^The credential helper '[^ ]+' printed no token") as caught:
        from_helper(python(code, file)).get(LIMIT)
    assert "s3cr" not in shown(caught.value)


@pytest.mark.parametrize(
    ("helper", "expected"),
    [
        (python("print('s3cret'); raise SystemExit(3)"), "failed with the exit status 3"),
        ("/nowhere/helper s3cret", "cannot be run: No such file or directory"),
    ],
)
def test_a_helper_that_fails(helper: str, expected: str) -> None:
    """The sentence names the command, without its arguments."""
    with pytest.raises(InvalidArgument) as caught:
        from_helper(helper).get(LIMIT)
    command = shlex.split(helper)[0]
    assert str(caught.value) == f"The credential helper {command!r} {expected}."


@pytest.mark.parametrize("command", ["", "  ", "pass 'x"])
def test_what_is_no_command(command: str) -> None:
    """It is told before it is run."""
    with pytest.raises(InvalidArgument, match="credential_helper must be a command line"):
        from_helper(command)


def test_a_helper_talks_to_the_user(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """What it writes to standard error passes; it has no standard input."""
    code = "import sys; print('touch the key', file=sys.stderr); print('t' + str(len(sys.stdin.read())))"
    assert from_helper(python(code)).get(LIMIT).reveal() == "t0"
    assert "touch the key" in capfd.readouterr().err


def test_a_helper_without_time() -> None:
    """A command that is still at work when the time is over is ended, and told as that."""
    with pytest.raises(ecompute.ConnectError) as caught:
        from_helper(python("import time; print('s3cret', flush=True); time.sleep(20)")).get(0.3)
    assert caught.value.timed_out
    assert not caught.value.maybe_sent
    with pytest.raises(ecompute.ConnectError):
        from_helper(printing("t")).get(0)


def test_a_helper_that_does_not_stop_printing() -> None:
    """It is ended after 64 KiB; what it printed is not shown."""
    endless = python("import itertools\nfor _ in itertools.count(): print('s3' + 'cret')")
    with pytest.raises(
        InvalidArgument, match=r"^The credential helper '[^ ]+' printed more than 64 KiB\.$"
    ) as caught:
        from_helper(endless).get(LIMIT)
    assert "s3cret" not in shown(caught.value)
    just = "print('t0ken'); print('x' * (64 * 1024 - 7), end='')"
    assert from_helper(python(f"{just}; print()")).get(LIMIT).reveal() == "t0ken"
    with pytest.raises(InvalidArgument, match="printed more than 64 KiB"):
        from_helper(python(f"{just}; print('y')")).get(LIMIT)


STARTING = """
import subprocess, sys
with open(sys.argv[1], "w") as held:
    options = {"start_new_session": True} if len(sys.argv) > 2 else {}
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], stderr=held, **options)
print(f"t{child.pid}", flush=True)
"""


@pytest.mark.skipif(os.name != "posix", reason="there are no sessions here")
def test_what_a_helper_has_started_is_ended_with_it(tmp_path: Path) -> None:
    """It holds the output open, which is not waited for."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert from_helper(python(STARTING, pipe)).get(LIMIT).reveal().startswith("t")
        assert select.select([reader], [], [], LIMIT)[0] == [reader]
        assert os.read(reader, 1) == b""
    finally:
        os.close(reader)


@pytest.mark.skipif(os.name != "posix", reason="there are no sessions here")
def test_a_daemon_that_a_helper_has_started_stays(tmp_path: Path) -> None:
    """One with a session of its own, such as an agent for keys: it is not waited for either."""
    told = tmp_path / "told"
    daemon = int(from_helper(python(STARTING, told, "daemon")).get(LIMIT).reveal().removeprefix("t"))
    os.kill(daemon, signal.SIGKILL)


def test_the_arguments_of_a_helper_are_not_shown() -> None:
    """Neither when it fails nor when it is no command line."""
    for command in (python("raise SystemExit(1)", "s3cret"), "/nowhere/helper s3cret", "pass 's3cret"):
        with pytest.raises(InvalidArgument) as caught:
            from_helper(command).get(LIMIT)
        assert "s3cret" not in shown(caught.value)


def test_a_token_is_asked_for_once_and_again_when_it_ends() -> None:
    """A little before its end, since it has a way to go."""
    now = [1000.0]
    given: list[Token] = []

    def source(within: float) -> Token:
        given.append(Token(f"t{len(given)}", now[0] + 60))
        return given[-1]

    credential = Credential(source=source, now=lambda: now[0])
    assert credential.ready() is None
    assert [credential.get(1).reveal() for _ in range(2)] == ["t0", "t0"]
    now[0] += 49
    assert credential.ready() is given[0]
    now[0] += 2
    assert credential.ready() is None
    assert credential.get(1).reveal() == "t1"


def test_an_old_token_is_better_than_none(caplog: pytest.LogCaptureFixture) -> None:
    """When no new one can be had, the server has the last word, and the log the reason."""

    def source(within: float) -> Token:
        if answers:
            return answers.pop()
        raise InvalidArgument("The source is dry.")

    answers = [Token("old", 0.0001)]
    credential = Credential(source=source)
    assert credential.get(1).reveal() == "old"
    assert credential.get(1).reveal() == "old"
    assert credential.renew(Token("old"), 1) is None
    assert "There is no new token: The source is dry." in caplog.text


def test_threads_share_one_renewal() -> None:
    """Whoever comes second finds the new token, and does not ask again."""
    asked = []

    def source(within: float) -> Token:
        asked.append(within)
        return Token(f"t{len(asked)}")

    credential = Credential(source=source)
    first = credential.get(1)
    found: list[Token | None] = []
    threads = [
        threading.Thread(target=lambda: found.append(credential.renew(first, LIMIT))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [Token("t2")] * 8
    assert len(asked) == 2


def test_waiting_for_another_asker_has_an_end() -> None:
    """A thread whose time is over while another asks does not go on waiting."""
    began, released = threading.Event(), threading.Event()

    def source(within: float) -> Token:
        began.set()
        released.wait(LIMIT)
        return Token("t")

    credential = Credential(source=source)
    thread = threading.Thread(target=lambda: credential.get(LIMIT))
    thread.start()
    began.wait(LIMIT)
    with pytest.raises(ecompute.ConnectError) as caught:
        credential.get(0.01)
    assert caught.value.timed_out
    released.set()
    thread.join()
    assert credential.get(0).reveal() == "t"


def test_a_token_shows_nothing() -> None:
    """It compares and hashes, and leaves no trace in a repr or a pickle."""
    token = Token("s3cret")
    assert "s3cret" not in repr(token) + str(token) + f"{token}" + repr([token]) + repr(Credential(token))
    assert token == Token("s3cret")
    assert len({token, Token("s3cret"), Token("other")}) == 2
    assert token != "s3cret"
    with pytest.raises(TypeError):
        pickle.dumps(token)


def test_a_function_that_gives_no_token() -> None:
    """What it gave is not shown."""
    with pytest.raises(InvalidArgument, match="The function given as token gave none") as caught:
        from_function(lambda: "s3cret s3cret").get(1)
    assert "s3cret" not in str(caught.value)


async def test_a_refused_token_is_renewed_once(serve: Serve, connect: Connect) -> None:
    """The row is repeated with the new token, also one that must not happen twice: nothing had happened."""
    tokens = iter(["old", "new"])
    server = serve(
        script(
            lambda r: r.answer(EMPTY),
            lambda r: r.refuse(401, "unauthenticated"),
            lambda r: r.answer({"id": "abc12345", "name": "box", "status": "creating"}),
            lambda r: r.answer(EMPTY),
        )
    )
    seen: list[tuple[str, int, int]] = []

    def told(response: ecompute.Response) -> None:
        seen.append((response.request.operation, response.attempt, response.status))

    hooks = ecompute.Hooks(response=told)
    async with connect(server, token=lambda: next(tokens), hooks=hooks) as client:
        await client.containers.list()
        assert (await client.containers.create("box", [1])).id == "abc12345"
        await client.containers.list()
        assert client.stats.requests == 4
    assert seen == [
        ("containers.list", 1, 200),
        ("containers.create", 1, 401),
        ("containers.create", 2, 200),
        ("containers.list", 1, 200),
    ]
    assert [authorized(request) for request in server.seen] == ["old", "old", "new", "new"]
    assert server.seen[1].body == server.seen[2].body
    assert server.seen[1].headers.get("idempotency-key") == server.seen[2].headers.get("idempotency-key")


async def test_a_server_that_refuses_every_token(serve: Serve, connect: Connect) -> None:
    """There is one more try for a call, and none when the token stays the same."""
    server = serve(lambda r: r.refuse(401, "unauthenticated"))
    count = iter(range(100))
    async with connect(server, token=lambda: f"t{next(count)}") as client:
        with pytest.raises(ecompute.Unauthenticated):
            await client.containers.list()
        with pytest.raises(ecompute.Unauthenticated):
            await client.terminal("a").__aenter__()
    assert [authorized(request) for request in server.seen] == ["t0", "t1", "t1", "t2"]
    async with connect(server, token=lambda: "same") as client:
        with pytest.raises(ecompute.Unauthenticated):
            await client.containers.list()
    async with connect(server, token="static") as client:
        with pytest.raises(ecompute.Unauthenticated):
            await client.containers.list()
    assert [authorized(request) for request in server.seen[4:]] == ["same", "static"]


async def test_a_feed_is_opened_with_a_new_token(serve: Serve, connect: Connect) -> None:
    """WebSockets are refused and repeated as everything else."""
    tokens = iter(["old", "new"])

    def feed(request: Request) -> None:
        socket = request.upgrade()
        socket.snapshot(a="running")
        socket.serve_until_closed()

    server = serve(script(lambda r: r.refuse(401, "unauthenticated"), feed))
    async with connect(server, token=lambda: next(tokens)) as client, client.events() as events:
        assert (await anext(aiter(events))).containers[0].id == "a"
    assert [authorized(request) for request in server.seen] == ["old", "new"]


async def test_a_logout_does_not_begin_another_session(serve: Serve, connect: Connect) -> None:
    """Who is no longer logged in is logged out."""
    count = iter(range(100))
    server = serve(lambda r: r.refuse(401, "unauthenticated"))
    async with connect(server, token=lambda: f"t{next(count)}") as client:
        with pytest.raises(ecompute.Unauthenticated):
            await client.logout()
    assert len(server.seen) == 1


async def test_a_helper_of_a_profile(
    serve: Serve, connect: Connect, profile: Callable[[FakeServer, str], None], tmp_path: Path
) -> None:
    """It is run when a token is first needed, and after a 401; not before, and not for each call."""
    server = serve(
        script(
            lambda r: r.answer(EMPTY),
            lambda r: r.answer(EMPTY),
            lambda r: r.refuse(401, "unauthenticated"),
            lambda r: r.answer(EMPTY),
        )
    )
    profile(server, counting(tmp_path))
    async with connect(server, token=None, base_url=None) as client:
        assert not (tmp_path / "runs").exists()
        for _ in range(3):
            await client.containers.list()
    assert [authorized(request) for request in server.seen] == ["t1", "t1", "t1", "t2"]


async def test_a_helper_that_fails_in_a_call(
    serve: Serve, connect: Connect, profile: Callable[[FakeServer, str], None]
) -> None:
    """The call says so; nothing was sent."""
    server = serve(lambda r: r.answer(EMPTY))
    profile(server, python("print('s3' + 'cret'); raise SystemExit(1)"))
    async with connect(server, token=None, base_url=None) as client:
        with pytest.raises(InvalidArgument, match="failed with the exit status 1") as caught:
            await client.containers.create("box", [1])
    assert "s3cret" not in shown(caught.value)
    assert server.seen == []


async def test_a_slow_helper_is_bounded_by_the_call(
    serve: Serve, connect: Connect, profile: Callable[[FakeServer, str], None]
) -> None:
    """The deadline is a total, and a create that was never sent is not in doubt."""
    server = serve(lambda r: r.answer(EMPTY))
    profile(server, python("import time; time.sleep(20)"))
    async with connect(server, token=None, base_url=None) as client:
        with pytest.raises(ecompute.DeadlineExceeded):
            await client.containers.create("box", [1], timeout=0.3)
    assert server.seen == []


@pytest.mark.parametrize("kind", ["asyncio", "trio"], indirect=True)
async def test_a_source_does_not_block_the_loop(serve: Serve, connect: Connect) -> None:
    """Another task goes on while a token is waited for."""
    asked, released = anyio.Event(), threading.Event()

    def slow() -> str:
        anyio.from_thread.run_sync(asked.set)
        released.wait(LIMIT)
        return "t0ken"

    server = serve(lambda r: r.answer(EMPTY))
    async with connect(server, token=slow) as client, anyio.create_task_group() as tasks:
        tasks.start_soon(client.containers.list)
        with anyio.fail_after(LIMIT):
            await asked.wait()
        assert server.seen == []
        released.set()
    assert authorized(server.seen[0]) == "t0ken"


async def test_no_log_and_no_traceback_holds_a_token(
    serve: Serve, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    """With all loggers at their loudest, and the local variables of all our frames."""
    server = serve(lambda r: r.wire.drop())
    caplog.set_level(1)
    for name in ("ecompute", "httpcore", "httpx", "h11", "asyncio"):
        caplog.set_level(1, logger=name)
    errors = []
    for token in ("s3cret", lambda: "s3cret"):
        async with connect(server, token=token) as client:
            for call in (client.containers.list(), client.terminal("a").__aenter__()):
                with pytest.raises(ecompute.ConnectError) as caught:
                    await call
                errors.append(shown(caught.value))
            assert "s3cret" not in repr(client)
    assert any(record.name.startswith("httpcore") for record in caplog.records)
    assert all("_exchange: " in text or "_connect: " in text for text in errors)
    assert not [text for text in errors if "s3cret" in text]
    assert not [record for record in caplog.records if "s3cret" in record.getMessage() + repr(record.args)]
    assert server.seen[0].headers["authorization"] == "Bearer s3cret"
    assert logging.getLogger("httpcore").isEnabledFor(logging.DEBUG)


async def test_no_traceback_holds_a_password(serve: Serve, log_in: Connect) -> None:
    """Nor does one of a login that was refused or broken off."""
    server = serve(script(lambda r: r.refuse(401, "unauthenticated"), *[lambda r: r.wire.drop()] * 4))
    for kind in (ecompute.Unauthenticated, ecompute.ConnectError):
        with pytest.raises(kind) as caught:
            await log_in(server.url, "alice", "pa55")
        text = shown(caught.value)
        assert "login" in text
        assert "pa55" not in text
    assert server.seen[0].json() == {"username": "alice", "password": "pa55"}
