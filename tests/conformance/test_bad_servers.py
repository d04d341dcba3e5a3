"""Servers that cannot be tested, or not to the end: a sentence, an exit code, and nothing left behind."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ecompute.conformance import Target, run
from ecompute_server.testing import RunningServer, running_server

Answer = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def answering(answer: Answer) -> Iterator[str]:
    """A web server of its own making."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        def log_message(self, *arguments: object) -> None:
            """Nobody reads it."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def page(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", "text/html; charset=utf-8")
    handler.end_headers()
    handler.wfile.write(b"<h1>It works!</h1>")


def elsewhere(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(301)
    handler.send_header("Location", "https://www.example.org/")
    handler.end_headers()


def hang_up(handler: BaseHTTPRequestHandler) -> None:
    handler.close_connection = True


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (page, "is no server of the Compute API: GET /compute/containers is answered with 200 and text/html"),
        (elsewhere, "sends on to https://www.example.org/: give the URL of the API itself"),
        (hang_up, "broke off"),
    ],
)
def test_something_else_answers(answer: Answer, words: str) -> None:
    """The report says what it is, and no check runs."""
    with answering(answer) as url:
        report = run(Target(url, "token", profile="quick"))
    assert words in report.obstacle
    assert report.exit_code == 2
    assert report.checks == ()


def test_nothing_answers() -> None:
    """The sentence asks for the server and the URL."""
    with answering(page) as url:
        pass
    report = run(Target(url, "token"))
    assert "Is the server running, and the URL right?" in report.obstacle
    assert report.exit_code == 2


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running_server() as server:
        yield server


@pytest.mark.parametrize("url", ["", "localhost:7780", "ftp://127.0.0.1", "http://", "http://[::1"])
def test_no_url_at_all(url: str) -> None:
    """What is no URL is said to be none."""
    report = run(Target(url, "token"))
    assert report.exit_code == 2
    assert report.obstacle


def test_expired_and_missing_tokens(server: RunningServer) -> None:
    """The sentence says what to do about a token."""
    expired = server.api_token({"compute.<uid>": ["read"]}, expires_in=-1)
    assert "expired, revoked, or of another server" in run(Target(server.url, expired)).obstacle
    assert "set ECOMPUTE_TOKEN" in run(Target(server.url, "")).obstacle
    narrow = server.api_token({"compute.<uid>.keys": ["read"]})
    assert "may not list containers" in run(Target(server.url, narrow)).obstacle


def test_both_tokens_of_one_user(server: RunningServer) -> None:
    """A second tenant has to be another one."""
    token = server.api_token({"compute.<uid>": ["create", "read", "update", "delete"]})
    assert "same user" in run(Target(server.url, server.token, token)).obstacle


def test_a_user_at_the_limit_keeps_all_containers(server: RunningServer) -> None:
    """What needs room stays undecided with the reason, and nothing of the user's is touched."""
    user = server.add_user("full")
    with server.client(user.token) as client:
        key = client.ssh_keys.add(
            "own", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIw4MMLcdHldkzU4zV+PTyjxEW76OFXj6mMww2EamFgm"
        )
        own = [client.containers.create(f"own-{n}", ssh_key_ids=[key], wait=True) for n in range(3)]
        report = run(Target(server.url, user.token, profile="quick", seed=1))
        assert report.deviations == ()
        assert any("delete some, or give the token of another user" in v.note for v in report.verdicts)
        assert {box.id for box in client.containers.list()} == {box.id for box in own}
        assert [each.id for each in client.ssh_keys.list()] == [key.id]


def test_a_server_that_dies_in_the_middle() -> None:
    """The run ends with what it has found, and says that the server went away."""
    first_check = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        with running_server() as server:
            target = Target(server.url, server.token, seed=1)
            running = pool.submit(run, target, progress=lambda _: first_check.set())
            assert first_check.wait(60)
        report = running.result(120)
    assert "The server went away in the middle" in report.obstacle
    assert report.checks
    assert report.exit_code == 2
