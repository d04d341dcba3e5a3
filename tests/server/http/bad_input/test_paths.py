"""Paths, methods and queries that nobody should ask for."""

from __future__ import annotations

import httpx
import pytest

from ecompute_server.testing import RunningServer
from tests.server.http.peers import (
    ROWS,
    UPGRADE,
    connected,
    head,
    path_of,
    problem,
    read_answer,
    tells_nothing,
)
from tests.server.http.wire import Wire


@pytest.mark.parametrize(
    "method", ["BREW", "get", "GETT", "OPTIONS", "TRACE", "PATCH", "PROPFIND", "X" * 200]
)
def test_unknown_methods(server: RunningServer, method: str) -> None:
    """405 on every path that is known, with the methods that it knows."""
    with httpx.Client(base_url=server.url) as client:
        for row in ROWS:
            answer = client.request(method, path_of(row, "x"))
            # httpx writes methods in capitals
            if method == "get":
                continue
            assert problem(answer) == (405, "method_not_allowed")
            known = {other.method for other in ROWS if other.path == row.path}
            assert {one.strip() for one in answer.headers["allow"].split(",")} - {"HEAD"} == known
    with connected(server) as link:
        link.sendall(f"{method} /compute/containers HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert read_answer(link).refusal == (405, "method_not_allowed")


TARGETS = {
    "dots": "/compute/./containers",
    "dots up": "/compute/ssh-keys/../containers",
    "encoded dots": "/compute/%2e%2e/compute/containers",
    "encoded dots up": "/compute/ssh-keys/%2E%2E/containers",
    "out of the root": "/../../../../etc/passwd",
    "out of the root, encoded": "/..%2f..%2f..%2fetc%2fpasswd",
    "encoded slash in an id": "/compute/containers/a%2Fb",
    "twice encoded": "/compute/containers/%252e%252e",
    "NUL": "/compute/containers/%00",
    "NUL behind": "/compute/containers/BOX%00",
    "line break": "/compute/containers/%0A",
    "line break behind": "/compute/containers/BOX%0A",
    "line break behind the path": "/compute/containers%0A",
    "carriage return": "/compute/containers/%0D%0AX-Injected:%201",
    "two slashes": "//compute/containers",
    "two slashes inside": "/compute//containers",
    "two slashes before an id": "/compute/containers//BOX",
    "trailing slash": "/compute/containers/",
    "trailing slash behind an id": "/compute/containers/BOX/",
    "no id": "/compute/containers//start",
    "overlong UTF-8": "/compute/containers/%c0%af",
    "invalid UTF-8": "/compute/containers/%ff%fe",
    "a surrogate": "/compute/containers/%ed%a0%80",
    "half an escape": "/compute/containers/%4",
    "no escape": "/compute/containers/%zz",
    "a parameter": "/compute/containers;v=1",
    "a parameter behind an id": "/compute/containers/BOX;v=1",
    "a backslash": "/compute\\containers",
    "other case": "/Compute/Containers",
    "other case of an id": "/compute/containers/UPPER",
    "white space behind": "/compute/containers/BOX%20",
    "full width": "/compute/containers/%EF%BD%81%EF%BD%82%EF%BD%83",
    "a right-to-left mark": "/compute/containers/%E2%80%8FBOX",
    "a fragment": "/compute/containers#x",
    "long": "/compute/containers/" + "x" * 20_000,
    "deep": "/x" * 5_000,
    "a template": "/compute/containers/{id}",
    "asterisk": "*",
    "only a query": "/?/compute/containers",
}


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
@pytest.mark.parametrize("rest", ["", "?rows=1"])
def test_paths_that_only_look_like_one(server: RunningServer, box: str, target: str, rest: str) -> None:
    """404 for all of them, with and without a credential's rights: a path is taken as it is."""
    asked = target.replace("BOX", box).replace("UPPER", box.upper() if box.upper() != box else "X") + rest
    for headers in ({}, UPGRADE):
        with connected(server) as link:
            link.sendall(head("GET", asked, token=server.token, headers=headers))
            answer = read_answer(link)
            assert answer.refusal == (404, "not_found")
            assert "x-injected" not in answer.headers
            assert tells_nothing(answer.content)


def test_an_id_may_be_written_in_escapes(server: RunningServer, box: str) -> None:
    """They mean the same (RFC 3986 §6.2.2.2), and the same container is found."""
    escaped = "".join(f"%{ord(character):02x}" for character in box)
    with connected(server) as link:
        link.sendall(head("GET", f"/compute/containers/{escaped}", token=server.token))
        answer = read_answer(link)
    assert (answer.status, answer.body["id"]) == (200, box)


@pytest.mark.parametrize(
    "target", ["/compute%2Fcontainers", "/compute/containers%2FBOX", "/%63ompute/ssh-keys"]
)
def test_a_path_in_escapes_needs_the_same_rights(server: RunningServer, box: str, target: str) -> None:
    """Whether it is found or not: nobody gets further by writing it in another way."""
    asked = target.replace("BOX", box)
    weak = server.api_token({"compute.<uid>.containers.none": ["read"]})
    for token, statuses in ((server.token, (200, 404)), (weak, (403, 404)), (None, (401, 404))):
        with connected(server) as link:
            link.sendall(head("GET", asked, token=token))
            assert read_answer(link).status in statuses


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/compute/ssh-keys/abc", 400),
        ("/compute/ssh-keys/1.0", 400),
        ("/compute/ssh-keys/-1", 404),
        ("/compute/ssh-keys/+1", 400),
        ("/compute/ssh-keys/%201", 400),
        ("/compute/ssh-keys/1_0", 400),
        ("/compute/ssh-keys/0x1", 400),
        ("/compute/ssh-keys/%D9%A1", 400),
        ("/compute/ssh-keys/9223372036854775808", 404),
        ("/compute/ssh-keys/" + "9" * 5000, 404),
        ("/compute/ssh-keys/999999999999999999", 404),
        ("/compute/ssh-keys/0", 404),
        ("/compute/containers/BOX/ingress/http", 400),
        ("/compute/containers/BOX/ingress/80.0", 400),
        ("/compute/containers/BOX/ingress/" + "9" * 100, 404),
        ("/compute/containers/BOX/ingress/99999", 404),
        ("/compute/containers/BOX/ingress/0", 404),
        ("/api/tokens/%27%20OR%201=1", 404),
        ("/api/tokens/" + "x" * 5000, 404),
    ],
)
def test_numbers_in_a_path(mine: httpx.Client, box: str, path: str, status: int) -> None:
    """400 for what is no integer, 404 for one that names nothing."""
    answer = mine.delete(path.replace("BOX", box))
    assert problem(answer)[0] == status


@pytest.mark.parametrize(
    "query",
    [
        "rows=0",
        "rows=1001",
        "rows=-1",
        "rows=1.0",
        "rows=",
        "rows=%00",
        "rows=%FF",
        "rows=1e3",
        "rows=" + "9" * 5000,
        "cols=none",
        "rows=%D9%A1",
        "rows=24&cols=0",
    ],
)
def test_sizes_that_no_terminal_has(server: RunningServer, box: str, query: str) -> None:
    """400 before the upgrade."""
    with Wire(server, f"/compute/containers/{box}/terminal?{query}") as wire:
        assert wire.status == 400
        assert wire.refusal is not None
        assert wire.refusal["code"] == "invalid_request"
        assert wire.refusal["fields"][0]["path"] in ("rows", "cols")
