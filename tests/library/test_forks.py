"""A client that was there before a fork: parent and child do not talk over the same connection."""

from __future__ import annotations

import multiprocessing
import os
import threading
from multiprocessing.connection import Connection
from pathlib import Path

import ecompute
from ecompute.credentials import Credential, from_function
from ecompute.locking import locked
from ecompute_server.testing import running_server

from .fake_server import LIMIT

CALLS = 40
FORK = multiprocessing.get_context("fork")


def _names(client: ecompute.Client, ids: dict[str, str], end: Connection | None = None) -> list[str]:
    seen = [client.containers.get(id_).name for _ in range(CALLS) for id_ in ids.values()]
    if end is not None:
        client.containers.wait(next(iter(ids.values())))
        end.send(seen)
    return seen


def test_both_get_their_own_answers() -> None:
    """However their requests mix, over the client that the child inherits."""
    with running_server() as server, server.client() as client:
        key = client.ssh_keys.add(
            "k", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIzaa/8na28UvdjmnFylx1dNh7bL6NicXsin11lguhE6"
        )
        ids = {name: client.containers.create(name, key, wait=True).id for name in ("a", "b")}
        here, there = FORK.Pipe()
        child = FORK.Process(target=_names, args=(client, ids, there))
        child.start()
        mine = _names(client, ids)
        assert here.poll(60)
        assert here.recv() == mine == ["a", "b"] * CALLS
        child.join(60)
        assert child.exitcode == 0


def _token_there(credential: Credential, end: Connection) -> None:
    end.send(credential.get(LIMIT).reveal())


def test_a_child_asks_for_its_token_by_itself() -> None:
    """Also when it was forked off while another thread of the parent was asking."""
    asking, answered = threading.Event(), threading.Event()
    parent = os.getpid()

    def source() -> str:
        if os.getpid() == parent:
            asking.set()
            answered.wait(LIMIT)
        return "good"

    credential = from_function(source)
    thread = threading.Thread(target=credential.get, args=(LIMIT,))
    thread.start()
    assert asking.wait(LIMIT)
    here, there = FORK.Pipe()
    child = FORK.Process(target=_token_there, args=(credential, there))
    child.start()
    assert here.poll(60)
    assert here.recv() == "good"
    answered.set()
    thread.join(LIMIT)
    child.join(60)


def test_a_child_keeps_no_lock(tmp_path: Path) -> None:
    """A process that was forked off while a file was being changed does not keep others from changing it."""
    file = tmp_path / "config.toml"
    end, other = FORK.Pipe()
    with locked(file):
        child = FORK.Process(target=other.recv)
        child.start()
    with locked(file, patience=0.0):
        pass
    end.send(None)
    child.join(60)
