"""Whatever: bytes, almost requests, and any JSON."""

from __future__ import annotations

import json
import socket
from typing import Any

import httpx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ecompute.contract.endpoint import Endpoint
from ecompute.contract.endpoints import ENDPOINTS
from ecompute_server.testing import RunningServer
from tests.server.http.peers import ROWS, connected, path_of, problem, read_all, tells_nothing, valid

WITH_BODY = [row for row in ENDPOINTS if row.has_body]

BOUNDED = settings(
    max_examples=400,
    derandomize=True,
    database=None,
    deadline=None,
    # its fixtures are the same server for all examples
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

HEADERS = (
    b"Host: x",
    b"Connection: Upgrade",
    b"Connection: close",
    b"Upgrade: websocket",
    b"Upgrade: h2c",
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
    b"Sec-WebSocket-Version: 13",
    b"Content-Length: 2",
    b"Transfer-Encoding: chunked",
    b"Expect: 100-continue",
    b"Origin: null",
)
NAMES = (
    b"Host",
    b"Authorization",
    b"Sec-WebSocket-Protocol",
    b"Sec-WebSocket-Extensions",
    b"Sec-WebSocket-Key",
    b"Content-Length",
    b"Transfer-Encoding",
    b"Idempotency-Key",
    b"Origin",
    b"Upgrade",
    b"Connection",
)
METHODS = (b"GET", b"POST", b"PUT", b"DELETE", b"HEAD", b"OPTIONS", b"BREW")
PATHS = tuple(row.path.replace("{id}", "%61").replace("{port}", "80").encode() for row in ROWS)
ENDS = (b"", b"{}", b"2\r\n{}\r\n0\r\n\r\n")
SCRAPS = (
    *(*HEADERS, *METHODS, *PATHS, *ENDS),
    *(b" HTTP/1.1\r\n", b"\r\n", b"\r\n\r\n", b"%00", b"?token="),
    *(b" ", b"\t", b"\n", b"\0", b",", b":", b"\xff"),
)

scraps = st.lists(st.sampled_from(SCRAPS), max_size=25).map(b"".join)
almost_headers = st.builds(
    lambda name, value: name + b": " + value, st.sampled_from(NAMES), st.binary(max_size=12)
)


@st.composite
def almost_heads(draw: st.DrawFn) -> bytes:
    """A request that may be right, and mostly is not."""
    method, path = draw(st.sampled_from(METHODS)), draw(st.sampled_from(PATHS) | st.binary(max_size=12))
    query = draw(st.sampled_from([b"", b"?token=x", b"?rows=%00"]))
    headers = draw(st.lists(st.sampled_from(HEADERS) | almost_headers, max_size=9))
    end = draw(st.sampled_from(ENDS) | st.binary(max_size=20))
    return b"\r\n".join([method + b" " + path + query + b" HTTP/1.1", *headers, b"", end])


@BOUNDED
@given(sent=st.binary(max_size=200) | scraps | almost_heads())
def test_whatever_is_sent_the_server_keeps_its_countenance(server: RunningServer, sent: bytes) -> None:
    """Errors of the client's, in the usual form, or silence; never one of the server's."""
    with connected(server) as link:
        link.sendall(sent)
        link.shutdown(socket.SHUT_WR)
        answer = read_all(link)
    assert tells_nothing(answer)
    for status in statuses(answer):
        assert status < 500


def statuses(answer: bytes) -> list[int]:
    """The status of each answer on a connection."""
    return [int(piece[:3]) for piece in answer.split(b"HTTP/1.1 ")[1:]]


any_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from([2**63, -(2**64), 1e308]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)


@st.composite
def almost_requests(draw: st.DrawFn) -> tuple[Endpoint[Any, Any], bytes]:
    """A row, and a body that has some fields right, some wrong, some missing, and some that are nobody's."""
    row = draw(st.sampled_from(WITH_BODY))
    if draw(st.integers(0, 9)) == 0:
        return row, json.dumps(draw(any_json)).encode()
    body = {
        name: draw(st.one_of(st.just(value), any_json))
        for name, value in valid(row).items()
        if draw(st.integers(0, 7))
    }
    body |= draw(st.dictionaries(st.text(max_size=10), any_json, max_size=2))
    return row, json.dumps(body).encode()


@BOUNDED
@given(asked=almost_requests())
def test_whatever_json_a_row_gets_it_answers(
    mine: httpx.Client, box: str, asked: tuple[Endpoint[Any, Any], bytes]
) -> None:
    """Success or an error of the client's; what was made is deleted again."""
    row, body = asked
    answer = mine.request(row.method, path_of(row, box), content=body)
    assert answer.status_code < 500
    if answer.status_code != 200:
        problem(answer)
    elif row.name in ("containers.create", "ssh_keys.add", "tokens.create"):
        assert mine.delete(f"{row.path}/{answer.json()['id']}").status_code == 200
