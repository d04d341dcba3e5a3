"""What stands in the way of a run, or ends it: one sentence, the right exit code, and nothing left behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from ecompute.conformance import Target, run
from ecompute.conformance.operating import operate
from ecompute.conformance.verdict import NotThere
from ecompute_server.testing import RunningServer
from tests.library.authority import Authority

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rate": 0.0}, "rate is 0: it must be more than 0"),
        ({"rate": -1.0}, "rate is -1"),
        ({"rate": float("nan")}, "rate is nan"),
        ({"timeout": 0.0}, "timeout is 0"),
        ({"boot_timeout": -5.0}, "boot_timeout is -5"),
        ({"container_limit": -1}, "container_limit is -1"),
        ({"url": "http://127.0.0.1:1/?x=1"}, "must not have a query or fragment"),
        ({"url": "http://" + "a" * 70 + ".example"}, "Is the server running, and the URL right?"),
        ({"url": "http:///x"}, "'http:///x' is no URL of a server"),
        ({"second_token": ""}, "The second token is none"),
        ({"dialect": "\0.toml"}, "cannot be read"),
        ({"url": "https://127.0.0.1:1", "verify": "\0"}, "cannot be used"),
    ],
)
def test_what_cannot_be_meant(changes: dict[str, Any], words: str) -> None:
    """The sentence names what is wrong, and no exception comes out."""
    report = run(Target(**{"url": "http://127.0.0.1:1", "token": "token", **changes}))
    assert words in report.obstacle
    assert report.exit_code == 2


@pytest.mark.parametrize("token", ["secret-token\nX: y", "secret-tokén", "secret token"])
def test_what_is_no_token(token: str) -> None:
    """It is not repeated."""
    report = run(Target("http://127.0.0.1:1", token))
    assert "a token is one word of printable ASCII characters" in report.obstacle
    assert "secret" not in report.obstacle


def test_a_password_in_the_url_is_not_repeated() -> None:
    """Neither by the sentence nor by the report's own line about the server."""
    from ecompute.conformance.report import documents, table

    report = run(Target("http://bob:geheim@127.0.0.1:1/x", "token"))
    assert "must not hold a user name or password" in report.obstacle
    for text in (table.summary(report), documents.to_json(report), documents.to_junit(report)):
        assert "geheim" not in text
    assert "http://127.0.0.1:1/x" in table.summary(report)


def test_certificates_are_checked_however_the_scheme_is_written(tmp_path: Path) -> None:
    """HTTPS in capitals is HTTPS: a server of an unknown authority gets no token."""
    heard: list[bytes] = []

    def serve(listener: socket.socket) -> None:
        with suppress(OSError):
            connection, _ = listener.accept()
            with (
                Authority(tmp_path).server(demands=False).wrap_socket(connection, server_side=True) as secure
            ):
                heard.append(secure.recv(1000))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        report = run(Target(f"HTTPS://localhost:{listener.getsockname()[1]}", "token"))
        thread.join()
    assert "CERTIFICATE_VERIFY_FAILED" in report.obstacle
    assert b"".join(heard) == b""


@pytest.mark.parametrize("rights", [["read"], ["create", "read", "update"]])
def test_a_token_with_few_rights(server: RunningServer, rights: list[str]) -> None:
    """It cannot be tested with, which is no fault of the server's."""
    report = run(
        Target(server.url, server.api_token({"compute.<uid>": rights}), profile="quick"), only=["keys"]
    )
    assert "the kit needs one that may do everything, best a session's" in report.obstacle
    assert report.exit_code == 2


def conformance(server: RunningServer, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "ecompute.cli", "conformance", "run", *arguments],
        env={"ECOMPUTE_URL": server.url, "ECOMPUTE_TOKEN": server.token, "HOME": "/nonexistent"},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("signals", [[signal.SIGTERM], [signal.SIGINT] * 2, [signal.SIGHUP, signal.SIGTERM]])
def test_a_signal_ends_a_run_tidily(server: RunningServer, signals: list[signal.Signals]) -> None:
    """Once or twice in quick succession: nothing stays on the server, and there is no traceback."""
    running = conformance(server, "--only", "sequences")
    with server.client() as client:
        while not client.containers.list():
            assert running.poll() is None
        for each in signals:
            running.send_signal(each)
        out, err = running.communicate(timeout=60)
        assert (running.returncode, out, err) == (130, "", "")
        assert client.containers.list() == []
        assert client.ssh_keys.list() == []


def test_a_file_that_cannot_be_written(server: RunningServer) -> None:
    """It is told before minutes are spent."""
    running = conformance(server, "--junit", "/nonexistent/report.xml")
    out, err = running.communicate(timeout=60)
    assert (running.returncode, out) == (2, "")
    assert err == "ecompute: /nonexistent/report.xml cannot be written: No such file or directory.\n"


def test_a_report_that_cannot_be_written(server: RunningServer) -> None:
    """A full disk is no deviation."""
    done = subprocess.run(
        [
            "sh",
            "-c",
            f"{sys.executable} -m ecompute.cli conformance run --profile quick --only keys > /dev/full",
        ],
        env={**os.environ, "ECOMPUTE_URL": server.url, "ECOMPUTE_TOKEN": server.token},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (
        2,
        "ecompute: The report cannot be written: No space left on device.\n",
    )


def test_the_plugin_in_several_processes(server: RunningServer, tmp_path: Path) -> None:
    """They would count each other's containers."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-n", "2", "--pyargs",
         "ecompute.conformance", "--ecompute-url", server.url, "--ecompute-token", server.token],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "cannot run at once: give -n 0" in done.stdout
    assert " passed" not in done.stdout


def test_a_restart_command_may_leave_the_server_running(tmp_path: Path) -> None:
    """Its end is that of the shell line, whoever holds its outputs still; what it left goes on."""
    begin, end = tmp_path / "begin", tmp_path / "end"
    os.mkfifo(begin)
    os.mkfifo(end)
    operate(f"(read line < {begin}; echo more >&2; echo $line > {end}) &", 60.0)
    begin.write_text("alive\n")
    assert end.read_text() == "alive\n"


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("echo broken >&2; exit 3", "ended with the status 3: broken"),
        ("sleep 60 & sleep 60", "did not end in 0.2 s"),
        ("yes >&2", "did not end in|prints without end"),
        ("\0", "cannot be run"),
    ],
)
def test_a_restart_command_that_fails(command: str, words: str) -> None:
    """The sentence says how, and nobody is waited for."""
    with pytest.raises(NotThere, match=words):
        operate(command, 0.2)
