"""What answers for a foreign thing is the very code that answers for nothing."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Message
from starlette.types import Scope as AsgiScope

import ecompute
import ecompute_server
from ecompute.contract import codec
from ecompute.contract.endpoint import Channel
from ecompute.contract.endpoints import ADD_INGRESS, ADD_SSH_KEY, CREATE_CONTAINER, CREATE_TOKEN
from ecompute_server import assembly
from ecompute_server.handlers.call import Services
from ecompute_server.http.app import Api
from ecompute_server.identity.accounts import account
from ecompute_server.settings import gather
from ecompute_server.state import StateDirectory
from tests.server.http.peers import Row, name_of
from tests.server.http.things import NOTHING, PORT, WITH_ID, Things, valid_body

Way = dict[int, list[tuple[str, int]]]

_OURS = tuple(str(Path(package.__path__[0])) for package in (ecompute_server, ecompute))


class Recorder:
    """Writes down each line of ours that is run while it records, thread by thread."""

    def __init__(self) -> None:
        self._way: Way = {}
        self._recording = False

    def __call__(self, frame: Any, event: str, argument: Any) -> Any:
        if not self._recording or not frame.f_code.co_filename.startswith(_OURS):
            return None
        if event in ("call", "line"):
            lines = self._way.setdefault(threading.get_ident(), [])
            lines.append((frame.f_code.co_filename, frame.f_lineno))
        return self

    @contextmanager
    def recording(self) -> Iterator[Way]:
        way: Way = {}
        self._way = way
        self._recording = True
        try:
            yield way
        finally:
            self._recording = False


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    """Set before any thread of a server starts."""
    recorder, before = Recorder(), (sys.gettrace(), threading.gettrace())
    threading.settrace(recorder)
    sys.settrace(recorder)
    try:
        yield recorder
    finally:
        sys.settrace(before[0])
        threading.settrace(before[1])


async def request(
    api: Api, row: Row, path: Mapping[str, Any], token: str, body: bytes | None
) -> tuple[int, Any]:
    """One request to the application, on the caller's task."""
    is_socket = isinstance(row, Channel)
    asked: list[Message] = [{"type": "http.request", "body": body or b"", "more_body": False}]
    if is_socket:
        asked = [{"type": "websocket.connect"}]
    sent: list[Message] = []

    async def receive() -> Message:
        return asked.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    filled = row.path.format(**path)
    scope: AsgiScope = {
        "type": "websocket" if is_socket else "http",
        "method": row.method,
        "path": filled,
        "raw_path": filled.encode(),
        "query_string": b"",
        "root_path": "",
        "http_version": "1.1",
        "headers": [(b"host", b"test"), (b"authorization", f"Bearer {token}".encode())],
        "subprotocols": [],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
        "extensions": {"websocket.http.response": {}},
    }
    await api(scope, receive, send)
    return sent[0]["status"], codec.load_json(sent[1]["body"])


async def user_of(services: Services, name: str) -> tuple[str, str]:
    """A new user's id and session."""
    user = account(name, "", now=services.clock())
    await services.users.add(user)
    return user.id, services.credentials.mint_session(user, services.clock())


async def things_of(api: Api, services: Services, public_key: str) -> Things:
    """A new user with something of everything."""
    user_id, session = await user_of(services, "alice")

    async def make(row: Row, body: Any, **path: Any) -> Any:
        status, answer = await request(api, row, path, session, codec.dump_json(body))
        assert status == 200
        return answer

    key = await make(ADD_SSH_KEY, {"name": "k", "public_key": public_key})
    changes = services.broadcast.subscribe(user_id)
    box = await make(CREATE_CONTAINER, {"name": "box", "ssh_key_ids": [key["id"]]})
    await make(ADD_INGRESS, {"port": PORT}, id=box["id"])
    scopes = {f"compute.{user_id}": ["read"]}
    token = await make(CREATE_TOKEN, {"name": "t", "scopes": scopes, "expires_in": "30d"})
    while "running" not in repr(await changes.next()):
        pass
    services.broadcast.unsubscribe(changes)
    return Things(box["id"], key["id"], token["id"])


async def all_is_quiet(services: Services, state: Path) -> None:
    """Wait until the server has nothing left to do by itself, which would be in the way."""
    with closing(sqlite3.connect(f"file:{state}/ecompute.db?mode=ro", uri=True)) as database:
        while database.execute("SELECT count(*) FROM effects").fetchone()[0]:
            # returns when all writes that were begun are done
            await services.database.ping()
    await services.database.ping()


@pytest.mark.parametrize("row", WITH_ID, ids=name_of)
def test_a_foreign_id_takes_the_same_way_through_the_code(
    tmp_path: Path, recorder: Recorder, public_key: str, row: Row
) -> None:
    """Line by line, as one that does not exist: what answers it cannot tell them apart by a branch."""

    async def compare() -> list[Way]:
        settings = gather({"state": tmp_path, "hypervisor": "simulated"}, environment={})
        async with assembly.open_services(settings, StateDirectory(tmp_path)) as services:
            api = Api(services)
            foreign = await things_of(api, services, public_key)
            _, mine = await user_of(services, "bob")
            await all_is_quiet(services, tmp_path)
            ways: list[Way] = []
            body = valid_body(row)
            # the first round fills what is remembered from one request to the next
            for _ in range(2):
                ways.clear()
                for ids in (NOTHING, foreign):
                    path = ids.path(row)
                    with recorder.recording() as way:
                        status, answer = await request(api, row, path, mine, body)
                    assert (status, answer["code"]) == (404, "not_found")
                    ways.append(way)
            await api.drain()
            return ways

    unknown, foreign = asyncio.run(compare())
    main = unknown[threading.get_ident()]
    assert any(file.endswith("/http/gate.py") for file, _ in main)
    assert len(main) > 50
    assert foreign == unknown
