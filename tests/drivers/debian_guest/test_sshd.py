"""The host key's way into a server that waits for it, and into one that runs."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from ecompute_guest import sshd

SERVER = """
import os, pathlib, signal, sys
key, listening = map(pathlib.Path, sys.argv[1:])
def serve(*_):
    once = key.read_text()
    again = key.read_text()
    print(once == again, once.strip(), flush=True)
    listening.write_text(f"{os.getpid()}\\n")
signal.signal(signal.SIGHUP, serve)
serve()
while True:
    signal.pause()
"""


def test_a_key_comes_by_the_pipe_and_the_next_one_by_a_signal(tmp_path: Path) -> None:
    """A server in open() reads the key twice, from pipe and file; another key makes it read again, the same
    key does not.
    """
    key, listening = tmp_path / "host_key", tmp_path / "sshd.pid"
    os.mkfifo(key, 0o600)
    listening.write_text("1\n")  # of a server that did not live to take it away
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, str(key), str(listening)], stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout is not None
            for text in ("first\n", "first\n", "second\n"):
                sshd.give_key(text, str(key), str(listening))
                assert key.read_text() == text
                assert stat.S_IMODE(key.stat().st_mode) == 0o600
                assert listening.read_text() == f"{server.pid}\n"
            assert [server.stdout.readline() for _ in range(2)] == ["True first\n", "True second\n"]
        finally:
            server.kill()
        assert server.stdout.read() == ""
    assert sorted(tmp_path.iterdir()) == [key, listening]


def test_a_server_that_never_starts_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for ever, and each case has its sentence; no key is lost in a pipe that nobody reads."""
    monkeypatch.setattr(sshd, "_PATIENCE", 0.0)
    key, listening = tmp_path / "host_key", tmp_path / "sshd.pid"
    os.mkfifo(key, 0o600)
    with pytest.raises(sshd.NoServer, match="did not start"):
        sshd.give_key("key\n", str(key), str(listening))
    assert stat.S_ISFIFO(key.stat().st_mode)
    key.unlink()
    key.write_text("key\n")
    with pytest.raises(sshd.NoServer, match="does not listen"):
        sshd.give_key("key\n", str(key), str(listening))
    with pytest.raises(sshd.NoServer, match="does not run"):
        sshd.give_key("other\n", str(key), str(listening))
