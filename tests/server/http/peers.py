"""Credentials of every kind, upgrades and plain connections, for tests that ask a server too much."""

from __future__ import annotations

import http.client
import json
import re
import secrets
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

import httpx
import jwt

from ecompute.contract import codec
from ecompute.contract.description.examples import EXAMPLES
from ecompute.contract.endpoint import Channel, Endpoint
from ecompute.contract.endpoints import CHANNELS, ENDPOINTS
from ecompute_server.identity.keyring import Keyring
from ecompute_server.state import StateDirectory
from ecompute_server.testing import RunningServer

PATIENCE = 30.0
ALGORITHM = "HS256"

Row = Endpoint[Any, Any] | Channel[Any, Any]
ROWS: tuple[Row, ...] = (*ENDPOINTS, *CHANNELS)
ROWS_BY_NAME = {row.name: row for row in ROWS}

UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    "Sec-WebSocket-Version": "13",
}


def name_of(row: Row) -> str:
    return row.name


def bearer(credential: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {credential}"}


def session_like(server: RunningServer, session: str, *, lifetime: float = 3600.0) -> str:
    """A further session token of the user of `session`, signed by the server's own key; the lifetime may be
    negative.
    """
    key_id = jwt.get_unverified_header(session)["kid"]
    key = Keyring.load(StateDirectory(server.state).secret).session_key(key_id)
    claims = _claims(session) | {"jti": secrets.token_hex(16), "exp": int(time.time() + lifetime)}
    return jwt.encode(claims, key, algorithm=ALGORITHM, headers={"kid": key_id})


def forged_session(session: str, *, algorithm: str) -> str:
    """What somebody without the key can make of a session token."""
    key_id = jwt.get_unverified_header(session)["kid"]
    key = "" if algorithm == "none" else "x" * 32
    return jwt.encode(_claims(session), key, algorithm=algorithm, headers={"kid": key_id})


def _claims(session: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(session, options={"verify_signature": False})
    return claims


def ask(
    link: httpx.Client,
    row: Row,
    path: Mapping[str, Any],
    *,
    method: str | None = None,
    headers: Mapping[str, str] = MappingProxyType({}),
    query: Mapping[str, str] = MappingProxyType({}),
    content: bytes | None = None,
) -> httpx.Response:
    """Ask for a row as its kind is asked for: a WebSocket by an upgrade, which is given up at once."""
    url = httpx.URL(row.path.format(**path), params=dict(query))
    wanted = {**(UPGRADE if isinstance(row, Channel) else {}), **headers}
    with link.stream(method or row.method, url, headers=wanted, content=content) as answer:
        if answer.status_code != 101:
            answer.read()
    return answer


def parts(answer: httpx.Response) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """An answer without what may differ each time: the request's id and the date."""
    kept = [
        (name, value) for name, value in answer.headers.raw if name.lower() not in (b"x-request-id", b"date")
    ]
    return answer.status_code, kept, answer.content


def head(
    method: str, target: str, *, token: str | None = None, headers: Mapping[str, str] = MappingProxyType({})
) -> bytes:
    """The head of a request, byte by byte."""
    credential = {} if token is None else bearer(token)
    lines = [f"{name}: {value}" for name, value in {"Host": "x", **credential, **headers}.items()]
    return "\r\n".join([f"{method} {target} HTTP/1.1", *lines, "", ""]).encode()


@contextmanager
def connected(server: RunningServer) -> Iterator[socket.socket]:
    """A plain connection to the server."""
    place = urlsplit(server.url)
    with socket.create_connection((place.hostname, place.port), PATIENCE) as link:
        yield link


def read_all(link: socket.socket) -> bytes:
    """Everything until the server hangs up, in whatever way."""
    answer = b""
    try:
        while data := link.recv(65536):
            answer += data
    except ConnectionResetError:
        pass
    return answer


class Answer:
    """One answer on a plain connection."""

    def __init__(self, raw: http.client.HTTPResponse) -> None:
        self.status = raw.status
        self.headers = {name.lower(): value for name, value in raw.getheaders()}
        self.closes = raw.will_close
        self.content = raw.read()

    @property
    def body(self) -> dict[str, Any]:
        """The JSON body of an answer in the contract's form."""
        assert self.headers["content-type"] == "application/json"
        assert re.fullmatch(r"[0-9a-f]{16}", self.headers["x-request-id"])
        found = json.loads(self.content)
        assert isinstance(found, dict)
        return found

    @property
    def refusal(self) -> tuple[int, str]:
        """Status and code of an error, which has nothing but what the contract knows."""
        assert {"error", "code"} <= self.body.keys() <= {"error", "code", "fields", "needed"}
        assert self.body["error"]
        return self.status, self.body["code"]


def read_answer(link: socket.socket, method: str = "GET") -> Answer:
    """The next answer on a connection, which stays open if the server leaves it so."""
    raw = http.client.HTTPResponse(link, method=method)
    try:
        raw.begin()
        return Answer(raw)
    finally:
        raw.close()


# the server's code and its environment lie here, wherever that is
_CHECKOUT = str(Path(__file__).resolve().parents[3]).encode()
_INSIDE = re.compile(
    rb"Traceback|\.py\b|site-packages|ecompute_server|object at 0x|<class|Exception|[a-z]Error\b|\bsqlite"
    rb"|uvicorn|starlette|\bh11\b|wsproto|asyncio|cattrs|/tmp/|/home/|" + re.escape(_CHECKOUT),
    re.I,
)


def tells_nothing(answer: bytes) -> bool:
    """Whether nothing of the server's inside shows in what it sent."""
    return _INSIDE.search(answer) is None


def problem(answer: httpx.Response) -> tuple[int, str]:
    """Status and code of an error, which must have the contract's form and tell nothing of the inside."""
    body = answer.json()
    assert answer.headers["content-type"] == "application/json"
    assert re.fullmatch(r"[0-9a-f]{16}", answer.headers["x-request-id"])
    assert {"error", "code"} <= body.keys() <= {"error", "code", "fields", "needed"}
    assert tells_nothing(answer.content)
    return answer.status_code, body["code"]


def fields(answer: httpx.Response) -> list[str]:
    """Where an answer says that the faults are."""
    return [fault["path"] for fault in answer.json()["fields"]]


def path_of(row: Row, id_: str) -> str:
    return row.path.format(id=id_, port=8080)


def valid(row: Row) -> dict[str, Any]:
    """The body of a request that is right in its form."""
    return dict(codec.write_request(EXAMPLES[row.request]).body)


def with_field(row: Row, name: str, raw: bytes) -> bytes:
    """The same with other JSON for one of its fields."""
    kept = {key: codec.dump_json(value) for key, value in valid(row).items()} | {name: raw}
    return b"{" + b",".join(codec.dump_json(key) + b":" + value for key, value in kept.items()) + b"}"


def key_ids(link: httpx.Client) -> list[int]:
    """The SSH keys of a client's user."""
    return [key["id"] for key in link.get("/compute/ssh-keys").json()["ssh_keys"]]
