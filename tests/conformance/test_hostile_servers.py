"""Servers that send what no server should: the kit stays alive, discreet, and within its own things."""

from __future__ import annotations

import gzip
import json
import socket
import threading
from xml.etree import ElementTree

import pytest

from ecompute.conformance import Target, run
from ecompute.conformance.hiding import HIDDEN, fit, hidden
from ecompute.conformance.report import table
from tests.conformance.hostile import TOKEN, Asked, Told, texts, told, tried

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
BOMB = gzip.compress(bytes(64 * 1024 * 1024))


@pytest.mark.parametrize(
    "raw",
    [
        HEAD + b"Content-Length: 100000000\r\n\r\n" + b" " * (17 * 1024 * 1024),
        HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(BOMB) + BOMB,
    ],
    ids=["long", "packed"],
)
def test_an_answer_without_end(raw: bytes) -> None:
    """It is read no further than any answer is long."""
    report, _ = tried(lambda asked: Told(raw=raw))
    assert "The server sent more than 16 MB in one answer" in report.obstacle
    assert report.exit_code == 2


@pytest.mark.parametrize("beginning", [b"HTTP/1.1 200 OK\r\nX-Y: ", HEAD + b"Content-Length: 9999\r\n\r\n"])
def test_an_answer_that_drips(beginning: bytes) -> None:
    """The time is that of the whole answer, not that between two bytes."""
    over = threading.Event()

    def drip(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(beginning)
            while not over.wait(0.05):
                try:
                    connection.sendall(b" ")
                except OSError:
                    return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=drip, args=(listener,))
        thread.start()
        report = run(Target(f"http://127.0.0.1:{listener.getsockname()[1]}", TOKEN, timeout=0.5))
        over.set()
        thread.join()
    assert "did not answer in time" in report.obstacle


def test_cookies_are_not_kept() -> None:
    """Nothing that one answer brings goes along with the next request."""
    _, asked = tried(
        lambda asked: Told(headers={"Set-Cookie": "who=first; Path=/"}, body=b'{"containers":[]}')
    )
    assert len(asked) > 1
    assert not any("cookie" in one.headers for one in asked)


def test_a_server_that_repeats_the_token() -> None:
    """Whole, in part, or where the text is cut: it is in no report."""

    def answer(asked: Asked) -> Told | None:
        if asked.method == "GET":
            return None
        return Told(
            500, f"{asked.headers['authorization']} {'x' * 200} {asked.headers['authorization']}".encode()
        )

    report, _ = tried(answer, "keys", "containers")
    assert report.exit_code == 1
    for text in texts(report):
        assert not any(TOKEN[at : at + 16] in text for at in range(len(TOKEN) - 15))
        assert HIDDEN in text


def test_a_redirect_that_repeats_the_token() -> None:
    """The token does not follow, and the sentence is without it."""
    report, asked = tried(lambda asked: Told(302, headers={"Location": f"http://localhost:1/?token={TOKEN}"}))
    assert "sends on to http://localhost:1/?token=[token]" in report.obstacle
    assert len(asked) == 1


def test_hiding() -> None:
    """Large pieces of a secret go, short secrets and all else stay."""
    assert hidden(f"<{TOKEN[5:40]}> {TOKEN}!", [TOKEN, "short"]) == f"<{HIDDEN}> {HIDDEN}!"
    assert hidden(f"short {TOKEN[:9]}", [TOKEN, "short"]) == f"short {TOKEN[:9]}"
    assert fit("\x1b[2J\n\ud800", []) == "\\x1b[2J\\n\\ud800"


def test_notes_cannot_play_with_a_terminal() -> None:
    """What is undecided for what the server says is told without control characters, in every form."""

    def answer(asked: Asked) -> Told | None:
        return None if asked.method == "GET" else Told(500, b"\x1b[2J\x07\nevil\xc2\x85")

    report, _ = tried(answer, "ingress")
    assert any("\\x1b[2J" in verdict.note for verdict in report.verdicts)
    text, data, xml = texts(report)
    assert all(c.isprintable() for c in text.replace("\n", ""))
    assert json.loads(data)["requirements"]
    assert ElementTree.fromstring(xml).findall(".//skipped")


@pytest.mark.parametrize("id_", ["", "x/../../ssh-keys/1", "..", "a?b", "a\r\nX: y", " ", "x" * 5000])
def test_ids_that_lead_elsewhere(id_: str) -> None:
    """Nothing is deleted under a path that an answer has bent; it is told as left behind."""

    def answer(asked: Asked) -> Told | None:
        made = 7 if asked.path == "/compute/ssh-keys" else id_
        return told({"id": made, "status": "pending"}) if asked.method == "POST" else None

    report, asked = tried(answer, "containers")
    assert report.exit_code == 1
    assert {one.path for one in asked if one.method == "DELETE"} <= {
        "/compute/ssh-keys/7",
        "/compute/ssh-keys/0",
    }
    assert any(path.startswith("/compute/containers/") for path in report.left_behind)


@pytest.mark.parametrize("name", ["mine", "prefix"])
def test_what_was_there_before_is_spared(name: str) -> None:
    """Not even a server that gives it for new, under the run's own name, gets it deleted or changed."""
    mine = {"id": "mine0001", "name": "mine", "status": "running"}

    def answer(asked: Asked) -> Told | None:
        if asked.path == "/compute/containers":
            return told({"containers": [mine]}) if asked.method == "GET" else told(mine)
        return told({"id": 7}) if asked.method == "POST" else None

    def renamed(asked: Asked) -> Told | None:
        said = answer(asked)
        if name == "prefix" and asked.method == "POST":
            mine["name"] = "conformance-000000-1"
        return said

    report, asked = tried(renamed, "containers", "lifecycle", "mounts")
    assert report.exit_code == 1
    assert any("that was there before the run: mine0001" in verdict.seen for verdict in report.deviations)
    assert not [one for one in asked if "mine0001" in one.path and one.method != "GET"]


def test_what_cannot_be_deleted_is_told() -> None:
    """Also where a check has made and tried it, and no list has it."""

    def answer(asked: Asked) -> Told | None:
        if asked.method == "DELETE":
            return told({"error": "no", "code": "internal"}, 500)
        return told({"id": 4711}) if (asked.method, asked.path) == ("POST", "/compute/ssh-keys") else None

    report, _ = tried(answer, "keys")
    assert report.left_behind == ("/compute/ssh-keys/4711",)
    assert "Left behind, since it could not be deleted: /compute/ssh-keys/4711" in table.text(report)
